//! How long a caller waits for the result of one call, when nothing else runs.

use std::time::Instant;

use apium::prelude::*;

use crate::child::Role;
use crate::embedded::load::{app, padding, stored};
use crate::report;
use crate::scratch::ScratchFolder;

/// Measures with caller and worker in one process.
pub async fn one_process(count: u64) -> Result<(), BoxError> {
    let scratch = ScratchFolder::new()?;
    let app = app(&scratch.address()).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = app.worker().run_until(async {
        // A dropped sender means stop, too.
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

/// Measures with the worker in another process.
pub async fn two_processes(count: u64) -> Result<(), BoxError> {
    let scratch = ScratchFolder::new()?;
    let app = app(&scratch.address()).await?;
    let worker = Role::start(&["worker", &scratch.address()])?;
    let median = measure(&app, count).await;
    if !worker.stop()? {
        return Err("the worker failed".into());
    }
    report::figure("round_trip_processes", median?, "ms");
    Ok(app.close().await?)
}

/// The median time from a call to its result, in milliseconds.
async fn measure(app: &App, count: u64) -> Result<f64, BoxError> {
    // The first calls open files and start the worker.
    for number in 0..50 {
        stored::delay(number, padding()).send(app).await?.get().await?;
    }
    let mut took = Vec::new();
    for number in 0..count {
        let started = Instant::now();
        let answer = stored::delay(number, padding()).send(app).await?.get().await?;
        took.push(started.elapsed());
        if answer != number {
            return Err(format!("task {number} answered {answer}").into());
        }
    }
    took.sort_unstable();
    let median = took.get(took.len() / 2).ok_or("measure a round trip at least once")?;
    Ok(median.as_secs_f64() * 1e3)
}
