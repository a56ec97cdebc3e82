//! The tasks that are measured, the app that holds them, and the two ways to fill a queue.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apium::prelude::*;

use crate::counter::Counter;
use crate::report;

/// How many callers there are when each call sends one message.
pub const CALLERS: u64 = 64;

/// How many calls go in one batch.
pub const BATCH: u64 = 1_000;

/// How many callers send batches: while one batch is written, the other caller prepares the next.
pub const SENDERS: u64 = 2;

static COUNTER: OnceLock<Arc<Counter>> = OnceLock::new();

/// Makes the tasks of this process count into `counter`.
pub fn count_into(counter: Arc<Counter>) {
    // A process measures once. A second counter would be a mistake, and its tasks would count as lost.
    let _ = COUNTER.set(counter);
}

fn count(number: u64) {
    if let Some(counter) = COUNTER.get() {
        counter.record(number);
    }
}

/// Does nothing. Its result is not stored.
#[task(name = "bench.noop", acks_late, ignore_result)]
pub async fn noop(number: u64, padding: String) -> TaskResult<()> {
    drop(padding);
    count(number);
    Ok(())
}

/// Does nothing. Its result is stored.
#[task(name = "bench.stored", acks_late)]
pub async fn stored(number: u64, padding: String) -> TaskResult<u64> {
    drop(padding);
    count(number);
    Ok(number)
}

/// Prints a line when it runs.
#[task(name = "embedded.announce", acks_late, ignore_result)]
pub async fn announce() -> TaskResult<()> {
    report::line("ran");
    Ok(())
}

/// The second argument of every call.
pub fn padding() -> String {
    "x".repeat(64)
}

/// An app on the queue file at `address`.
pub async fn app(address: &str) -> Result<App, BoxError> {
    // The tasks of other programs are linked too, and the default of a worker depends on the tasks of its app.
    let app = App::builder("bench").autodiscover(false).register::<noop>().register::<stored>().register::<announce>();
    Ok(app.broker(address).backend(address).build().await?)
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
                    stored::batch(numbers.map(|number| (number, padding()))).send_all(&app).await?;
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

/// Calls the task for the numbers below `count`, one message a call, from [`CALLERS`] callers.
pub async fn call_each(app: &App, count: u64, results: bool) -> Result<(), BoxError> {
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let app = app.clone();
        callers.spawn(async move {
            for number in (caller..count).step_by(64) {
                if results {
                    stored::delay(number, padding()).send(&app).await?;
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

/// Publishes `count` calls that are due in an hour.
pub async fn fill_later(app: &App, count: u64) -> Result<(), BoxError> {
    let hour = Duration::from_secs(3_600);
    for start in (0..count).step_by(usize::try_from(BATCH)?) {
        let numbers = start..(start + BATCH).min(count);
        noop::batch(numbers.map(|number| (number, padding()))).countdown(hour).send_all(app).await?;
    }
    Ok(())
}
