//! Retries: explicit ones with a cause and a countdown, automatic ones for some errors, and the result in the end.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use std::fmt;
use std::time::Duration;

use apium::prelude::*;

// guide: error
/// The service cannot be reached now.
#[derive(Debug)]
struct FailWhale;

impl fmt::Display for FailWhale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("over capacity")
    }
}

impl std::error::Error for FailWhale {}
// guide end

// guide: by hand
/// An explicit retry: the same id, ten seconds later, with the cause in the state RETRY.
#[task(name = "guide.tweet", max_retries = 3)]
async fn tweet(ctx: &Ctx, fails: u32) -> TaskResult<u32> {
    let retries = ctx.request().retries();
    if retries < fails {
        return Err(ctx.retry().countdown(Duration::from_secs(10)).cause(FailWhale).into());
    }
    Ok(retries)
}
// guide end

// guide: automatic
/// Automatic retries: after one, two, four seconds, five times at most.
#[task(
    name = "guide.refresh_timeline",
    autoretry_for(FailWhale),
    retry_kwargs(max_retries = 5),
    retry_backoff = 1,
    retry_jitter = false
)]
async fn refresh_timeline(ctx: &Ctx) -> TaskResult<u32> {
    match ctx.request().retries() {
        retries @ 0..3 => Err(TaskError::from(FailWhale)).inspect_err(|_| println!("run {retries} failed")),
        retries => Ok(retries),
    }
}
// guide end

// guide: or retry
/// Some errors of one call are worth another run, with the waits of a backoff.
#[task(name = "guide.poll")]
async fn poll(ctx: &Ctx) -> TaskResult<u32> {
    answer(ctx.retries()).or_retry(ctx, |retry| retry.backoff().max_retries(8))
}

/// The service answers at the third attempt.
fn answer(attempt: u32) -> Result<u32, FailWhale> {
    if attempt < 2 { Err(FailWhale) } else { Ok(attempt) }
}
// guide end

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::test().build().await?;

    // guide: seen
    let sent = tweet::delay(1).send(&app).await?;
    app.drain().await;
    assert_eq!(sent.state().await?, TaskState::Retry);
    app.advance(Duration::from_secs(10)).await;
    assert_eq!(sent.get().await?, 1);
    // guide end

    // After the last retry, the cause is the error of the task.
    let hopeless = tweet::delay(99).send(&app).await?;
    for _ in 0..4 {
        app.drain().await;
        app.advance(Duration::from_secs(10)).await;
    }
    let failure = hopeless.get().await.err().ok_or("it must fail")?;
    println!("{failure}");
    assert_eq!(failure.failure().map(|failure| &*failure.exception().exc_type), Some("FailWhale"));

    let timeline = refresh_timeline::delay().send(&app).await?;
    app.drain().await;
    for wait in [1, 2, 4] {
        assert_eq!(timeline.state().await?, TaskState::Retry);
        app.advance(Duration::from_secs(wait)).await;
    }
    assert_eq!(timeline.get().await?, 3);

    let polled = poll::delay().send(&app).await?;
    app.advance(Duration::from_secs(10)).await;
    assert_eq!(polled.get().await?, 2);
    Ok(())
}
