//! Workflows: one after the other, side by side, and one that waits for all; their types are checked by the compiler.
#![expect(clippy::print_stdout, reason = "an example talks to people")]

use apium::prelude::*;

#[task(name = "canvas.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

#[task(name = "canvas.xsum")]
fn xsum(numbers: Vec<i64>) -> i64 {
    numbers.iter().sum()
}

#[task(name = "canvas.hello")]
fn hello(name: String) -> String {
    format!("hello {name}")
}

#[task(name = "canvas.report")]
fn report(what: (i64, String)) -> String {
    format!("{}: {}", what.1, what.0)
}

#[task(name = "canvas.notify")]
fn notify(text: String) -> String {
    println!("{text}");
    text
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::test().build().await?;

    // One after the other: `p` leaves the first argument to the task before.
    let chain: Signature<(), i64> = add::s(2, 2) | add::p(4) | add::p(8);
    println!("{chain}");
    let chain = chain.send(&app).await?;

    // Side by side, and one that gets the list of what they return.
    let chord = (group((0..10).map(|i| add::s(i, i))) | xsum::p()).send(&app).await?;

    // Side by side with different types: a tuple.
    let pair = join((add::s(1, 1), hello::s("you".into())));
    let told = (pair.clone() | report::p()).send(&app).await?;
    let pair = pair.send(&app).await?;

    // `si` takes nothing from the task before; a failure anywhere goes to the errback.
    let flow = add::s(1, 1) | notify::si("done".into());
    let flow = flow.on_error(notify::s("failed".into())).stamp("tenant", 7).send(&app).await?;

    // Lists that are known only when the program runs.
    let mut grown = add::s(0, 0);
    for number in 1..=5 {
        grown |= add::p(number);
    }
    let grown = grown.send(&app).await?;
    let pairs = add::chunks((0..5).map(|i| (i, i)), 2).send(&app).await?;

    app.drain().await;
    let (number, text): (i64, String) = pair.get().await?;
    println!("{number} {text}");
    println!("{} {} {} {}", chain.get().await?, chord.get().await?, told.get().await?, grown.get().await?);
    println!("{:?} {}", pairs.get().await?, flow.get().await?);
    Ok(())
}
