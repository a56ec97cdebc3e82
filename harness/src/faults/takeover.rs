//! `takeover`: how soon the task of a killed worker starts on another one.

use std::time::Duration;

use apium::prelude::*;
use apium_peers::redis;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::celery;
use crate::faults::kit::crew::Crew;
use crate::faults::kit::look::Look;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::{RunLog, now};
use crate::faults::kit::size::Size;
use crate::faults::kit::tasks::{Setup, record_then_sleep};
use crate::scratch::ScratchFolder;

/// Entries of other workers that are in flight meanwhile.
const OTHERS: usize = 10_000;

/// How long after the end of its lease the tasks of a dead worker may still wait.
const MARGIN: Duration = Duration::from_secs(5);

const NUMBER: u64 = 1;

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let mut apium: Option<Outcome> = None;
    for lease in size.leases {
        let one = takes_over(*lease).await?;
        apium = Some(match apium {
            Some(before) => before.and(one),
            None => one,
        });
    }
    let celery = if size.celery { Some(celery_takes_over().await?) } else { None };
    let apium = apium.ok_or("measure a takeover: no lease was given")?;
    Ok(Row {
        guarantee: "takeover",
        what: "the tasks of a killed worker start elsewhere within its lease and 5 s",
        apium,
        celery,
    })
}

async fn takes_over(lease: Duration) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    let mut setup = Setup::new(server.url(0));
    setup.lease = lease;
    others(&setup.url)?;
    let crew = Crew::new(setup.clone(), log.path());
    let mut first = crew.start()?;
    let app = setup.app().await?;
    record_then_sleep::delay(NUMBER, 60_000).send(&app).await?;
    if !log.wait(Duration::from_secs(20), |runs| runs.len() == 1).await? {
        return Ok(Outcome::new(false, "the task did not start at all"));
    }
    let _second = crew.start()?;
    // The claim is then older than the last heartbeat, as with a long task.
    tokio::time::sleep(lease.min(Duration::from_secs(2))).await;
    first.kill()?;
    let killed = now();
    let ran_again = log.wait(lease + MARGIN * 2, |runs| runs.len() == 2).await?;
    app.close().await?;
    let took = log.read()?.get(1).map(|ran| Duration::from_micros(u64::try_from(ran.at - killed).unwrap_or(0)));
    let text = match took {
        Some(took) => format!(
            "lease {} s, {OTHERS} others in flight: started elsewhere after {:.1} s",
            lease.as_secs(),
            took.as_secs_f64()
        ),
        None => format!("lease {} s: not started elsewhere", lease.as_secs()),
    };
    Ok(Outcome::new(ran_again && took.is_some_and(|took| took <= lease + MARGIN), text))
}

/// Adds entries of a Celery worker that is alive.
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

/// Celery with its own sweeping and a short visibility timeout; by default it is an hour.
async fn celery_takes_over() -> Result<Outcome, BoxError> {
    const PATIENCE: Duration = Duration::from_secs(130);
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    let setup = Setup::new(server.url(0));
    let worker = |name: &str| {
        celery::worker(&setup.url, log.path(), r#"{"visibility_timeout": 1}"#).args(["-c", "1", "-n", name]).start()
    };
    let mut first = worker("one@here");
    let app = setup.app().await?;
    record_then_sleep::delay(NUMBER, 600_000).send(&app).await?;
    log.wait(Duration::from_secs(20), |runs| runs.len() == 1).await?;
    let _second = worker("two@here");
    first.kill();
    let killed = now();
    log.wait(PATIENCE, |runs| runs.len() >= 2).await?;
    app.close().await?;
    let took = log.read()?.get(1).map(|ran| Duration::from_micros(u64::try_from(ran.at - killed).unwrap_or(0)));
    let text = match took {
        Some(took) => {
            format!("{:.0} s with a visibility timeout of 1 s; by default it is an hour more", took.as_secs_f64())
        }
        None => {
            format!("not within {} s with a visibility timeout of 1 s; by default it is an hour", PATIENCE.as_secs())
        }
    };
    Ok(Outcome::new(took.is_some_and(|took| took <= Duration::from_secs(35)), text))
}
