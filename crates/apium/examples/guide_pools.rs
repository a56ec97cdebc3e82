//! Producers from the pool: a call takes one by itself, or the program takes one for many calls.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use apium::prelude::*;

#[task(name = "guide.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::test().setting("broker_pool_limit", 2).build().await?;

    // guide: producer
    // One producer for ten calls. It returns to the pool when it is dropped.
    let producer = app.producer().await?;
    let mut sent = Vec::new();
    for i in 0..10 {
        sent.push(add::delay(i, i).producer(&producer).send(&app).await?);
    }
    drop(producer);
    // guide end

    app.drain().await;
    let mut sum = 0;
    for result in sent {
        sum += result.get().await?;
    }
    println!("the sum of ten sums is {sum}");
    assert_eq!(sum, 90);
    Ok(())
}
