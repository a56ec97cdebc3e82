//! The tasks of the fault tests, and the worker that runs them in a process of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use apium::prelude::*;
use apium::worker::{Next, RunOutcome, WorkLayer};
use apium_redis::crash_points;
use futures_util::future::BoxFuture;

use crate::child::told_to_end;
use crate::faults::run_log::{RunLog, log_to, note_run};

/// The queue of all of them.
pub const QUEUE: &str = "celery";

/// Places around a run at which a worker that is armed dies, beside those of the driver.
pub const AROUND: &[&str] = &["before-run", "after-run"];

/// A worker with a lease of a second shows life at least each half of it.
const STALL: Duration = Duration::from_millis(400);

/// Takes its time and then notes its number. A number that ends with 3 only at the second run.
#[task(name = "faults.mark", acks_late, max_retries = 3)]
pub async fn mark(ctx: &Ctx, number: u64, millis: u64) -> TaskResult<u64> {
    if number % 10 == 3 && ctx.request().retries() == 0 {
        return Err(ctx.retry().countdown(Duration::from_millis(20)).into());
    }
    tokio::time::sleep(Duration::from_millis(millis)).await;
    note_run(number)?;
    Ok(number)
}

/// Notes its number when it begins, and then takes its time.
#[task(name = "faults.begin", acks_late)]
pub async fn begin(number: u64, millis: u64) -> TaskResult<u64> {
    note_run(number)?;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(number)
}

/// What differs between the workers of the fault tests.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The address of broker and result backend.
    pub url: String,
    /// Options of the broker, as they stand behind a question mark.
    pub options: String,
    /// `worker_lease`.
    pub lease: Duration,
}

impl Setup {
    /// As most of them are.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), options: String::new(), lease: Duration::from_secs(1) }
    }

    /// The builder of an app.
    pub fn builder(&self) -> AppBuilder {
        let query = if self.options.is_empty() { String::new() } else { format!("?{}", self.options) };
        let app = App::builder("faults").broker(format!("{}{query}", self.url)).backend(&*self.url);
        // Runs that begin are noted, and nothing is put aside however often its worker dies.
        app.setting("worker_lease", self.lease).setting("worker_max_crashes", 1_000_000)
    }

    /// An app.
    pub async fn app(&self) -> Result<App, BoxError> {
        Ok(self.builder().build().await?)
    }
}

/// A layer that dies around a run when it is armed.
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

/// The role of a worker: runs until standard input ends, or until it comes to the place `point` for the `times`-th time.
pub async fn work(setup: &Setup, log: &str, slots: usize, (point, times): (&str, u32)) -> Result<(), BoxError> {
    log_to(log.as_ref())?;
    if !point.is_empty() {
        crash_points::arm(point, times);
    }
    let app = setup.app().await?;
    let stalls = RunLog::open(&stalls_of(log.as_ref()))?;
    let stop = async {
        tokio::select! {
            () = told_to_end() => {}
            () = watch_for_stalls(&stalls) => {}
        }
    };
    app.worker().concurrency(slots).layer(Around).run_until(stop).await?;
    Ok(app.close().await?)
}

/// Where the workers that log to `log` note that the machine did not let them run.
pub fn stalls_of(log: &Path) -> PathBuf {
    log.with_extension("stalls")
}

/// Notes, with its length in milliseconds, each time in which this process did not run and so could show no life.
async fn watch_for_stalls(log: &RunLog) {
    const TICK: Duration = Duration::from_millis(50);
    loop {
        let began = std::time::Instant::now();
        tokio::time::sleep(TICK).await;
        let late = began.elapsed().saturating_sub(TICK);
        if late > STALL && log.note(u64::try_from(late.as_millis()).unwrap_or(u64::MAX)).is_err() {
            return;
        }
    }
}
