//! What a worker costs when it has nothing to do, how soon it does something, and what one task at a time costs the server.

use std::time::{Duration, Instant};

use apium::prelude::*;

use crate::child::Role;
use crate::redis::celery::{CeleryWorker, PREFORK, START};
use crate::redis::load;
use crate::redis::server::{Server, connect};
use crate::redis::stock::Stock;
use crate::redis::worker;
use crate::report;

/// How long a worker may settle before it is looked at.
const SETTLE: Duration = Duration::from_secs(3);

/// How long an idle worker is watched.
const WATCH: Duration = Duration::from_secs(10);

/// How long a task has before the next is sent to an idle worker.
const PAUSE: Duration = Duration::from_millis(10);

/// Everything about a worker without load. Commands are counted over `jobs` tasks.
pub async fn measure(jobs: u64) -> Result<(), BoxError> {
    let server = Server::start().await?;
    let stock = Stock::fill(&server, jobs, true).await?;
    first_task(&server).await?;
    idle(&server).await?;
    let database = server.fresh();
    let worker = worker::start(&database.url, true)?;
    tokio::time::sleep(SETTLE).await;
    commands("idle", &server, &stock, &database.url, jobs).await?;
    stopped(worker)?;
    report::figure("idle_unanswered", jobs.abs_diff(server.clear(&database).await?.results) as f64, "tasks");
    celery(&server, &stock, jobs).await
}

/// From exec to the end of the first task, which waits in the queue.
async fn first_task(server: &Server) -> Result<(), BoxError> {
    let database = server.fresh();
    let app = load::app(&database.url, false).await?;
    load::say::delay().send(&app).await?;
    app.close().await?;
    let started = Instant::now();
    let mut worker = worker::start(&database.url, false)?;
    let line = worker.line()?;
    let took = started.elapsed();
    if line != "ran" {
        return Err(format!("the worker printed {line:?} first").into());
    }
    report::figure("first_task", took.as_secs_f64() * 1e3, "ms");
    stopped(worker)
}

/// Memory, processor and commands of a worker that never had anything to do.
async fn idle(server: &Server) -> Result<(), BoxError> {
    let worker = worker::start(&server.fresh().url, true)?;
    tokio::time::sleep(SETTLE).await;
    let (before, commands, started) = (worker.processor()?, server.commands().await?, Instant::now());
    tokio::time::sleep(WATCH).await;
    let (used, watched) = (worker.processor()?.saturating_sub(before).as_secs_f64(), started.elapsed().as_secs_f64());
    report::figure("idle_pss", worker.memory()?, "MB");
    report::figure("idle_cpu", used / watched * 100.0, "%");
    let called = server.commands().await?.since(&commands);
    called.explain("idle, without tasks", 1);
    report::figure("idle_commands_each_second", called.total() as f64 / watched, "/s");
    stopped(worker)
}

/// Commands for one task, when the worker waits for each. The envelopes are pushed as they are, so all but the pushes is the
/// worker's.
async fn commands(name: &str, server: &Server, stock: &Stock, address: &str, jobs: u64) -> Result<(), BoxError> {
    let mut connection = connect(address).await?;
    let before = server.commands().await?;
    for envelope in stock.envelopes(jobs).await? {
        redis::cmd("LPUSH").arg("celery").arg(envelope).query_async::<()>(&mut connection).await?;
        tokio::time::sleep(PAUSE).await;
    }
    let called = server.commands().await?.since(&before);
    called.explain(name, jobs);
    // One push is ours for each job, and one LRANGE and SELECT for all.
    let theirs = called.total().saturating_sub(jobs) as f64;
    report::figure(&format!("{name}_commands"), theirs / jobs as f64, "commands");
    Ok(())
}

/// The same of Celery.
async fn celery(server: &Server, stock: &Stock, jobs: u64) -> Result<(), BoxError> {
    let database = stock.deal(server, 1).await?;
    let started = Instant::now();
    let worker = CeleryWorker::start(PREFORK, &database.url, true, jobs)?;
    worker.tally().started(START).await?;
    report::figure("first_task_celery", started.elapsed().as_secs_f64() * 1e3, "ms");
    tokio::time::sleep(SETTLE).await;
    let (before, started) = (worker.processor()?, Instant::now());
    tokio::time::sleep(SETTLE).await;
    let used = worker.processor()?.saturating_sub(before).as_secs_f64() / started.elapsed().as_secs_f64();
    report::figure("idle_pss_celery", worker.memory()?, "MB");
    report::figure("idle_cpu_celery", used * 100.0, "%");
    commands("idle_celery", server, stock, &database.url, jobs).await?;
    worker.stop()
}

fn stopped(worker: Role) -> Result<(), BoxError> {
    match worker.stop()? {
        true => Ok(()),
        false => Err("the worker failed".into()),
    }
}
