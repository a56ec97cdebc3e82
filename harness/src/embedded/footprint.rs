//! What an idle worker costs, how soon it runs its first task, and how much memory a million etas cost it.

use std::time::{Duration, Instant};

use apium::prelude::*;

use crate::child::Role;
use crate::embedded::load::{announce, app, fill_later};
use crate::report;
use crate::scratch::ScratchFolder;

/// How long a worker has to become idle before it is measured.
const SETTLE: Duration = Duration::from_secs(3);

/// How long an idle worker is measured.
const WATCH: Duration = Duration::from_secs(10);

/// Measures the memory and processor time of an idle worker.
pub async fn idle() -> Result<(), BoxError> {
    let scratch = ScratchFolder::new()?;
    let worker = Role::start(&["worker", &scratch.address()])?;
    tokio::time::sleep(SETTLE).await;
    let (before, started) = (worker.processor()?, Instant::now());
    tokio::time::sleep(WATCH).await;
    let used = worker.processor()?.saturating_sub(before).as_secs_f64() / started.elapsed().as_secs_f64();
    report::figure("idle_pss", worker.memory()?, "MB");
    report::figure("idle_written", worker.written_memory()?, "MB");
    report::figure("idle_cpu", used * 100.0, "%");
    stopped(worker)
}

/// Measures the time from the start of the process to the end of its first task, which waits in the queue.
pub async fn first_task() -> Result<(), BoxError> {
    let scratch = ScratchFolder::new()?;
    let app = app(&scratch.address()).await?;
    announce::delay().send(&app).await?;
    app.close().await?;
    let started = Instant::now();
    let mut worker = Role::start(&["worker", &scratch.address()])?;
    let line = worker.line()?;
    let took = started.elapsed();
    if line != "ran" {
        return Err(format!("the worker printed {line:?} first").into());
    }
    report::figure("first_task", took.as_secs_f64() * 1e3, "ms");
    stopped(worker)
}

/// Measures how much more memory an idle worker uses when `count` etas are pending.
pub async fn etas(count: u64) -> Result<(), BoxError> {
    let scratch = ScratchFolder::new()?;
    let without = settled_memory(&scratch.address()).await?;
    let app = app(&scratch.address()).await?;
    fill_later(&app, count).await?;
    let with = settled_memory(&scratch.address()).await?;
    let counts = app.broker().queues().and_then(|queues| queues.counts());
    let stats = counts.ok_or("count the etas: this broker cannot")?.stats().await?;
    let delayed: u64 = stats.iter().map(|queue| queue.delayed).sum();
    if delayed != count {
        return Err(format!("{delayed} of {count} etas are pending").into());
    }
    app.close().await?;
    report::figure("etas", with - without, "MB");
    Ok(())
}

async fn settled_memory(address: &str) -> Result<f64, BoxError> {
    let worker = Role::start(&["worker", address])?;
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
