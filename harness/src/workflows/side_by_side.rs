//! How long workflows take from the call to the result, with Apium and with Celery, one after the other on one server.

use std::collections::BTreeMap;
use std::time::Instant;

use apium::prelude::*;

use crate::quantile::median;
use crate::redis::kit::server::Server;
use crate::report;
use crate::speed::celery::{self, CeleryWorker, PREFORK_2, PREFORK_8, Pool};
use crate::speed::round_trip::Counts;
use crate::workflows::flow::Flow;
use crate::workflows::worker;

/// The workflows that are measured, with their numbers of tasks.
const FLOWS: [(Flow, u64); 3] = [(Flow::Group, 1_000), (Flow::Chord, 1_000), (Flow::Chain, 100)];

/// Two workers that are compared: the slots of Apium's, and the processes of Celery's.
#[derive(Debug, Clone, Copy)]
struct Pair {
    /// The end of the names of its figures.
    suffix: &'static str,
    slots: usize,
    pool: Pool,
}

const PAIRS: [Pair; 2] =
    [Pair { suffix: "_2", slots: 2, pool: PREFORK_2 }, Pair { suffix: "_8", slots: 8, pool: PREFORK_8 }];

/// Measures both. Celery runs less often, because one of its runs takes as long as many of Apium's.
pub async fn measure(counts: Counts) -> Result<(), BoxError> {
    let server = Server::start().await?;
    for Pair { suffix, slots, pool } in PAIRS {
        let ours = of_apium(&server, slots, counts.apium, &FLOWS).await?;
        let theirs = of_celery(&server, pool, counts.celery)?;
        for (flow, _) in FLOWS {
            let name = flow.name();
            let seconds = |times: &Times| times.get(name).copied().ok_or("measure: a workflow was not run");
            let (own, celery) = (seconds(&ours)?, seconds(&theirs)?);
            report::figure(&format!("{name}{suffix}"), own * 1e3, "ms");
            report::figure(&format!("{name}{suffix}_celery"), celery * 1e3, "ms");
            report::figure(&format!("{name}{suffix}_to_celery"), celery / own, "×");
        }
    }
    Ok(())
}

/// Runs one workflow with Apium alone, for a profiler.
pub async fn alone(name: &str, slots: usize, count: u64) -> Result<(), BoxError> {
    let server = Server::start().await?;
    let flows: Vec<_> = FLOWS.into_iter().filter(|(flow, _)| flow.name() == name).collect();
    let times = of_apium(&server, slots, count, &flows).await?;
    times.iter().for_each(|(name, seconds)| report::figure(name, seconds * 1e3, "ms"));
    Ok(())
}

/// The median of each workflow, in seconds.
type Times = BTreeMap<&'static str, f64>;

async fn of_apium(server: &Server, slots: usize, count: u64, flows: &[(Flow, u64)]) -> Result<Times, BoxError> {
    let database = server.fresh();
    let worker = worker::start(&database.url, slots)?;
    let app = worker::app(&database.url).await?;
    // The first run waits for the worker and opens connections.
    Flow::Chain.run(&app, 1).await?;
    let mut times = Times::new();
    for &(flow, size) in flows {
        let mut took = Vec::new();
        for _ in 0..count {
            let started = Instant::now();
            flow.run(&app, size).await?;
            took.push(started.elapsed().as_secs_f64());
        }
        times.insert(flow.name(), median(took));
    }
    if !worker.stop()? {
        return Err("the worker failed".into());
    }
    app.close().await?;
    let leftover = server.clear(&database).await?;
    report::figure("unsettled", leftover.messages as f64, "messages");
    Ok(times)
}

fn of_celery(server: &Server, pool: Pool, count: u64) -> Result<Times, BoxError> {
    let database = server.fresh();
    let worker = CeleryWorker::start(pool, &database.url, true, 1)?;
    let printed = celery::call("workflows", count, &database.url, true)?;
    worker.stop()?;
    let mut times = Times::new();
    for (flow, _) in FLOWS {
        let took = printed[flow.name()].as_array().ok_or("read what Celery's caller printed")?;
        times.insert(flow.name(), median(took.iter().filter_map(serde_json::Value::as_f64).collect()));
    }
    Ok(times)
}
