//! The same measurements with a server that is further away: a proxy makes every round trip a millisecond longer.

use std::time::{Duration, Instant};

use apium::prelude::BoxError;
use apium_peers::namespace::Database;
use apium_peers::proxy::Proxy;

use crate::quantile::median;
use crate::redis::kit::server::{Server, connect};
use crate::redis::kit::stock::Stock;
use crate::report;
use crate::speed::celery::{CeleryWorker, PREFORK, START};
use crate::speed::drained::Drained;
use crate::speed::round_trip::{self, compare};
use crate::speed::worker::{self, PATIENCE, Setting, with_slots};

/// How long bytes take in each direction.
const ONE_WAY: Duration = Duration::from_micros(500);

/// How many messages are drained and round trips measured.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Apium's drain.
    pub apium: u64,
    /// Celery's drain.
    pub celery: u64,
    /// Round trips of each.
    pub round_trips: u64,
}

/// Measures drains, without and with results, and round trips.
pub async fn measure(counts: Counts) -> Result<(), BoxError> {
    let server = Server::start().await?;
    let proxy = Proxy::to(server.port());
    proxy.delay(ONE_WAY);
    report::figure("far_ping", ping(&through(&proxy, &server.fresh())).await?, "ms");
    for (name, results) in [("far", false), ("far_results", true)] {
        let stock = Stock::fill(&server, counts.apium, results).await?;
        let database = stock.copy(&server, counts.apium).await?;
        let many = apium(&format!("{name}_64"), &through(&proxy, &database), counts.apium, results, with_slots("64"))?;
        server.clear(&database).await?;
        let database = stock.copy(&server, counts.apium).await?;
        let auto = Setting { slots: "64", multiplier: "auto", ..Setting::DEFAULT };
        apium(&format!("{name}_64_auto"), &through(&proxy, &database), counts.apium, results, auto)?;
        server.clear(&database).await?;
        let database = stock.copy(&server, counts.celery).await?;
        let worker = CeleryWorker::start(PREFORK, &through(&proxy, &database), results, counts.celery)?;
        worker.tally().started(START).await?;
        let drained = worker.tally().watch(counts.celery, PATIENCE).await?;
        worker.stop()?;
        drained.report(&format!("{name}_celery_prefork"));
        report::figure(&format!("{name}_64_to_prefork"), many / drained.rate, "×");
        server.clear(&database).await?;
    }
    let (ours, theirs) = (through(&proxy, &server.fresh()), through(&proxy, &server.fresh()));
    let counts = round_trip::Counts { apium: counts.round_trips, celery: counts.round_trips };
    compare("far_round_trip", &ours, &theirs, counts).await
}

fn apium(name: &str, address: &str, count: u64, results: bool, setting: Setting<'_>) -> Result<f64, BoxError> {
    let mut worker = worker::start_draining(address, results, count, setting)?;
    let drained = Drained::parse(&worker.line()?)?;
    drained.report(name);
    match worker.stop()? {
        true => Ok(drained.rate),
        false => Err("the worker failed".into()),
    }
}

fn through(proxy: &Proxy, database: &Database) -> String {
    format!("redis://127.0.0.1:{}/{}", proxy.port(), database.number)
}

/// The median round trip of a command, in milliseconds.
async fn ping(address: &str) -> Result<f64, BoxError> {
    let mut connection = connect(address).await?;
    let mut times = Vec::new();
    for _ in 0..101 {
        let started = Instant::now();
        redis::cmd("PING").query_async::<()>(&mut connection).await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times))
}
