//! The tasks that are measured and their app, with the settings of Celery's app in `harness/celery/app.py`.

use std::sync::{Arc, OnceLock};

use apium::prelude::*;

use crate::counter::Counter;
use crate::faults::kit::run_log::now;
use crate::report;
use crate::speed::tally::OwnTally;
use crate::speed::worker::{Events, Setting, UNSET};

/// How many calls go in one batch.
pub const BATCH: u64 = 1_000;

/// How many callers there are when each call sends one message.
pub const CALLERS: u64 = 64;

static COUNTER: OnceLock<Arc<Counter>> = OnceLock::new();
static TALLY: OnceLock<OwnTally> = OnceLock::new();

/// Makes the tasks of this process count into `counter`.
pub fn count_into(counter: Arc<Counter>) {
    // A process measures once. A second counter would be a mistake, and its tasks would count as lost.
    let _ = COUNTER.set(counter);
}

/// Makes the tasks of this process count into a file of a tally.
pub fn tally_into(tally: OwnTally) {
    // As above.
    let _ = TALLY.set(tally);
}

/// Only counts its number. The app's settings say whether its result is stored, as in Celery.
#[task(name = "bench.count")]
pub async fn count(number: u64, padding: String) -> TaskResult<u64> {
    drop(padding);
    if let Some(counter) = COUNTER.get() {
        counter.record(number);
    }
    if let Some(tally) = TALLY.get() {
        tally.record(number)?;
    }
    Ok(number)
}

/// Prints a line when it runs.
#[task(name = "bench.announce")]
pub async fn announce() -> TaskResult<()> {
    report::line("ran");
    Ok(())
}

/// Returns the time, in microseconds.
#[task(name = "bench.stamp")]
pub async fn stamp() -> TaskResult<i64> {
    Ok(now())
}

/// The second argument of every call.
pub fn padding() -> String {
    "x".repeat(64)
}

/// The settings of both apps: late acknowledgement, and results only when they are measured.
fn builder(address: &str, results: bool) -> AppBuilder {
    // The tasks of other programs are linked too, and the default of a worker depends on the tasks of its app.
    let app = App::builder("bench").autodiscover(false).register::<count>().register::<announce>().register::<stamp>();
    let app = app.broker(address).setting("task_acks_late", true);
    let app = app.setting("task_ignore_result", !results);
    if results { app.backend(backend_of(address)) } else { app }
}

/// Where the results of both apps go: to the server of the messages, on RabbitMQ back to their caller.
pub fn backend_of(address: &str) -> &str {
    if address.starts_with("amqp") { "rpc://" } else { address }
}

/// An app on the server at `address`.
pub async fn app(address: &str, results: bool) -> Result<App, BoxError> {
    Ok(builder(address, results).build().await?)
}

/// An app for a worker with these settings.
pub async fn worker_app(address: &str, results: bool, setting: Setting<'_>) -> Result<App, BoxError> {
    let app = builder(address, results);
    let app = match setting.multiplier.parse::<u32>() {
        Ok(number) => app.setting("worker_prefetch_multiplier", number),
        Err(_) if setting.multiplier == UNSET => app,
        Err(_) => app.setting("worker_prefetch_multiplier", setting.multiplier),
    };
    let app = app.setting("worker_send_task_events", setting.events != Events::Off);
    Ok(app.setting("task_send_sent_event", setting.events == Events::WithSent).build().await?)
}

/// Calls the task for the numbers below `count`, in batches and in order.
pub async fn fill(app: &App, count: u64) -> Result<(), BoxError> {
    for numbers in batches(count) {
        self::count::batch(numbers.map(|number| (number, padding()))).send_all(app).await?;
    }
    Ok(())
}

/// Calls the task for the numbers below `count`, each with a callback that has a number of its own from `count` on.
pub async fn fill_with_callbacks(app: &App, count: u64) -> Result<(), BoxError> {
    for numbers in batches(count) {
        let call = |number| self::count::s(number, padding()).link(self::count::si(count + number, padding()));
        Batch::of(numbers.map(call)).send_all(app).await?;
    }
    Ok(())
}

fn batches(count: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    (0..count).step_by(BATCH as usize).map(move |start| start..(start + BATCH).min(count))
}
