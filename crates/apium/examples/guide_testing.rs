//! Testing: the memory broker, a manual clock and the sent messages; and eager calls, which need no worker.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use std::time::Duration;

use apium::prelude::*;

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

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::test().build().await?;
    let signed_up = sign_up::delay(7).send(&app).await?;
    app.drain().await;
    assert_eq!(signed_up.get().await?, 7);
    let mails = app.sent::<send_mail>();
    assert_eq!((mails.len(), mails[0].args()), (1, (7,)));
    assert_eq!(mails[0].eta(), Some(app.now() + Duration::from_secs(3600)));
    app.advance(Duration::from_secs(3600)).await;
    println!("one mail was sent");

    // Eager: the call runs the task in this process.
    let eager = App::test().setting("task_always_eager", true).build().await?;
    let result = sign_up::delay(8).send(&eager).await?;
    assert_eq!(result.get().await?, 8);
    Ok(())
}
