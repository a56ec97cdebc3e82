//! How fast workers with child processes drain a filled queue, and what their processes cost, beside Celery's prefork.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use apium::prelude::BoxError;

use crate::process;
use crate::processes::worker::{Bodies, ProcessWorker, command};
use crate::redis::kit::server::Server;
use crate::redis::kit::stock::Stock;
use crate::report;
use crate::scratch::ScratchFolder;
use crate::speed::celery::{CeleryWorker, PREFORK_2, PREFORK_8, Pool, START};
use crate::speed::tally::Tally;
use crate::speed::worker::PATIENCE;

/// How many messages each drains.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Apium, with tasks in Rust.
    pub rust: u64,
    /// Apium, with tasks in Python.
    pub python: u64,
    /// Celery.
    pub celery: u64,
}

/// How many children are started one after the other.
const SPAWNS: [(Bodies, u64); 2] = [(Bodies::Rust, 200), (Bodies::Python, 20)];

/// Measures all, one after the other.
pub async fn measure(counts: Counts) -> Result<(), BoxError> {
    let server = Server::start().await?;
    for (results, name) in [(false, "ignored"), (true, "results")] {
        let stock = Stock::fill(&server, counts.rust.max(counts.python), results).await?;
        for (pool, at) in [(PREFORK_2, "2"), (PREFORK_8, "8")] {
            let celery = celery(&server, &stock, pool, counts.celery).await?;
            report::figure(&format!("{name}_celery_{at}"), celery, "/s");
            for (bodies, count) in [(Bodies::Rust, counts.rust), (Bodies::Python, counts.python)] {
                let of = bodies.name().to_lowercase();
                let rate = apium(&server, &stock, bodies, count, at).await?;
                report::figure(&format!("{name}_{of}_{at}"), rate, "/s");
                report::figure(&format!("{name}_{of}_{at}_to_celery"), rate / celery, "×");
            }
        }
    }
    let stock = Stock::fill(&server, SPAWNS[0].1, false).await?;
    for (bodies, count) in SPAWNS {
        let database = stock.copy(&server, count).await?;
        let tally = Tally::new()?;
        let (worker, scratch) =
            start(bodies, &database.url, &tally, count, &["-c", "1", "--max-tasks-per-child", "1"], false).await?;
        let began = Instant::now();
        tally.watch(count, PATIENCE).await?.report_faults();
        let each = began.elapsed().as_secs_f64() * 1e3 / count as f64;
        report::figure(&format!("spawn_{}", bodies.name().to_lowercase()), each, "ms");
        worker.stop()?;
        drop(scratch);
        server.clear(&database).await?;
    }
    Ok(())
}

async fn apium(server: &Server, stock: &Stock, bodies: Bodies, count: u64, slots: &str) -> Result<f64, BoxError> {
    let database = stock.copy(server, count).await?;
    let tally = Tally::new()?;
    let (worker, scratch) = start(bodies, &database.url, &tally, count, &["-c", slots], stock.results()).await?;
    let drained = tally.watch(count, PATIENCE).await?;
    drained.report_faults();
    if slots == "2" && !stock.results() {
        let name = bodies.name().to_lowercase();
        report::figure(&format!("supervisor_{name}"), process::memory(worker.pid())?, "MB");
        let children = worker.children()?;
        let memory: f64 = children.iter().map(|pid| process::memory(*pid)).sum::<Result<f64, _>>()?;
        report::figure(&format!("child_{name}"), memory / children.len().max(1) as f64, "MB");
    }
    worker.stop()?;
    drop(scratch);
    leftover(server, &database, stock.results(), count).await?;
    Ok(drained.rate)
}

async fn celery(server: &Server, stock: &Stock, pool: Pool, count: u64) -> Result<f64, BoxError> {
    let database = stock.copy(server, count).await?;
    let worker = CeleryWorker::start(pool, &database.url, stock.results(), count)?;
    worker.tally().started(START).await?;
    let drained = worker.tally().watch(count, PATIENCE).await?;
    drained.report_faults();
    worker.stop()?;
    leftover(server, &database, stock.results(), count).await?;
    Ok(drained.rate)
}

async fn leftover(
    server: &Server,
    database: &apium_peers::namespace::Database,
    results: bool,
    count: u64,
) -> Result<(), BoxError> {
    // What runs has been counted before it is settled.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let leftover = server.clear(database).await?;
    report::figure("unsettled", leftover.messages as f64, "messages");
    if results {
        report::figure("unanswered", count.abs_diff(leftover.results) as f64, "tasks");
    }
    Ok(())
}

async fn start(
    bodies: Bodies,
    url: &str,
    tally: &Tally,
    numbers: u64,
    args: &[&str],
    results: bool,
) -> Result<(ProcessWorker, ScratchFolder), BoxError> {
    let scratch = ScratchFolder::new()?;
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("celery");
    let mut command = command(bodies, (&folder, "app"), url, args)?;
    command.env("BENCH_TALLY", tally.folder()).env("BENCH_NUMBERS", numbers.to_string());
    // The settings of Celery's app.
    command.env("APIUM_TASK_ACKS_LATE", "true").env("APIUM_TASK_IGNORE_RESULT", (!results).to_string());
    if results {
        command.env("BENCH_BACKEND", url).env("APIUM_RESULT_BACKEND", url);
    }
    let worker = ProcessWorker::start(command, scratch.folder()).await?;
    Ok((worker, scratch))
}
