//! How fast the bare client, Apium's worker and Celery's worker drain a filled queue.

use std::time::Duration;

use apium::prelude::BoxError;

use crate::rabbitmq::speed::bare::{self, SHAPES};
use crate::rabbitmq::speed::node::{Node, left};
use crate::report;
use crate::speed::celery::{CeleryWorker, PREFORK, Pool, SOLO, START, THREADS};
use crate::speed::drained::{Counts, Drained};
use crate::speed::worker::{self, PATIENCE, Setting, with_slots};

/// Drains of one type of queue. The names of their figures start with its name.
#[derive(Debug)]
struct Series<'a> {
    name: &'a str,
    node: &'a Node,
    /// What an address says of the queues.
    options: &'a str,
}

/// Measures all on classic queues, one after the other.
pub async fn side_by_side(counts: Counts) -> Result<(), BoxError> {
    let node = Node::start();
    let series = Series { name: "drain", node: &node, options: "" };
    let limit = series.bare(counts.fast).await?;
    let many = series.apium("64", counts.fast, with_slots("64")).await?;
    let prefork = series.celery(PREFORK, counts.celery).await?;
    let few = series.apium("8", counts.fast, with_slots("8")).await?;
    for pool in [THREADS, SOLO] {
        series.celery(pool, counts.celery).await?;
    }
    let default = series.apium("default", counts.fast, Setting::DEFAULT).await?;
    report::figure("drain_default_to_best", default / default.max(many).max(few) * 100.0, "%");
    report::figure("drain_64_to_prefork", many / prefork, "×");
    report::figure("drain_8_to_prefork", few / prefork, "×");
    report::figure("drain_default_to_prefork", default / prefork, "×");
    report::figure("drain_64_to_bare", many / limit * 100.0, "%");
    report::figure("drain_8_to_bare", few / limit * 100.0, "%");
    report::figure("drain_default_to_bare", default / limit * 100.0, "%");
    Ok(())
}

/// Measures the bare client and Apium on quorum queues.
pub async fn on_quorum_queues(counts: Counts) -> Result<(), BoxError> {
    let node = Node::start();
    let series = Series { name: "quorum", node: &node, options: "?queue_type=quorum" };
    let limit = series.bare(counts.fast).await?;
    let many = series.apium("64", counts.fast, with_slots("64")).await?;
    report::figure("quorum_64_to_bare", many / limit * 100.0, "%");
    Ok(())
}

/// Runs the bare client and Apium on a few messages, to check that everything is counted.
pub async fn check(count: u64) -> Result<(), BoxError> {
    let node = Node::start();
    let series = Series { name: "drain", node: &node, options: "" };
    series.bare(count).await?;
    series.apium("64", count, with_slots("64")).await.map(drop)
}

/// Apium's worker alone, for a profiler.
pub async fn apium_alone(count: u64, setting: Setting<'_>) -> Result<(), BoxError> {
    let node = Node::start();
    Series { name: "alone", node: &node, options: "" }.apium(setting.slots, count, setting).await.map(drop)
}

impl Series<'_> {
    /// Runs every shape of the bare client; the rate of the best one.
    async fn bare(&self, count: u64) -> Result<f64, BoxError> {
        let mut best = 0.0_f64;
        for &shape in SHAPES {
            let address = self.node.filled(count, self.options).await?;
            let busy = self.node.processor()?;
            let drained = bare::drain(&address, shape, count).await?;
            let name = format!("{}_bare_{}", self.name, shape.name);
            drained.report(&name);
            self.report_node(&name, count, busy)?;
            report_left(&address).await?;
            best = best.max(drained.rate);
        }
        report::figure(&format!("{}_bare", self.name), best, "/s");
        Ok(best)
    }

    /// Runs Apium's worker; its rate.
    async fn apium(&self, at: &str, count: u64, setting: Setting<'_>) -> Result<f64, BoxError> {
        let address = self.node.filled(count, self.options).await?;
        let busy = self.node.processor()?;
        let mut worker = worker::start_draining(&address, false, count, setting)?;
        let drained = Drained::parse(&worker.line()?)?;
        let name = format!("{}_{at}", self.name);
        drained.report(&name);
        report::figure(&format!("{name}_worker_cpu"), each(worker.processor()?, count), "µs");
        self.report_node(&name, count, busy)?;
        if !worker.stop()? {
            return Err("the worker failed".into());
        }
        report_left(&address).await?;
        Ok(drained.rate)
    }

    /// Runs Celery's worker; its rate.
    async fn celery(&self, pool: Pool, count: u64) -> Result<f64, BoxError> {
        let address = self.node.filled(count, self.options).await?;
        let worker = CeleryWorker::start(pool, &address, false, count)?;
        worker.tally().started(START).await?;
        let drained = worker.tally().watch(count, PATIENCE).await?;
        worker.stop()?;
        drained.report(&format!("{}_celery_{}", self.name, pool.name));
        report_left(&address).await?;
        Ok(drained.rate)
    }

    /// Reports the processor time that the node used for each message.
    fn report_node(&self, name: &str, count: u64, before: Duration) -> Result<(), BoxError> {
        let spent = self.node.processor()?.saturating_sub(before);
        report::figure(&format!("{name}_server_cpu"), each(spent, count), "µs");
        Ok(())
    }
}

/// Reports messages that are not settled.
async fn report_left(address: &str) -> Result<(), BoxError> {
    report::figure("unsettled", left(address).await? as f64, "messages");
    Ok(())
}

fn each(spent: Duration, count: u64) -> f64 {
    spent.as_secs_f64() * 1e6 / count as f64
}
