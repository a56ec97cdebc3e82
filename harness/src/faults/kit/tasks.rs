//! The tasks of the fault tests, and the worker that runs them in its own process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use apium::prelude::*;
use apium::worker::{Next, RunOutcome, WorkLayer};
use apium_redis::crash_points;
use futures_util::future::BoxFuture;

use crate::child::stdin_closed;
use crate::faults::kit::run_log::{RunLog, log_to, record_run};

/// The queue of all tasks.
pub const QUEUE: &str = "celery";

/// Crash points around a run, beside those of the driver.
pub const AROUND: &[&str] = &["before-run", "after-run"];

/// A worker with a lease of one second sends a heartbeat at least each half second.
const STALL: Duration = Duration::from_millis(400);

/// Sleeps and then records its number. A number that ends with 3 is recorded only by the second run.
#[task(name = "faults.sleep_then_record", acks_late, max_retries = 3)]
pub async fn sleep_then_record(ctx: &Ctx, number: u64, millis: u64) -> TaskResult<u64> {
    if number % 10 == 3 && ctx.request().retries() == 0 {
        return Err(ctx.retry().countdown(Duration::from_millis(20)).into());
    }
    tokio::time::sleep(Duration::from_millis(millis)).await;
    record_run(number)?;
    Ok(number)
}

/// Records its number and then sleeps.
#[task(name = "faults.record_then_sleep", acks_late)]
pub async fn record_then_sleep(number: u64, millis: u64) -> TaskResult<u64> {
    record_run(number)?;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(number)
}

/// What differs between the workers of the fault tests.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The address of broker and result backend.
    pub url: String,
    /// Options of the broker, as in the query of an address.
    pub options: String,
    /// `worker_lease`.
    pub lease: Duration,
    /// Whether workers send events of tasks (`-E`).
    pub events: bool,
}

impl Setup {
    /// What most workers have.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), options: String::new(), lease: Duration::from_secs(1), events: false }
    }

    /// The builder of an app.
    pub fn builder(&self) -> AppBuilder {
        let query = if self.options.is_empty() { String::new() } else { format!("?{}", self.options) };
        let app = App::builder("faults").broker(format!("{}{query}", self.url)).backend(&*self.url);
        // A limit turns on the counting of crashes, and this one is too high for a dead letter.
        let app = app.setting("worker_lease", self.lease).setting("worker_max_crashes", 1_000_000);
        app.setting("worker_send_task_events", self.events)
    }

    /// An app.
    pub async fn app(&self) -> Result<App, BoxError> {
        Ok(self.builder().build().await?)
    }
}

/// A layer with crash points around a run.
#[derive(Debug)]
pub struct Around;

impl WorkLayer for Around {
    fn around<'a>(&'a self, _: &'a Ctx, next: Next<'a>) -> BoxFuture<'a, RunOutcome> {
        Box::pin(async move {
            crash_points::reached("before-run");
            let outcome = next.run().await;
            crash_points::reached("after-run");
            outcome
        })
    }
}

/// Runs a worker until standard input closes, or until it reaches the crash point `point` for the `times`-th time.
pub async fn run_worker(setup: &Setup, log: &str, slots: usize, (point, times): (&str, u32)) -> Result<(), BoxError> {
    log_to(log.as_ref())?;
    if !point.is_empty() {
        crash_points::arm(point, times);
    }
    let app = setup.app().await?;
    let stalls = RunLog::open(&stalls_of(log.as_ref()))?;
    let stop = async {
        tokio::select! {
            () = stdin_closed() => {}
            () = watch_for_stalls(&stalls) => {}
        }
    };
    app.worker().concurrency(slots).layer(Around).run_until(stop).await?;
    Ok(app.close().await?)
}

/// Where workers whose tasks record runs in `log` record the times in which the machine did not run them.
pub fn stalls_of(log: &Path) -> PathBuf {
    log.with_extension("stalls")
}

/// Records each time in which this process did not run and could send no heartbeat, with its length in milliseconds.
pub async fn watch_for_stalls(log: &RunLog) {
    const TICK: Duration = Duration::from_millis(50);
    loop {
        let began = std::time::Instant::now();
        tokio::time::sleep(TICK).await;
        let stalled = began.elapsed().saturating_sub(TICK);
        if stalled > STALL && log.record(u64::try_from(stalled.as_millis()).unwrap_or(u64::MAX)).is_err() {
            return;
        }
    }
}
