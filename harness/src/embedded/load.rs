//! The tasks that are measured, the app that holds them, and the two ways to fill a queue.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apium::prelude::*;

use crate::counter::Counter;
use crate::report;

/// How many callers call at a time where they call one by one.
pub const CALLERS: u64 = 64;

/// How many calls go in one batch.
pub const BATCH: u64 = 1_000;

/// How many callers send batches: while one batch is being written, the next is made.
pub const SENDERS: u64 = 2;

static COUNTER: OnceLock<Arc<Counter>> = OnceLock::new();

/// Makes the tasks of this process count into `counter`.
pub fn count_into(counter: Arc<Counter>) {
    // A process measures once; a second counter would be a mistake that shows as lost tasks.
    let _ = COUNTER.set(counter);
}

fn note(number: u64) {
    if let Some(counter) = COUNTER.get() {
        counter.note(number);
    }
}

/// Does nothing, and nobody asks for its result.
#[task(name = "bench.noop", acks_late, ignore_result)]
pub async fn noop(number: u64, padding: String) -> TaskResult<()> {
    drop(padding);
    note(number);
    Ok(())
}

/// Does nothing, and its result is stored.
#[task(name = "bench.kept", acks_late)]
pub async fn kept(number: u64, padding: String) -> TaskResult<u64> {
    drop(padding);
    note(number);
    Ok(number)
}

/// Tells whoever reads standard output that it ran.
#[task(name = "bench.tell", acks_late, ignore_result)]
pub async fn tell() -> TaskResult<()> {
    report::line("ran");
    Ok(())
}

/// The second argument of every call.
pub fn padding() -> String {
    "x".repeat(64)
}

/// An app on the queue file at `address`.
pub async fn app(address: &str) -> Result<App, BoxError> {
    Ok(App::builder("bench").broker(address).backend(address).build().await?)
}

/// Calls the task for the numbers below `count`, in batches from [`SENDERS`] callers.
pub async fn fill(app: &App, count: u64, results: bool) -> Result<(), BoxError> {
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        let app = app.clone();
        senders.spawn(async move {
            let step = usize::try_from(BATCH * SENDERS)?;
            for start in (sender * BATCH..count).step_by(step) {
                let numbers = start..(start + BATCH).min(count);
                if results {
                    kept::batch(numbers.map(|number| (number, padding()))).send_all(&app).await?;
                } else {
                    noop::batch(numbers.map(|number| (number, padding()))).send_all(&app).await?;
                }
            }
            Ok::<_, BoxError>(())
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    Ok(())
}

/// Calls the task for the numbers below `count`, one by one from [`CALLERS`] callers.
pub async fn call_each(app: &App, count: u64, results: bool) -> Result<(), BoxError> {
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let app = app.clone();
        callers.spawn(async move {
            for number in (caller..count).step_by(64) {
                if results {
                    kept::delay(number, padding()).send(&app).await?;
                } else {
                    noop::delay(number, padding()).send(&app).await?;
                }
            }
            Ok::<_, BoxError>(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(())
}

/// Puts `count` calls into the queue that are due in an hour.
pub async fn fill_later(app: &App, count: u64) -> Result<(), BoxError> {
    let hour = Duration::from_secs(3_600);
    for start in (0..count).step_by(usize::try_from(BATCH)?) {
        let numbers = start..(start + BATCH).min(count);
        noop::batch(numbers.map(|number| (number, padding()))).countdown(hour).send_all(app).await?;
    }
    Ok(())
}
