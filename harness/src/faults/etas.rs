//! P7: parked etas cost a worker nothing, come on time, keep nothing else back and survive every worker.

use std::time::Duration;

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::faults::celery;
use crate::faults::crew::Crew;
use crate::faults::look::Look;
use crate::faults::row::{Outcome, Row};
use crate::faults::run_log::{RunLog, now};
use crate::faults::size::Size;
use crate::faults::tasks::{Setup, mark};
use crate::place::Place;
use crate::process::memory;

/// A worker's memory may grow by so many megabytes.
const GROWTH: f64 = 50.0;

/// Messages that come due in a second.
const RATE: u64 = 1_000;

/// How late the slowest hundredth may be, in microseconds.
const LATE: i64 = 1_000_000;

/// Etas that Celery's worker is given.
const CELERY: u64 = 5_000;

/// Published at a time.
const PART: u64 = 2_000;

const HOUR: Duration = Duration::from_secs(3600);

/// The check.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let server = RedisServer::start();
    let place = Place::new()?;
    let log = RunLog::open(&place.folder().join("runs"))?;
    let setup = Setup::new(server.url(0));
    let crew = Crew::new(setup.clone(), log.path());
    let worker = crew.start()?;
    let app = setup.app().await?;
    let mut look = Look::at(&setup.url)?;
    mark::delay(1, 0).send(&app).await?;
    log.wait(Duration::from_secs(20), |runs| !runs.is_empty()).await?;

    let before = worker.memory()?;
    publish(&app, size.parked).await?;
    let parked = parked(&mut look, size.parked).await?;
    let grown = worker.memory()? - before;
    let held: u64 = look.ask(&["HLEN", "unacked"])?;
    let text = format!("{parked} parked: a worker grew by {grown:.0} MB and holds {held} of them");
    let mut apium = Outcome::new(parked == size.parked && grown < GROWTH && held == 0, text);

    apium = apium.and(on_time(&app, &log, size.due_seconds).await?);
    apium = apium.and(survives(&app, &crew, &log, worker).await?);
    app.close().await?;
    let celery = if size.celery { Some(celery_holds().await?) } else { None };
    Ok(Row { promise: "P7", what: "one million etas", apium, celery })
}

/// Publishes messages that are due in an hour, as Celery publishes them.
async fn publish(app: &App, count: u64) -> Result<(), BoxError> {
    for part in 0..count.div_ceil(PART) {
        let numbers = part * PART..((part + 1) * PART).min(count);
        let calls = numbers.map(|number| mark::s(1_000_000 + number * 10, 0).countdown(HOUR));
        Batch::of(calls).send_all(app).await?;
    }
    Ok(())
}

/// Waits until so many are parked; how many are.
async fn parked(look: &mut Look, count: u64) -> Result<u64, BoxError> {
    let (mut before, mut idle) = (0, 0);
    loop {
        let now: u64 = look.ask(&["ZCARD", "_apium.eta.celery"])?;
        if now == count || idle > 100 {
            return Ok(now);
        }
        idle = if now == before { idle + 1 } else { 0 };
        before = now;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A thousand come due in each second; and a task without an eta does not wait for any of them.
async fn on_time(app: &App, log: &RunLog, seconds: u64) -> Result<Outcome, BoxError> {
    const FIRST: u64 = 100_000_000;
    let count = RATE * seconds;
    // Numbers that end with 3 are retried.
    let number = |place: u64| FIRST + place * 10;
    let base = now() + 3_000_000;
    let due = |place: u64| base + i64::try_from(place * 1_000_000 / RATE).unwrap_or(0);
    for part in 0..count.div_ceil(PART) {
        let places = part * PART..((part + 1) * PART).min(count);
        let calls = places.map(|place| {
            let left = u64::try_from(due(place) - now()).unwrap_or(0);
            mark::s(number(place), 0).countdown(Duration::from_micros(left))
        });
        Batch::of(calls).send_all(app).await?;
    }
    let plain = now();
    mark::delay(10, 0).send(app).await?;
    let all = |runs: &[crate::faults::run_log::Ran]| {
        runs.iter().filter(|ran| ran.number >= FIRST).count() as u64 >= count && runs.iter().any(|ran| ran.number == 10)
    };
    log.wait(Duration::from_secs(seconds + 15), all).await?;
    let mut late: Vec<i64> = Vec::new();
    let (mut early, mut at_once) = (0, None);
    for ran in log.read()? {
        if ran.number >= FIRST {
            let by = ran.at - due((ran.number - FIRST) / 10);
            early += usize::from(by < -20_000);
            late.push(by);
        } else if ran.number == 10 {
            at_once = Some(ran.at - plain);
        }
    }
    late.sort_unstable();
    let p99 = late.get(late.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(i64::MAX);
    let between = at_once.unwrap_or(i64::MAX);
    let text = format!(
        "{} of {count} ran at {RATE}/s, p99 {:.0} ms late, {early} early; a task without an eta took {:.0} ms",
        late.len(),
        p99 as f64 / 1e3,
        between as f64 / 1e3
    );
    Ok(Outcome::new(late.len() as u64 == count && early == 0 && p99 < LATE && between < LATE, text))
}

/// What is parked when every worker dies runs on a later one.
async fn survives(app: &App, crew: &Crew, log: &RunLog, mut worker: crate::child::Role) -> Result<Outcome, BoxError> {
    const NUMBER: u64 = 20;
    mark::delay(NUMBER, 0).countdown(Duration::from_secs(2)).send(app).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    worker.kill()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let next = crew.start()?;
    let ran = log.wait(Duration::from_secs(10), |runs| runs.iter().any(|ran| ran.number == NUMBER)).await?;
    drop(next);
    Ok(Outcome::new(ran, if ran { "survives the death of every worker" } else { "lost with its workers" }))
}

async fn celery_holds() -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let place = Place::new()?;
    let log = RunLog::open(&place.folder().join("runs"))?;
    let setup = Setup::new(server.url(0));
    let worker = celery::worker(&setup.url, log.path(), "{}").args(["-P", "solo", "-n", "one@here"]).start();
    let app = setup.app().await?;
    mark::delay(1, 0).send(&app).await?;
    log.wait(Duration::from_secs(20), |runs| !runs.is_empty()).await?;
    let before = memory(worker.pid())?;
    publish(&app, CELERY).await?;
    let mut look = Look::at(&setup.url)?;
    for _ in 0..300 {
        if look.ask::<u64>(&["LLEN", "celery"])? == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grown = memory(worker.pid())? - before;
    let held: u64 = look.ask(&["HLEN", "unacked"])?;
    app.close().await?;
    let each = grown * 1e3 / CELERY as f64;
    let text = format!("{CELERY} etas: a worker grew by {each:.1} KB for each and holds {held} of them");
    Ok(Outcome::new(each * 1e3 < GROWTH && held == 0, text))
}
