//! How fast the bare client, Apium's worker and Celery's worker drain a filled queue, with the same messages.

use apium::prelude::BoxError;
use apium_peers::namespace::Database;

use crate::redis::bare::{self, SHAPES};
use crate::redis::kit::server::Server;
use crate::redis::kit::stock::Stock;
use crate::report;
use crate::speed::celery::{CeleryWorker, PREFORK, Pool, SOLO, START, THREADS};
use crate::speed::drained::{Counts, Drained};
use crate::speed::worker::{self, PATIENCE, Setting, with_slots};

/// A series of drains, with or without results. The names of its figures start with its name.
#[derive(Debug)]
pub struct Series<'a> {
    name: &'a str,
    server: &'a Server,
    stock: Stock,
}

/// Measures all, one after the other.
pub async fn side_by_side(name: &str, counts: Counts, results: bool) -> Result<(), BoxError> {
    let server = Server::start().await?;
    let series = Series { name, server: &server, stock: Stock::fill(&server, counts.fast, results).await? };
    let (limit, safe) = series.bare(counts.fast).await?;
    let many = series.apium("64", counts.fast, with_slots("64")).await?;
    let prefork = series.celery(PREFORK, counts.celery).await?;
    let few = series.apium("8", counts.fast, with_slots("8")).await?;
    for pool in [THREADS, SOLO] {
        series.celery(pool, counts.celery).await?;
    }
    let mut best = many.max(few);
    for (slots, at) in [("64", "64_auto"), ("8", "8_auto")] {
        best =
            best.max(series.apium(at, counts.fast, Setting { slots, multiplier: "auto", ..Setting::DEFAULT }).await?);
    }
    let default = series.apium("default", counts.fast, Setting::DEFAULT).await?;
    report::figure(&format!("{name}_default_to_best"), default / best * 100.0, "%");
    report::figure(&format!("{name}_64_to_prefork"), many / prefork, "×");
    report::figure(&format!("{name}_8_to_prefork"), few / prefork, "×");
    report::figure(&format!("{name}_64_to_bare"), many / limit * 100.0, "%");
    report::figure(&format!("{name}_8_to_bare"), few / limit * 100.0, "%");
    report::figure(&format!("{name}_64_to_bare_safe"), many / safe * 100.0, "%");
    Ok(())
}

/// Runs the bare client and Apium on a few messages, to check that everything is counted.
pub async fn check(count: u64) -> Result<(), BoxError> {
    let server = Server::start().await?;
    for (name, results) in [("drain", false), ("results", true)] {
        let series = Series { name, server: &server, stock: Stock::fill(&server, count, results).await? };
        series.bare(count).await?;
        series.apium("64", count, with_slots("64")).await?;
    }
    Ok(())
}

/// Apium's worker alone, for a profiler.
pub async fn apium_alone(count: u64, results: bool, setting: Setting<'_>) -> Result<(), BoxError> {
    let server = Server::start().await?;
    let series = Series { name: "alone", server: &server, stock: Stock::fill(&server, count, results).await? };
    series.apium(setting.slots, count, setting).await.map(drop)
}

impl Series<'_> {
    /// Runs every shape of the bare client; the rate of the best one, and of the best one that is as safe as a worker.
    async fn bare(&self, count: u64) -> Result<(f64, f64), BoxError> {
        let (mut best, mut safe) = (0.0_f64, 0.0_f64);
        for &shape in SHAPES {
            let database = self.stock.copy(self.server, count).await?;
            let drained = bare::drain(&database.url, shape, count, self.stock.results()).await?;
            drained.report(&format!("{}_bare_{}", self.name, shape.name));
            self.report_leftover(&database, count).await?;
            best = best.max(drained.rate);
            if shape.atomic {
                safe = safe.max(drained.rate);
            }
        }
        report::figure(&format!("{}_bare", self.name), best, "/s");
        report::figure(&format!("{}_bare_safe", self.name), safe, "/s");
        Ok((best, safe))
    }

    /// Runs Apium's worker; its rate.
    async fn apium(&self, at: &str, count: u64, setting: Setting<'_>) -> Result<f64, BoxError> {
        let database = self.stock.copy(self.server, count).await?;
        let (commands, busy) = (self.server.commands().await?, self.server.processor()?);
        let mut worker = worker::start_draining(&database.url, self.stock.results(), count, setting)?;
        let drained = Drained::parse(&worker.line()?)?;
        let name = format!("{}_{at}", self.name);
        drained.report(&name);
        let each = |spent: std::time::Duration| spent.as_secs_f64() * 1e6 / count as f64;
        report::figure(&format!("{name}_worker_cpu"), each(worker.processor()?), "µs");
        report::figure(&format!("{name}_server_cpu"), each(self.server.processor()?.saturating_sub(busy)), "µs");
        let called = self.server.commands().await?.since(&commands);
        called.explain(&name, count);
        report::figure(&format!("{name}_commands"), called.total() as f64 / count as f64, "commands");
        if !worker.stop()? {
            return Err("the worker failed".into());
        }
        self.report_leftover(&database, count).await?;
        Ok(drained.rate)
    }

    /// Runs Celery's worker; its rate.
    async fn celery(&self, pool: Pool, count: u64) -> Result<f64, BoxError> {
        let database = self.stock.copy(self.server, count).await?;
        let commands = self.server.commands().await?;
        let worker = CeleryWorker::start(pool, &database.url, self.stock.results(), count)?;
        worker.tally().started(START).await?;
        let drained = worker.tally().watch(count, PATIENCE).await?;
        worker.stop()?;
        let name = format!("{}_celery_{}", self.name, pool.name);
        drained.report(&name);
        let called = self.server.commands().await?.since(&commands);
        called.explain(&name, count);
        report::figure(&format!("{name}_commands"), called.total() as f64 / count as f64, "commands");
        self.report_leftover(&database, count).await?;
        Ok(drained.rate)
    }

    /// Reports messages that are not settled and results that are not stored.
    async fn report_leftover(&self, database: &Database, count: u64) -> Result<(), BoxError> {
        let leftover = self.server.clear(database).await?;
        report::figure("unsettled", leftover.messages as f64, "messages");
        if self.stock.results() {
            report::figure("unanswered", count.abs_diff(leftover.results) as f64, "tasks");
        }
        Ok(())
    }
}
