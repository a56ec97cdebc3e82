//! P3: how soon the task of a killed worker begins elsewhere.

use std::time::Duration;

use apium::prelude::*;
use apium_peers::redis;
use apium_peers::redis_server::RedisServer;

use crate::faults::celery;
use crate::faults::crew::Crew;
use crate::faults::look::Look;
use crate::faults::row::{Outcome, Row};
use crate::faults::run_log::{RunLog, now};
use crate::faults::size::Size;
use crate::faults::tasks::{Setup, begin};
use crate::place::Place;

/// Entries of others that are out meanwhile.
const OTHERS: usize = 10_000;

/// How much later than its lease a worker's death is noticed at the most.
const MARGIN: Duration = Duration::from_secs(5);

const NUMBER: u64 = 1;

/// The check.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let mut apium: Option<Outcome> = None;
    for lease in size.leases {
        let one = recovers(*lease).await?;
        apium = Some(match apium {
            Some(before) => before.and(one),
            None => one,
        });
    }
    let celery = if size.celery { Some(celery_recovers().await?) } else { None };
    let apium = apium.ok_or("measure a recovery: no lease was named")?;
    Ok(Row { promise: "P3", what: "recovery is quick", apium, celery })
}

async fn recovers(lease: Duration) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let place = Place::new()?;
    let log = RunLog::open(&place.folder().join("runs"))?;
    let mut setup = Setup::new(server.url(0));
    setup.lease = lease;
    others(&setup.url)?;
    let crew = Crew::new(setup.clone(), log.path());
    let mut first = crew.start()?;
    let app = setup.app().await?;
    begin::delay(NUMBER, 60_000).send(&app).await?;
    if !log.wait(Duration::from_secs(20), |runs| runs.len() == 1).await? {
        return Ok(Outcome::new(false, "the task did not begin at all"));
    }
    let _second = crew.start()?;
    // What is out is older than the last sign of life, as it is when work takes its time.
    tokio::time::sleep(lease.min(Duration::from_secs(2))).await;
    first.kill()?;
    let killed = now();
    let again = log.wait(lease + MARGIN * 2, |runs| runs.len() == 2).await?;
    app.close().await?;
    let took = log.read()?.get(1).map(|ran| Duration::from_micros(u64::try_from(ran.at - killed).unwrap_or(0)));
    let text = match took {
        Some(took) => format!(
            "lease {} s, {OTHERS} others out: begun elsewhere after {:.1} s",
            lease.as_secs(),
            took.as_secs_f64()
        ),
        None => format!("lease {} s: not begun elsewhere", lease.as_secs()),
    };
    Ok(Outcome::new(again && took.is_some_and(|took| took <= lease + MARGIN), text))
}

/// Entries of a worker of Python that lives.
fn others(url: &str) -> Result<(), BoxError> {
    let mut look = Look::at(url)?;
    let seconds = (now() / 1_000_000).to_string();
    for part in 0..OTHERS / 1000 {
        let mut pipe = redis::pipe();
        for number in part * 1000..(part + 1) * 1000 {
            let tag = format!("python-{number}");
            pipe.cmd("HSET").arg("unacked").arg(&tag).arg(r#"[{"body": ""}, "", "elsewhere"]"#).ignore();
            pipe.cmd("ZADD").arg("unacked_index").arg(&seconds).arg(&tag).ignore();
        }
        look.pipe(&pipe)?;
    }
    Ok(())
}

/// Celery with its own sweeping, and the shortest timeout that makes sense; by itself it is an hour.
async fn celery_recovers() -> Result<Outcome, BoxError> {
    const PATIENCE: Duration = Duration::from_secs(130);
    let server = RedisServer::start();
    let place = Place::new()?;
    let log = RunLog::open(&place.folder().join("runs"))?;
    let setup = Setup::new(server.url(0));
    let worker = |name: &str| {
        celery::worker(&setup.url, log.path(), r#"{"visibility_timeout": 1}"#).args(["-c", "1", "-n", name]).start()
    };
    let mut first = worker("one@here");
    let app = setup.app().await?;
    begin::delay(NUMBER, 600_000).send(&app).await?;
    log.wait(Duration::from_secs(20), |runs| runs.len() == 1).await?;
    let _second = worker("two@here");
    first.kill();
    let killed = now();
    log.wait(PATIENCE, |runs| runs.len() >= 2).await?;
    app.close().await?;
    let took = log.read()?.get(1).map(|ran| Duration::from_micros(u64::try_from(ran.at - killed).unwrap_or(0)));
    let text = match took {
        Some(took) => {
            format!("{:.0} s with a visibility timeout of 1 s; by itself it is an hour more", took.as_secs_f64())
        }
        None => {
            format!("not within {} s with a visibility timeout of 1 s; by itself it is an hour", PATIENCE.as_secs())
        }
    };
    Ok(Outcome::new(took.is_some_and(|took| took <= Duration::from_secs(35)), text))
}
