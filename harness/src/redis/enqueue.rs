//! How many calls are published in a second.

use std::time::{Duration, Instant};

use apium::prelude::*;
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;

use crate::redis::kit::server::{Server, connect};
use crate::redis::kit::stock::Stock;
use crate::report;
use crate::speed::celery;
use crate::speed::enqueue::{Counts, callers, celery_rate, rate};
use crate::speed::load::{self, BATCH, CALLERS, padding};

/// How often Apium and the bare loop take turns: the cost of a round trip changes from second to second.
const TURNS: u64 = 10;

/// Measures all ways to publish.
pub async fn measure(counts: Counts) -> Result<(), BoxError> {
    let server = Server::start().await?;
    // The bare loops send the same bytes as Apium.
    let envelopes = Stock::fill(&server, BATCH, false).await?.envelopes(BATCH).await?;
    let database = server.fresh();
    let (app, connection) = (load::app(&database.url, false).await?, connect(&database.url).await?);
    load::count::delay(0, padding()).send(&app).await?;

    let (mut ours, mut bare) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..TURNS {
        bare += on_the_runtime(bare_loop(connection.clone(), envelopes.clone(), counts.single / TURNS)).await?;
        ours += on_the_runtime(call_loop(app.clone(), counts.single / TURNS)).await?;
    }
    let printed = celery::call("enqueue", counts.celery, &server.fresh().url, false)?;
    let (ours, bare) = (rate(counts.single, ours), rate(counts.single, bare));
    let celery = celery_rate(counts.celery, &printed)?;
    report::figure("enqueue", ours, "/s");
    report::figure("enqueue_bare", bare, "/s");
    report::figure("enqueue_celery", celery, "/s");
    report::figure("enqueue_to_celery", ours / celery, "×");
    report::figure("enqueue_to_bare", ours / bare * 100.0, "%");

    let started = Instant::now();
    bare_callers(&connection, &envelopes, counts.many).await?;
    report::figure("enqueue_callers_bare", rate(counts.many, started.elapsed()), "/s");
    server.clear(&database).await?;
    let started = Instant::now();
    callers(&app, counts.many).await?;
    report::figure("enqueue_callers", rate(counts.many, started.elapsed()), "/s");
    server.clear(&database).await?;

    let started = Instant::now();
    load::fill(&app, counts.many).await?;
    report::figure("enqueue_batches", rate(counts.many, started.elapsed()), "/s");
    let leftover = server.clear(&database).await?;
    report::figure("unsent", counts.many.abs_diff(leftover.messages) as f64, "tasks");
    Ok(app.close().await?)
}

/// Runs one way alone, for a profiler: `single`, `callers` or `batches`, or `bare` for the bare loop.
pub async fn alone(way: &str, count: u64) -> Result<(), BoxError> {
    let server = Server::start().await?;
    let database = server.fresh();
    let app = load::app(&database.url, false).await?;
    let envelopes = Stock::fill(&server, BATCH, false).await?.envelopes(BATCH).await?;
    let connection = connect(&database.url).await?;
    let started = Instant::now();
    match way {
        "bare" => drop(on_the_runtime(bare_loop(connection, envelopes, count)).await?),
        "single" => drop(on_the_runtime(call_loop(app.clone(), count)).await?),
        "callers" => callers(&app, count).await?,
        _ => load::fill(&app, count).await?,
    }
    report::figure(&format!("alone_{way}"), rate(count, started.elapsed()), "/s");
    Ok(app.close().await?)
}

/// Runs a loop on a thread of the runtime, as a server runs its handlers, and not on the main thread.
async fn on_the_runtime(
    run: impl Future<Output = Result<Duration, BoxError>> + Send + 'static,
) -> Result<Duration, BoxError> {
    let mut tasks = JoinSet::new();
    tasks.spawn(run);
    tasks.join_next().await.ok_or("measure: nothing was run")??
}

async fn call_loop(app: App, count: u64) -> Result<Duration, BoxError> {
    let started = Instant::now();
    for number in 0..count {
        load::count::delay(number, padding()).send(&app).await?;
    }
    Ok(started.elapsed())
}

async fn bare_loop(
    mut connection: MultiplexedConnection,
    envelopes: Vec<Vec<u8>>,
    count: u64,
) -> Result<Duration, BoxError> {
    let started = Instant::now();
    for (_, envelope) in (0..count).zip(envelopes.iter().cycle()) {
        redis::cmd("LPUSH").arg("celery").arg(envelope).query_async::<()>(&mut connection).await?;
    }
    Ok(started.elapsed())
}

async fn bare_callers(connection: &MultiplexedConnection, envelopes: &[Vec<u8>], count: u64) -> Result<(), BoxError> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(bare_loop(connection.clone(), envelopes.to_vec(), count / CALLERS));
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(())
}
