//! The shortest whole program: a task, a worker, and a call with its result.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

// guide: program
use apium::prelude::*;

#[task(name = "guide.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::builder("guide").broker("memory://").backend("memory://").build().await?;
    let worker = app.worker().concurrency(2).start().await?;

    let sum = add::delay(2, 2).send(&app).await?;
    println!("2 + 2 = {}", sum.get().await?);

    worker.stop().await;
    Ok(())
}
// guide end
