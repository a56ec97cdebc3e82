//! Calling: `delay`, options, by name, in a batch, and as a function.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use std::time::Duration;

use apium::prelude::*;

// guide: task
#[task(name = "guide.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}
// guide end

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::test().build().await?;

    // guide: calls
    let plain = add::delay(2, 2).send(&app).await?;
    let chosen =
        add::delay(4, 6).task_id("guide-4-6").priority(9).expires_in(Duration::from_secs(60)).send(&app).await?;
    let signature = add::s(8, 8).send(&app).await?;
    let by_name = app.sig("guide.add").args((16, 16)).send().await?;
    let by_keyword = app.sig("guide.add").kwarg("x", 1).kwarg("y", 2).send().await?;
    let many = add::batch([(1, 1), (2, 2), (3, 3)]).send_all(&app).await?;
    // guide end
    app.drain().await;

    assert_eq!(plain.get().await?, 4);
    assert_eq!((chosen.id().as_str(), chosen.get().await?), ("guide-4-6", 10));
    assert_eq!(signature.get().await?, 16);
    assert_eq!(by_name.get().await?.decode::<i64>()?, 32);
    assert_eq!(by_keyword.get().await?.decode::<i64>()?, 3);
    for (result, expected) in many.iter().zip([2, 4, 6]) {
        assert_eq!(result.get().await?, expected);
    }

    // guide: installed
    // An installed app is the current one, so a call need not name it.
    app.install();
    let sent = add::delay(5, 5).await?;
    // guide end
    app.drain().await;
    println!("5 + 5 = {}", sent.get().await?);

    // guide: direct
    // Called as a function, the task needs no message and no worker.
    assert_eq!(add(2, 2).await?, 4);
    // guide end

    // guide: policy
    let wait = Duration::from_millis(100);
    let patient = RetryPolicy::publish().max_retries(20).interval_step(wait).interval_max(10 * wait);
    add::delay(6, 6).retry_policy(patient).publish_timeout(Duration::from_secs(30)).send(&app).await?;
    // guide end

    // guide: blocking
    // A program without a runtime, or a thread of its own.
    let app: App = app.clone();
    let thread = std::thread::spawn(move || add::delay(7, 7).send_blocking(&app).map(|sent| sent.id().clone()));
    let sent = thread.join().map_err(|_| "the thread panicked")??;
    // guide end
    println!("sent {sent}");
    Ok(())
}
