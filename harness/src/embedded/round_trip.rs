//! How long a caller waits for a result, with nothing else going on.

use std::time::Instant;

use apium::prelude::*;

use crate::child::Role;
use crate::embedded::load::{app, kept, padding};
use crate::place::Place;
use crate::report;

/// Caller and worker in one process.
pub async fn one_process(count: u64) -> Result<(), BoxError> {
    let place = Place::new()?;
    let app = app(&place.address()).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = app.worker().run_until(async {
        // A sender that is gone says stop as well.
        let _ = stopped.await;
    });
    let calls = async {
        let median = measure(&app, count).await;
        drop(stop);
        median
    };
    let (report, median) = tokio::join!(worker, calls);
    report?;
    report::figure("round_trip", median?, "ms");
    Ok(app.close().await?)
}

/// The worker in another process.
pub async fn two_processes(count: u64) -> Result<(), BoxError> {
    let place = Place::new()?;
    let app = app(&place.address()).await?;
    let worker = Role::start(&["work", &place.address()])?;
    let median = measure(&app, count).await;
    if !worker.stop()? {
        return Err("the worker failed".into());
    }
    report::figure("round_trip_processes", median?, "ms");
    Ok(app.close().await?)
}

/// The median time of a call and its answer, in milliseconds.
async fn measure(app: &App, count: u64) -> Result<f64, BoxError> {
    // The first calls open files and start the worker.
    for number in 0..50 {
        kept::delay(number, padding()).send(app).await?.get().await?;
    }
    let mut took = Vec::new();
    for number in 0..count {
        let started = Instant::now();
        let answer = kept::delay(number, padding()).send(app).await?.get().await?;
        took.push(started.elapsed());
        if answer != number {
            return Err(format!("task {number} answered {answer}").into());
        }
    }
    took.sort_unstable();
    let median = took.get(took.len() / 2).ok_or("measure a round trip at least once")?;
    Ok(median.as_secs_f64() * 1e3)
}
