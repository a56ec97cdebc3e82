//! How long a caller waits for a result from an idle worker in another process.

use std::time::{Duration, Instant};

use apium::prelude::*;

use crate::quantile::at;
use crate::report;
use crate::speed::celery::{self, CeleryWorker, PREFORK};
use crate::speed::load::{self, padding};
use crate::speed::worker;

/// How many calls are measured.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Of Apium.
    pub apium: u64,
    /// Of Celery.
    pub celery: u64,
}

/// Measures Apium on one address and Celery on another.
pub async fn compare(name: &str, apium: &str, celery: &str, counts: Counts) -> Result<(), BoxError> {
    let ours = of_apium(apium, counts.apium).await?;
    let theirs = of_celery(celery, counts.celery)?;
    for (who, times) in [("", &ours), ("_celery", &theirs)] {
        report::figure(&format!("{name}{who}"), at(times, 0.5), "ms");
        report::figure(&format!("{name}{who}_p99"), at(times, 0.99), "ms");
    }
    report::figure(&format!("{name}_to_celery"), at(&ours, 0.5) / at(&theirs, 0.5) * 100.0, "%");
    Ok(())
}

async fn of_apium(address: &str, count: u64) -> Result<Vec<f64>, BoxError> {
    let app = load::app(address, true).await?;
    let worker = worker::start(address, true)?;
    // The first calls start the worker and open connections.
    for number in 0..50 {
        load::count::delay(number, padding()).send(&app).await?.get().await?;
    }
    let mut took = Vec::new();
    for number in 0..count {
        let started = Instant::now();
        let answer = load::count::delay(number, padding()).send(&app).await?.get().await?;
        took.push(milliseconds(started.elapsed()));
        if answer != number {
            return Err(format!("task {number} answered {answer}").into());
        }
    }
    if !worker.stop()? {
        return Err("the worker failed".into());
    }
    app.close().await?;
    took.sort_by(f64::total_cmp);
    Ok(took)
}

fn of_celery(address: &str, count: u64) -> Result<Vec<f64>, BoxError> {
    let worker = CeleryWorker::start(PREFORK, address, true, count)?;
    let printed = celery::call("round-trip", count, address, true)?;
    worker.stop()?;
    let times = printed["seconds_each"].as_array().ok_or("read what Celery's caller printed")?;
    let mut took: Vec<f64> = times.iter().filter_map(|seconds| Some(seconds.as_f64()? * 1e3)).collect();
    took.sort_by(f64::total_cmp);
    Ok(took)
}

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
