//! What the other processes of a measure do: a worker that runs until its standard input closes, and a producer.

use apium::prelude::*;

use crate::child::stdin_closed;
use crate::embedded::load::{app, call_each};

/// Runs a worker on the queue at `address`.
pub async fn run(address: &str) -> Result<(), BoxError> {
    let app = app(address).await?;
    app.worker().run_until(stdin_closed()).await?;
    Ok(app.close().await?)
}

/// Calls the task for the numbers below `count`, one by one from 64 callers.
pub async fn produce(address: &str, count: u64, results: bool) -> Result<(), BoxError> {
    let app = app(address).await?;
    call_each(&app, count, results).await?;
    Ok(app.close().await?)
}
