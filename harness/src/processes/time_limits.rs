//! `time-limits`: tasks that never end are ended at their limits, whatever they do, and the others run meanwhile.

use std::time::Duration;

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::now;
use crate::faults::kit::tasks::{Setup, record_then_sleep};
use crate::processes::size::Size;
use crate::processes::worker::{Bodies, EitherWorker};
use crate::scratch::ScratchFolder;

/// The limit of each task that never ends.
const LIMIT: Duration = Duration::from_secs(1);
/// Other tasks for each that never ends.
const OTHERS: u64 = 20;
/// How long one task may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Computes for ever.
#[task(name = "faults.spin", acks_late)]
pub fn spin() -> TaskResult<u64> {
    loop {
        std::hint::spin_loop();
    }
}

/// Waits for ever.
#[task(name = "faults.wait", acks_late)]
pub async fn wait() -> TaskResult<u64> {
    std::future::pending().await
}

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let rust = limited(Some(Bodies::Rust), size).await?;
    let apium = rust.and(limited(Some(Bodies::Python), size).await?);
    let celery = if size.celery { Some(limited(None, size).await?) } else { None };
    Ok(Row { guarantee: "time-limits", what: "time limits end what never ends", apium, celery })
}

/// Each task that never ends runs alone with others beside it, so that it begins at once.
async fn limited(bodies: Option<Bodies>, size: &Size) -> Result<Outcome, BoxError> {
    let each = size.killers;
    let (server, scratch) = (RedisServer::start(), ScratchFolder::new()?);
    let url = server.url(0);
    let app = Setup::new(url.clone()).app().await?;
    let worker = EitherWorker::start(bodies, &url, (scratch.folder(), &scratch.folder().join("runs")), 0).await?;
    let (mut hard, mut soft, mut ran, mut slowest) = (0, 0, 0, Duration::ZERO);
    for _ in 0..each {
        let spins = spin::delay().time_limit(LIMIT).send(&app).await?;
        let waits = wait::delay().soft_time_limit(LIMIT).send(&app).await?;
        let called = now();
        let others = (0..OTHERS).map(|number| record_then_sleep::s(number, 20));
        let others = Batch::of(others).send_all(&app).await?;
        hard += u64::from(exception_of(&spins).await? == "TimeLimitExceeded");
        soft += u64::from(exception_of(&waits).await? == "SoftTimeLimitExceeded");
        slowest = slowest.max(Duration::from_micros(u64::try_from(now() - called).unwrap_or_default()));
        for other in others {
            ran += u64::from(other.get().timeout(PATIENCE).outcome().await?.failure().is_none());
        }
    }
    app.close().await?;
    worker.stop()?;
    let name = bodies.map_or("prefork", Bodies::name);
    let text = format!(
        "{name}: of {each} tasks that compute for ever {hard} were killed at their hard limit of {} s, of {each} that wait \
         for ever {soft} ended by their soft limit, after {:.2} s at most; {ran} of {} others ran",
        LIMIT.as_secs(),
        slowest.as_secs_f64(),
        each * OTHERS
    );
    let kept = (hard, soft, ran) == (each, each, each * OTHERS) && slowest < LIMIT + size.late;
    Ok(Outcome::new(kept, text))
}

/// The exception with which a task ends.
async fn exception_of(result: &AsyncResult<u64>) -> Result<String, BoxError> {
    let outcome = result.get().timeout(PATIENCE).outcome().await?;
    Ok(outcome.failure().map(|failure| failure.exception().exc_type.clone()).unwrap_or_default())
}
