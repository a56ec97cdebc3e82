//! Apium's worker, in its own process like Celery's.

use std::sync::Arc;
use std::time::Duration;

use apium::prelude::*;

use crate::child::{Role, stdin_closed};
use crate::counter::Counter;
use crate::redis::kit::drained::Drained;
use crate::redis::kit::load::{count_into, worker_app};

/// Tasks that are still missing count as lost when nothing has run for this long.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The settings of a worker.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Tasks that run at a time.
    pub slots: &'a str,
    /// `worker_prefetch_multiplier`.
    pub multiplier: &'a str,
}

/// The default settings, but for the slots.
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
    let app = worker_app(address, kind == "results", "4").await?;
    app.worker().run_until(stdin_closed()).await?;
    Ok(app.close().await?)
}

/// What the process of [`start_draining`] runs.
pub async fn drain(address: &str, kind: &str, count: u64, setting: Setting<'_>) -> Result<(), BoxError> {
    let app = worker_app(address, kind == "results", setting.multiplier).await?;
    let counter = Arc::new(Counter::new(usize::try_from(count)?));
    count_into(counter.clone());
    app.worker().concurrency(setting.slots.parse()?).run_until(async { counter.wait(PATIENCE).await }).await?;
    app.close().await?;
    let (lost, repeated) = (counter.lost() as u64, counter.repeated() as u64);
    Drained { rate: counter.rate(), lost, repeated }.print();
    // The parent may want to measure this process first.
    stdin_closed().await;
    Ok(())
}
