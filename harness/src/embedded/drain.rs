//! How many tasks a worker runs in a second, from the first execution to the last.

use std::sync::Arc;
use std::time::Duration;

use apium::prelude::*;

use crate::child::Role;
use crate::counter::Counter;
use crate::embedded::load::{app, count_into, fill};
use crate::report;
use crate::scratch::ScratchFolder;

/// Tasks that a worker runs at a time. It prefetches four times as many messages (Celery's
/// `worker_prefetch_multiplier`).
const SLOTS: usize = 128;

/// Tasks that are still missing count as lost when nothing has run for this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures a worker on a queue that was filled before.
pub async fn filled(name: &str, count: u64, results: bool) -> Result<(), BoxError> {
    let scratch = ScratchFolder::new()?;
    let app = app(&scratch.address()).await?;
    fill(&app, count, results).await?;
    drain(name, app, count, None).await
}

/// Measures a worker on a queue that another process fills at the same time.
pub async fn live(name: &str, count: u64, results: bool) -> Result<(), BoxError> {
    let scratch = ScratchFolder::new()?;
    let app = app(&scratch.address()).await?;
    let kind = if results { "stored" } else { "noop" };
    let producer = Role::start(&["produce", &scratch.address(), &count.to_string(), kind])?;
    drain(name, app, count, Some(producer)).await
}

async fn drain(name: &str, app: App, count: u64, producer: Option<Role>) -> Result<(), BoxError> {
    let counter = Arc::new(Counter::new(usize::try_from(count)?));
    count_into(counter.clone());
    let worker = app.worker().concurrency(SLOTS);
    worker.run_until(async { counter.wait(PATIENCE).await }).await?;
    report::figure(name, counter.rate(), "/s");
    report::figure("lost", counter.lost() as f64, "tasks");
    report::figure("repeated", counter.repeated() as f64, "tasks");
    if producer.map(Role::join).transpose()? == Some(false) {
        return Err("the producer failed".into());
    }
    Ok(app.close().await?)
}
