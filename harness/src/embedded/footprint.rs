//! What a worker costs when it has nothing to do, how soon it does something, and what a million etas weigh on it.

use std::time::{Duration, Instant};

use apium::prelude::*;

use crate::child::Role;
use crate::embedded::load::{app, fill_later, tell};
use crate::place::Place;
use crate::report;

/// How long a worker may settle before it is looked at.
const SETTLE: Duration = Duration::from_secs(3);

/// How long an idle worker is watched.
const WATCH: Duration = Duration::from_secs(10);

/// Memory and processor of an idle worker.
pub async fn idle() -> Result<(), BoxError> {
    let place = Place::new()?;
    let worker = Role::start(&["work", &place.address()])?;
    tokio::time::sleep(SETTLE).await;
    let (before, started) = (worker.processor()?, Instant::now());
    tokio::time::sleep(WATCH).await;
    let used = worker.processor()?.saturating_sub(before).as_secs_f64() / started.elapsed().as_secs_f64();
    report::figure("idle_pss", worker.memory()?, "MB");
    report::figure("idle_cpu", used * 100.0, "%");
    stopped(worker)
}

/// From exec to the end of the first task, which waits in the queue.
pub async fn first_task() -> Result<(), BoxError> {
    let place = Place::new()?;
    let app = app(&place.address()).await?;
    tell::delay().send(&app).await?;
    app.close().await?;
    let started = Instant::now();
    let mut worker = Role::start(&["work", &place.address()])?;
    let line = worker.line()?;
    let took = started.elapsed();
    if line != "ran" {
        return Err(format!("the worker printed {line:?} first").into());
    }
    report::figure("first_task", took.as_secs_f64() * 1e3, "ms");
    stopped(worker)
}

/// Memory of an idle worker with `count` etas pending, less that of one with none.
pub async fn etas(count: u64) -> Result<(), BoxError> {
    let place = Place::new()?;
    let without = settled_memory(&place.address()).await?;
    let app = app(&place.address()).await?;
    fill_later(&app, count).await?;
    let with = settled_memory(&place.address()).await?;
    let stats = app
        .broker()
        .queues()
        .and_then(|queues| queues.counts())
        .ok_or("count the etas: this broker cannot")?
        .stats()
        .await?;
    let parked: u64 = stats.iter().map(|queue| queue.delayed).sum();
    if parked != count {
        return Err(format!("{parked} of {count} etas are pending").into());
    }
    app.close().await?;
    report::figure("etas", with - without, "MB");
    Ok(())
}

async fn settled_memory(address: &str) -> Result<f64, BoxError> {
    let worker = Role::start(&["work", address])?;
    tokio::time::sleep(SETTLE).await;
    let memory = worker.memory()?;
    stopped(worker)?;
    Ok(memory)
}

fn stopped(worker: Role) -> Result<(), BoxError> {
    match worker.stop()? {
        true => Ok(()),
        false => Err("the worker failed".into()),
    }
}
