//! What an idle worker costs, how soon it runs its first task, and what single tasks cost the server.

use std::time::{Duration, Instant};

use apium::prelude::*;

use crate::child::Role;
use crate::redis::kit::server::{Server, connect};
use crate::redis::kit::stock::Stock;
use crate::report;
use crate::speed::celery::{CeleryWorker, PREFORK, START};
use crate::speed::load;
use crate::speed::worker;

/// How long a worker has to become idle before it is measured.
const SETTLE: Duration = Duration::from_secs(3);

/// How long an idle worker is measured.
const WATCH: Duration = Duration::from_secs(10);

/// The pause between two tasks for an idle worker.
const PAUSE: Duration = Duration::from_millis(10);

/// Measures a worker without load. Commands are counted over `tasks` tasks.
pub async fn measure(tasks: u64) -> Result<(), BoxError> {
    let server = Server::start().await?;
    let stock = Stock::fill(&server, tasks, true).await?;
    first_task(&server).await?;
    idle(&server).await?;
    let database = server.fresh();
    let worker = worker::start(&database.url, true)?;
    tokio::time::sleep(SETTLE).await;
    commands("idle", &server, &stock, &database.url, tasks).await?;
    stopped(worker)?;
    report::figure("idle_unanswered", tasks.abs_diff(server.clear(&database).await?.results) as f64, "tasks");
    celery(&server, &stock, tasks).await
}

/// Measures the time from the start of the process to the end of its first task, which waits in the queue.
async fn first_task(server: &Server) -> Result<(), BoxError> {
    let database = server.fresh();
    let app = load::app(&database.url, false).await?;
    load::announce::delay().send(&app).await?;
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

/// Measures memory, processor time and commands of a worker that never had a task.
async fn idle(server: &Server) -> Result<(), BoxError> {
    let worker = worker::start(&server.fresh().url, true)?;
    tokio::time::sleep(SETTLE).await;
    let (before, commands, started) = (worker.processor()?, server.commands().await?, Instant::now());
    tokio::time::sleep(WATCH).await;
    let (used, watched) = (worker.processor()?.saturating_sub(before).as_secs_f64(), started.elapsed().as_secs_f64());
    report::figure("idle_pss", worker.memory()?, "MB");
    report::figure("idle_written", worker.written_memory()?, "MB");
    report::figure("idle_cpu", used / watched * 100.0, "%");
    let called = server.commands().await?.since(&commands);
    called.explain("idle, without tasks", 1);
    report::figure("idle_commands_each_second", called.total() as f64 / watched, "/s");
    stopped(worker)
}

/// Counts the commands for one task when the worker waits for each. The envelopes are pushed directly, so all commands
/// but the pushes are the worker's.
async fn commands(name: &str, server: &Server, stock: &Stock, address: &str, tasks: u64) -> Result<(), BoxError> {
    let mut connection = connect(address).await?;
    let before = server.commands().await?;
    for envelope in stock.envelopes(tasks).await? {
        redis::cmd("LPUSH").arg("celery").arg(envelope).query_async::<()>(&mut connection).await?;
        tokio::time::sleep(PAUSE).await;
    }
    let called = server.commands().await?.since(&before);
    called.explain(name, tasks);
    // Of these, one push for each task is ours, and one LRANGE and SELECT for all.
    let theirs = called.total().saturating_sub(tasks) as f64;
    report::figure(&format!("{name}_commands"), theirs / tasks as f64, "commands");
    Ok(())
}

/// Measures the same for Celery.
async fn celery(server: &Server, stock: &Stock, tasks: u64) -> Result<(), BoxError> {
    let database = stock.copy(server, 1).await?;
    let started = Instant::now();
    let worker = CeleryWorker::start(PREFORK, &database.url, true, tasks)?;
    worker.tally().started(START).await?;
    report::figure("first_task_celery", started.elapsed().as_secs_f64() * 1e3, "ms");
    tokio::time::sleep(SETTLE).await;
    let (before, started) = (worker.processor()?, Instant::now());
    tokio::time::sleep(SETTLE).await;
    let used = worker.processor()?.saturating_sub(before).as_secs_f64() / started.elapsed().as_secs_f64();
    report::figure("idle_pss_celery", worker.memory()?, "MB");
    report::figure("idle_cpu_celery", used * 100.0, "%");
    commands("idle_celery", server, stock, &database.url, tasks).await?;
    worker.stop()
}

fn stopped(worker: Role) -> Result<(), BoxError> {
    match worker.stop()? {
        true => Ok(()),
        false => Err("the worker failed".into()),
    }
}
