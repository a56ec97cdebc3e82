//! The roles of other processes: a worker that runs until its standard input ends, and a producer.

use apium::prelude::*;

use crate::child::told_to_end;
use crate::embedded::load::{app, call_each};

/// Works on the queue at `address`.
pub async fn work(address: &str) -> Result<(), BoxError> {
    let app = app(address).await?;
    app.worker().run_until(told_to_end()).await?;
    Ok(app.close().await?)
}

/// Calls the task for the numbers below `count`, one by one from 64 callers.
pub async fn produce(address: &str, count: u64, results: bool) -> Result<(), BoxError> {
    let app = app(address).await?;
    call_each(&app, count, results).await?;
    Ok(app.close().await?)
}
