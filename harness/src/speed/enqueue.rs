//! What measures calls in a second on every broker.

use std::time::Duration;

use apium::prelude::*;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::speed::load::{self, CALLERS, padding};

/// How many messages each measure sends.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// One at a time, by Apium and by the bare loop.
    pub single: u64,
    /// One at a time, by Celery.
    pub celery: u64,
    /// Many at a time.
    pub many: u64,
}

/// How many there were in a second.
pub fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// The rate of Celery's caller, from what it printed.
pub fn celery_rate(count: u64, printed: &Value) -> Result<f64, BoxError> {
    let seconds = printed["seconds"].as_f64().ok_or("read what Celery's caller printed")?;
    Ok(rate(count, Duration::from_secs_f64(seconds)))
}

/// Calls the task for the numbers below `count`, one message a call, from many callers.
pub async fn callers(app: &App, count: u64) -> Result<(), BoxError> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let app = app.clone();
        callers.spawn(async move {
            for number in (caller..count).step_by(CALLERS as usize) {
                load::count::delay(number, padding()).send(&app).await?;
            }
            Ok::<_, BoxError>(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(())
}
