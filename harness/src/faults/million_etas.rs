//! `million-etas`: delayed messages cost a worker no memory, run on time, delay no other task and survive every worker.

use std::time::Duration;

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::celery;
use crate::faults::kit::crew::Crew;
use crate::faults::kit::look::Look;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::{LoggedRun, RunLog, now};
use crate::faults::kit::size::Size;
use crate::faults::kit::tasks::{Setup, sleep_then_record};
use crate::process::memory;
use crate::scratch::ScratchFolder;

/// How many megabytes a worker's memory may grow.
const GROWTH: f64 = 50.0;

/// Messages that become due in a second.
const RATE: u64 = 1_000;

/// How late the slowest one in a hundred may start, in microseconds.
const LATE: i64 = 1_000_000;

/// How long before the first of these messages is due they are published.
const LEAD: Duration = Duration::from_secs(5);

/// How many etas Celery's worker gets.
const CELERY: u64 = 5_000;

/// How many messages are published at a time.
const PART: u64 = 2_000;

const HOUR: Duration = Duration::from_secs(3600);

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    let setup = Setup::new(server.url(0));
    let crew = Crew::new(setup.clone(), log.path());
    let worker = crew.start()?;
    let app = setup.app().await?;
    let mut look = Look::at(&setup.url)?;
    sleep_then_record::delay(1, 0).send(&app).await?;
    log.wait(Duration::from_secs(20), |runs| !runs.is_empty()).await?;

    let before = worker.memory()?;
    publish(&app, size.etas).await?;
    let delayed = wait_until_delayed(&mut look, size.etas).await?;
    let grown = worker.memory()? - before;
    let in_flight: u64 = look.ask(&["HLEN", "unacked"])?;
    let text = format!("{delayed} delayed: a worker grew by {grown:.0} MB and holds {in_flight} of them");
    let mut apium = Outcome::new(delayed == size.etas && grown < GROWTH && in_flight == 0, text);

    apium = apium.and(on_time(&app, &log, &mut look, size).await?);
    apium = apium.and(survives(&app, &crew, &log, worker).await?);
    app.close().await?;
    let celery = if size.celery { Some(celery_holds().await?) } else { None };
    Ok(Row { guarantee: "million-etas", what: "one million etas", apium, celery })
}

/// Publishes messages that are due in an hour, as Celery publishes them.
async fn publish(app: &App, count: u64) -> Result<(), BoxError> {
    for part in 0..count.div_ceil(PART) {
        let numbers = part * PART..((part + 1) * PART).min(count);
        let calls = numbers.map(|number| sleep_then_record::s(1_000_000 + number * 10, 0).countdown(HOUR));
        Batch::of(calls).send_all(app).await?;
    }
    Ok(())
}

/// Waits until `count` messages are delayed; how many are.
async fn wait_until_delayed(look: &mut Look, count: u64) -> Result<u64, BoxError> {
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

/// A thousand messages become due in each second. They start on time, and tasks without an eta do not wait for them.
async fn on_time(app: &App, log: &RunLog, look: &mut Look, size: &Size) -> Result<Outcome, BoxError> {
    const FIRST: u64 = 100_000_000;
    let count = RATE * size.due_seconds;
    // Numbers that end with 3 would be retried.
    let number = |index: u64| FIRST + index * 10;
    let base = now() + i64::try_from(LEAD.as_micros())?;
    let due = |index: u64| base + i64::try_from(index * 1_000_000 / RATE).unwrap_or(0);
    for part in 0..count.div_ceil(PART) {
        let indices = part * PART..((part + 1) * PART).min(count);
        let calls = indices.map(|index| {
            let wait = u64::try_from(due(index) - now()).unwrap_or(0);
            sleep_then_record::s(number(index), 0).countdown(Duration::from_micros(wait))
        });
        Batch::of(calls).send_all(app).await?;
    }
    // Until a worker has received them, they lie in the queue like any message, and what is behind them waits.
    while look.ask::<u64>(&["LLEN", "celery"])? > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let received = now();
    tokio::time::sleep(Duration::from_micros(u64::try_from(base - received).unwrap_or(0))).await;
    let plain: Vec<u64> = (0..size.due_seconds).map(|second| 1_000 + second * 10).collect();
    let mut called = Vec::new();
    for &number in &plain {
        called.push(now());
        sleep_then_record::delay(number, 0).send(app).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let is_due = |ran: &LoggedRun| ran.number >= FIRST;
    let all = |runs: &[LoggedRun]| runs.iter().filter(|ran| is_due(ran)).count() as u64 >= count;
    log.wait(LEAD + Duration::from_secs(15), all).await?;
    let mut lateness: Vec<i64> = Vec::new();
    let (mut early, mut without_eta) = (0, Vec::new());
    for ran in log.read()? {
        if is_due(&ran) {
            let by = ran.at - due((ran.number - FIRST) / 10);
            early += usize::from(by < -20_000);
            lateness.push(by);
        } else if let Some(at) = plain.iter().position(|number| *number == ran.number) {
            without_eta.push(ran.at - called[at]);
        }
    }
    lateness.sort_unstable();
    let p99 = lateness.get(lateness.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(i64::MAX);
    let slowest = without_eta.iter().max().copied().unwrap_or(i64::MAX);
    let text = format!(
        "{} of {count}, all received {:.1} s before the first was due, ran at {RATE}/s, p99 {:.0} ms late, {early} early; \
         {} of {} tasks without an eta meanwhile started, after {:.0} ms at most",
        lateness.len(),
        (base - received) as f64 / 1e6,
        p99 as f64 / 1e3,
        without_eta.len(),
        plain.len(),
        slowest as f64 / 1e3
    );
    let all_ran = lateness.len() as u64 == count && without_eta.len() == plain.len();
    Ok(Outcome::new(all_ran && early == 0 && p99 < LATE && slowest < LATE, text))
}

/// A message that is delayed when every worker dies runs on a later worker.
async fn survives(app: &App, crew: &Crew, log: &RunLog, mut worker: crate::child::Role) -> Result<Outcome, BoxError> {
    const NUMBER: u64 = 20;
    sleep_then_record::delay(NUMBER, 0).countdown(Duration::from_secs(2)).send(app).await?;
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
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    let setup = Setup::new(server.url(0));
    let worker = celery::worker(&setup.url, log.path(), "{}").args(["-P", "solo", "-n", "one@here"]).start();
    let app = setup.app().await?;
    sleep_then_record::delay(1, 0).send(&app).await?;
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
    let in_flight: u64 = look.ask(&["HLEN", "unacked"])?;
    app.close().await?;
    let each = grown * 1e3 / CELERY as f64;
    let text = format!("{CELERY} etas: a worker grew by {each:.1} KB for each and holds {in_flight} of them");
    Ok(Outcome::new(each * 1e3 < GROWTH && in_flight == 0, text))
}
