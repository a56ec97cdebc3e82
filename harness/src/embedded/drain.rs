//! How many tasks a worker runs in a second, from the first execution to the last.

use std::sync::Arc;
use std::time::Duration;

use apium::prelude::*;

use crate::child::Role;
use crate::counter::Counter;
use crate::embedded::load::{app, count_into, fill};
use crate::report;
use crate::scratch::ScratchFolder;

/// Tasks that a worker runs at a time. All else is at its default.
const SLOTS: usize = 128;

/// Tasks that are still missing count as lost when nothing has run for this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures a worker on a queue that was filled before, and one with the default settings on another.
pub async fn filled(name: &str, count: u64, results: bool) -> Result<(), BoxError> {
    let scratch = ScratchFolder::new()?;
    let app = app(&scratch.address()).await?;
    fill(&app, count, results).await?;
    let best = drain(name, app, count, None).await?;
    let mut other = Role::start(&["drain-default", &count.to_string(), kind(results)])?;
    let default: f64 = other.line()?.parse()?;
    if !other.join()? {
        return Err("the worker with the default settings failed".into());
    }
    report::figure(&format!("{name}_default"), default, "/s");
    report::figure(&format!("{name}_default_to_best"), default / best.max(default) * 100.0, "%");
    Ok(())
}

/// What the other process of [`filled`] runs. It prints its rate.
pub async fn default(count: u64, results: bool) -> Result<(), BoxError> {
    let scratch = ScratchFolder::new()?;
    let app = app(&scratch.address()).await?;
    fill(&app, count, results).await?;
    let counter = run(app, count, None).await?;
    report::line(&counter.rate().to_string());
    match (counter.lost(), counter.repeated()) {
        (0, 0) => Ok(()),
        (lost, repeated) => Err(format!("{lost} tasks lost, {repeated} repeated").into()),
    }
}

fn kind(results: bool) -> &'static str {
    if results { "stored" } else { "noop" }
}

/// Measures a worker on a queue that another process fills at the same time.
pub async fn live(name: &str, count: u64, results: bool) -> Result<(), BoxError> {
    let scratch = ScratchFolder::new()?;
    let app = app(&scratch.address()).await?;
    let producer = Role::start(&["produce", &scratch.address(), &count.to_string(), kind(results)])?;
    drain(name, app, count, Some(producer)).await.map(drop)
}

/// Reports what a worker with [`SLOTS`] did. Returns its rate.
async fn drain(name: &str, app: App, count: u64, producer: Option<Role>) -> Result<f64, BoxError> {
    let counter = run(app, count, Some(SLOTS)).await?;
    report::figure(name, counter.rate(), "/s");
    report::figure("lost", counter.lost() as f64, "tasks");
    report::figure("repeated", counter.repeated() as f64, "tasks");
    match producer.map(Role::join).transpose()? {
        Some(false) => Err("the producer failed".into()),
        _ => Ok(counter.rate()),
    }
}

/// Runs a worker until it has run all tasks, with so many slots or the default.
async fn run(app: App, count: u64, slots: Option<usize>) -> Result<Arc<Counter>, BoxError> {
    let counter = Arc::new(Counter::new(usize::try_from(count)?));
    count_into(counter.clone());
    let worker = app.worker();
    let worker = if let Some(slots) = slots { worker.concurrency(slots) } else { worker };
    worker.run_until(async { counter.wait(PATIENCE).await }).await?;
    app.close().await?;
    Ok(counter)
}
