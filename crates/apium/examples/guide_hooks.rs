//! Hooks: before_start, on_success, on_failure, on_retry, after_return, in the order in which they are called.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apium::prelude::*;

/// Records which hooks were called.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    fn add(ctx: &Ctx, line: String) {
        if let Some(recorder) = ctx.state::<Self>() {
            recorder.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// guide: hooks
async fn before(ctx: &Ctx) {
    Recorder::add(ctx, "before_start".to_owned());
}

async fn succeeded(ctx: &Ctx, value: &Json) {
    Recorder::add(ctx, format!("on_success {}", value.as_str()));
}

async fn failed(ctx: &Ctx, failure: &Failure) {
    Recorder::add(ctx, format!("on_failure {failure}"));
}

async fn retried(ctx: &Ctx, cause: Option<&Failure>) {
    Recorder::add(ctx, format!("on_retry {}", cause.map(ToString::to_string).unwrap_or_default()));
}

async fn returned(ctx: &Ctx, returned: &Returned) {
    Recorder::add(ctx, format!("after_return {}", returned.state));
}

#[task(
    name = "guide.divide", max_retries = 1,
    before_start = before, on_success = succeeded, on_failure = failed, on_retry = retried, after_return = returned,
)]
async fn divide(ctx: &Ctx, x: i64, y: i64) -> TaskResult<i64> {
    match x.checked_div(y) {
        Some(quotient) => Ok(quotient),
        None => Err(ctx.retry().countdown(Duration::ZERO).cause(TaskError::failure("division by zero")).into()),
    }
}
// guide end

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let recorder = Recorder::default();
    let app = App::test().state(recorder.clone()).build().await?;

    // guide: order
    divide::delay(6, 3).send(&app).await?;
    app.drain().await;
    assert_eq!(recorder.take(), ["before_start", "on_success 2", "after_return SUCCESS"]);
    // guide end

    divide::delay(6, 0).send(&app).await?;
    app.drain().await;
    let lines = recorder.take();
    println!("{}", lines.join("\n"));
    assert_eq!(lines.len(), 5);
    assert!(lines[1].starts_with("on_retry") && lines[1].contains("division by zero"));
    assert_eq!((&*lines[0], &*lines[2], &*lines[4]), ("before_start", "before_start", "after_return FAILURE"));
    assert!(lines[3].starts_with("on_failure"));
    Ok(())
}
