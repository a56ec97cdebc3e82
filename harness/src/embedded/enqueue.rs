//! How many calls are published in a second. `publish` returns when the message is on disk.

use std::time::Instant;

use apium::prelude::*;

use crate::embedded::load::{app, call_each, fill};
use crate::report;
use crate::scratch::ScratchFolder;

/// Publishes in batches.
pub async fn batches(count: u64) -> Result<(), BoxError> {
    let scratch = ScratchFolder::new()?;
    let app = app(&scratch.address()).await?;
    let started = Instant::now();
    fill(&app, count, false).await?;
    report::figure("enqueue_batches", count as f64 / started.elapsed().as_secs_f64(), "/s");
    Ok(app.close().await?)
}

/// Publishes one message a call, from 64 callers at a time.
pub async fn callers(count: u64) -> Result<(), BoxError> {
    let scratch = ScratchFolder::new()?;
    let app = app(&scratch.address()).await?;
    let started = Instant::now();
    call_each(&app, count, false).await?;
    report::figure("enqueue_callers", count as f64 / started.elapsed().as_secs_f64(), "/s");
    Ok(app.close().await?)
}
