//! Defining tasks: names, options, plain and async functions, arguments that may be left out, state that is injected.
#![expect(clippy::print_stdout, reason = "an example talks to people")]

use apium::prelude::*;

/// The shortest form: the name on the wire is the module path and the function's name.
#[task]
async fn hello(name: String) -> TaskResult<String> {
    Ok(format!("hello {name}"))
}

/// A name of its own, options, and an argument that callers may leave out.
#[task(name = "guide.greet", aliases = ["guide.greet_v1"], acks_late, track_started, serializer = "json")]
async fn greet(name: String, #[default] greeting: Option<String>) -> TaskResult<String> {
    Ok(format!("{} {name}", greeting.unwrap_or_else(|| "good morning,".to_owned())))
}

/// A plain function runs on the worker's own threads, never on the reactor.
#[task(name = "guide.fibonacci")]
fn fibonacci(n: u32) -> TaskResult<u64> {
    Ok((0..n).fold((0, 1), |(a, b), _| (b, a + b)).0)
}

/// What the program has open, and tasks use.
#[derive(Clone)]
struct Dictionary(&'static str);

/// State is given to the app once, and does not travel.
#[task(name = "guide.look_up")]
async fn look_up(State(dictionary): State<Dictionary>, word: String) -> TaskResult<String> {
    Ok(format!("{word}: see {}", dictionary.0))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::test().state(Dictionary("volume two")).build().await?;

    assert_eq!(hello::NAME, "guide_defining.hello");
    let greeting = hello::delay("you".to_owned()).send(&app).await?;
    let polite = greet::delay("Ada".to_owned(), None).send(&app).await?;
    let number = fibonacci::delay(50).send(&app).await?;
    let entry = look_up::delay("bee".to_owned()).send(&app).await?;
    let by_alias = app.sig("guide.greet_v1").args(("Bob", "hi")).send().await?;
    app.drain().await;

    println!("{}: {}", hello::NAME, greeting.get().await?);
    assert_eq!(polite.get().await?, "good morning, Ada");
    assert_eq!(number.get().await?, 12_586_269_025);
    assert_eq!(entry.get().await?, "bee: see volume two");
    assert_eq!(by_alias.get().await?.decode::<String>()?, "hi Bob");

    // The function is still a function.
    assert_eq!(hello("me".to_owned()).await?, "hello me");
    println!("{} tasks are registered", app.registry().len());
    Ok(())
}
