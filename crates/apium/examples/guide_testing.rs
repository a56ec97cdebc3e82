//! Testing: the memory broker, a manual clock and the sent messages; and eager calls, which need no worker.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use std::time::Duration;

use apium::prelude::*;

// guide: tasks
#[task(name = "guide.send_mail", ignore_result)]
async fn send_mail(user: i64) -> TaskResult<()> {
    match user {
        ..=0 => Err(TaskError::failure("no such user")),
        _ => Ok(()),
    }
}

#[task(name = "guide.sign_up")]
async fn sign_up(user: i64) -> TaskResult<i64> {
    send_mail::delay(user).countdown(Duration::from_secs(3600)).await?;
    Ok(user)
}
// guide end

/// Fails once, and succeeds ten minutes later.
#[task(name = "guide.sync", max_retries = 1, default_retry_delay = "10m")]
async fn sync(ctx: &Ctx) -> TaskResult<u32> {
    match ctx.retries() {
        0 => Err(ctx.retry().into()),
        retries => Ok(retries),
    }
}

// guide: sent
// With `#[tokio::test]` above it, this is a test.
async fn who_signs_up_gets_a_mail_an_hour_later() -> Result<(), BoxError> {
    let app = App::test().build().await?;
    let signed_up = sign_up::delay(7).send(&app).await?;
    app.drain().await;
    assert_eq!(signed_up.get().await?, 7);

    let mails = app.sent::<send_mail>();
    assert_eq!((mails.len(), mails[0].args()), (1, (7,)));
    assert_eq!(mails[0].eta(), Some(app.now() + Duration::from_secs(3600)));
    assert_eq!(app.advance(Duration::from_secs(3600)).await, 1);
    Ok(())
}
// guide end

// guide: time
async fn a_failed_sync_runs_again_after_ten_minutes() -> Result<(), BoxError> {
    let app = App::test().build().await?;
    let synced = sync::delay().send(&app).await?;
    app.advance(Duration::from_secs(599)).await;
    assert_eq!(synced.state().await?, TaskState::Retry);
    app.advance(Duration::from_secs(1)).await;
    assert_eq!(synced.get().await?, 1);
    Ok(())
}
// guide end

// guide: eager
async fn a_call_runs_in_this_process() -> Result<(), BoxError> {
    let app = App::test().setting("task_always_eager", true).build().await?;
    let result = sign_up::delay(8).send(&app).await?;
    assert_eq!(result.get().await?, 8);
    Ok(())
}
// guide end

// guide: function
async fn the_body_is_a_function() {
    assert!(send_mail(7).await.is_ok());
    assert!(send_mail(0).await.is_err());
}
// guide end

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    who_signs_up_gets_a_mail_an_hour_later().await?;
    println!("one mail was sent");
    a_failed_sync_runs_again_after_ten_minutes().await?;
    a_call_runs_in_this_process().await?;
    the_body_is_a_function().await;
    Ok(())
}
