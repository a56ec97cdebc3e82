//! Apium's worker, in its own process like Celery's.

use std::sync::Arc;
use std::time::Duration;

use apium::prelude::*;

use crate::child::{Role, stdin_closed};
use crate::counter::Counter;
use crate::redis::kit::drained::Drained;
use crate::redis::kit::load::{count_into, worker_app};
use crate::report;

/// Tasks that are still missing count as lost when nothing has run for this long.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What stands for a setting that is not set.
pub const UNSET: &str = "unset";

/// The settings of a worker.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Tasks that run at a time.
    pub slots: &'a str,
    /// `worker_prefetch_multiplier`.
    pub multiplier: &'a str,
}

impl Setting<'_> {
    /// The default settings.
    pub const DEFAULT: Self = Setting { slots: UNSET, multiplier: UNSET };
}

/// So many slots, and Celery's default prefetch.
pub const fn with_slots(slots: &str) -> Setting<'_> {
    Setting { slots, multiplier: "4" }
}

fn kind(results: bool) -> &'static str {
    if results { "results" } else { "none" }
}

/// Starts a worker that runs until it is told to stop.
pub fn start(address: &str, results: bool) -> Result<Role, BoxError> {
    Ok(Role::start(&["worker", address, kind(results)])?)
}

/// Starts a worker that drains `count` numbers, prints the outcome and waits until it is told to stop.
pub fn start_draining(address: &str, results: bool, count: u64, setting: Setting<'_>) -> Result<Role, BoxError> {
    let count = count.to_string();
    Ok(Role::start(&["drain-as", address, kind(results), &count, setting.slots, setting.multiplier])?)
}

/// What the process of [`start`] runs.
pub async fn run(address: &str, kind: &str) -> Result<(), BoxError> {
    let app = worker_app(address, kind == "results", UNSET).await?;
    app.worker().run_until(stdin_closed()).await?;
    Ok(app.close().await?)
}

/// Starts a worker of so many queues that prints a line when it is ready and runs until it is told to stop.
pub fn start_of_queues(address: &str, count: usize) -> Result<Role, BoxError> {
    let mut worker = Role::start(&["worker-of", address, &count.to_string()])?;
    worker.line()?;
    Ok(worker)
}

/// The name of a queue of [`start_of_queues`].
pub fn queue(number: usize) -> String {
    format!("queue-{number}")
}

/// What the process of [`start_of_queues`] runs.
pub async fn run_queues(address: &str, count: usize) -> Result<(), BoxError> {
    let app = worker_app(address, true, UNSET).await?;
    let worker = app.worker().queues((0..count).map(queue)).start().await?;
    report::line("ready");
    stdin_closed().await;
    worker.stop().await;
    Ok(app.close().await?)
}

/// What the process of [`start_draining`] runs.
pub async fn drain(address: &str, kind: &str, count: u64, setting: Setting<'_>) -> Result<(), BoxError> {
    let app = worker_app(address, kind == "results", setting.multiplier).await?;
    let counter = Arc::new(Counter::new(usize::try_from(count)?));
    count_into(counter.clone());
    let worker = app.worker();
    let worker = if setting.slots == UNSET { worker } else { worker.concurrency(setting.slots.parse()?) };
    worker.run_until(async { counter.wait(PATIENCE).await }).await?;
    app.close().await?;
    let (lost, repeated) = (counter.lost() as u64, counter.repeated() as u64);
    Drained { rate: counter.rate(), lost, repeated }.print();
    // The parent may want to measure this process first.
    stdin_closed().await;
    Ok(())
}
