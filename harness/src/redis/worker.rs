//! Apium's worker, in a process of its own as Celery's is.

use std::sync::Arc;
use std::time::Duration;

use apium::prelude::*;

use crate::child::{Role, told_to_end};
use crate::counter::Counter;
use crate::redis::drained::Drained;
use crate::redis::load::{count_into, worker_app};

/// How long nothing may happen before what is missing counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How a worker is set.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Tasks that run at a time.
    pub slots: &'a str,
    /// `worker_prefetch_multiplier`.
    pub multiplier: &'a str,
}

/// A worker as it is without any setting but its slots.
pub const fn with_slots(slots: &str) -> Setting<'_> {
    Setting { slots, multiplier: "4" }
}

fn kind(results: bool) -> &'static str {
    if results { "results" } else { "none" }
}

/// Starts a worker that runs until it is told to stop.
pub fn start(address: &str, results: bool) -> Result<Role, BoxError> {
    Ok(Role::start(&["work", address, kind(results)])?)
}

/// Starts a worker that drains `count` numbers, says what came of it and waits to be told to stop.
pub fn start_draining(address: &str, results: bool, count: u64, setting: Setting<'_>) -> Result<Role, BoxError> {
    let count = count.to_string();
    Ok(Role::start(&["drain-as", address, kind(results), &count, setting.slots, setting.multiplier])?)
}

/// The role of [`start`].
pub async fn work(address: &str, kind: &str) -> Result<(), BoxError> {
    let app = worker_app(address, kind == "results", "4").await?;
    app.worker().run_until(told_to_end()).await?;
    Ok(app.close().await?)
}

/// The role of [`start_draining`].
pub async fn drain(address: &str, kind: &str, count: u64, setting: Setting<'_>) -> Result<(), BoxError> {
    let app = worker_app(address, kind == "results", setting.multiplier).await?;
    let counter = Arc::new(Counter::new(usize::try_from(count)?));
    count_into(counter.clone());
    app.worker().concurrency(setting.slots.parse()?).run_until(async { counter.wait(PATIENCE).await }).await?;
    app.close().await?;
    let (lost, repeated) = (counter.lost() as u64, counter.repeated() as u64);
    Drained { rate: counter.rate(), lost, repeated }.tell();
    // Whoever started us may want to look at the process first.
    told_to_end().await;
    Ok(())
}
