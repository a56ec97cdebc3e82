//! How fast calls get into the queue. `publish` returns when the message is on disk.

use std::time::Instant;

use apium::prelude::*;

use crate::embedded::load::{app, call_each, fill};
use crate::place::Place;
use crate::report;

/// In batches.
pub async fn batches(count: u64) -> Result<(), BoxError> {
    let place = Place::new()?;
    let app = app(&place.address()).await?;
    let started = Instant::now();
    fill(&app, count, false).await?;
    report::figure("enqueue_batches", count as f64 / started.elapsed().as_secs_f64(), "/s");
    Ok(app.close().await?)
}

/// One by one, from 64 callers at a time.
pub async fn callers(count: u64) -> Result<(), BoxError> {
    let place = Place::new()?;
    let app = app(&place.address()).await?;
    let started = Instant::now();
    call_each(&app, count, false).await?;
    report::figure("enqueue_callers", count as f64 / started.elapsed().as_secs_f64(), "/s");
    Ok(app.close().await?)
}
