//! Countdown, eta and expiry: a task starts at its eta or later, and never after it has expired.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use std::time::Duration;

use apium::prelude::*;

#[task(name = "guide.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::test().build().await?;
    // guide: times
    let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));

    let soon = add::delay(2, 2).countdown(Duration::from_secs(3)).send(&app).await?;
    let tomorrow = add::delay(3, 3).eta(app.clock().now().checked_add(24 * hour)?).send(&app).await?;
    let expired = add::delay(4, 4).countdown(2 * minute).expires_in(minute).send(&app).await?;
    // guide end
    app.drain().await;
    assert_eq!(soon.state().await?, TaskState::Pending);

    app.advance(Duration::from_secs(3)).await;
    println!("after three seconds: {}", soon.get().await?);
    assert_eq!(soon.get().await?, 4);

    // guide: expired
    app.advance(2 * minute).await;
    assert_eq!(expired.state().await?, TaskState::Revoked);
    let error = expired.get().await.err().ok_or("an expired task has no value")?;
    println!("{error}");
    assert!(error.to_string().contains("expired"));
    // guide end
    assert_eq!(tomorrow.state().await?, TaskState::Pending);

    app.advance(24 * hour).await;
    assert_eq!(tomorrow.get().await?, 6);
    Ok(())
}
