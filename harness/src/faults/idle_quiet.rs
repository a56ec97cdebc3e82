//! `idle-quiet`: an idle worker sends few commands, and starts as fast beside other workers as alone.

use std::collections::BTreeMap;
use std::time::Duration;

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::celery;
use crate::faults::kit::crew::Crew;
use crate::faults::kit::look::Look;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::{RunLog, now};
use crate::faults::kit::size::Size;
use crate::faults::kit::tasks::{Setup, sleep_then_record};
use crate::scratch::ScratchFolder;

/// How many commands a second an idle worker may send beyond its waits.
const QUIET: f64 = 0.2;

/// How many more it may send with `-E`: a heartbeat for monitors each 2 s, as Celery's workers always send.
const OF_EVENTS: f64 = 0.5;

/// How much longer a start beside other workers may take than one alone.
const FLAT: Duration = Duration::from_millis(200);

/// The waits themselves, and the command of this program.
const NOT_COUNTED: &[&str] = &["blmove", "brpop", "info"];

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let idles = idle(size.long_idle, false).await?.and(idle(size.long_idle, true).await?);
    let apium = idles.and(starts(size.neighbours).await?);
    let celery = if size.celery { Some(celery_idles().await?) } else { None };
    Ok(Row { guarantee: "idle-quiet", what: "an idle worker sends few commands", apium, celery })
}

/// Measures for a minute, or for a sixth of it with all times but those of heartbeats for monitors scaled to a sixth.
/// Remote control and heartbeats are as they are by default; events of tasks are on or off.
async fn idle(long: bool, events: bool) -> Result<Outcome, BoxError> {
    let (seconds, scale) = if long { (60, 1) } else { (10, 6) };
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    let mut setup = Setup::new(server.url(0));
    setup.lease = Duration::from_secs(30) / scale;
    setup.events = events;
    if !long {
        // This scales the sweep, which comes once a minute by default.
        setup.options = format!("visibility_timeout={}", 4 * 60 / scale);
    }
    let crew = Crew::new(setup.clone(), log.path());
    let _worker = crew.start()?;
    let Counted { published, others, what } = count(&setup, &log, seconds).await?;
    let rate = published + others / f64::from(scale);
    let (how, most) = if events { (" and `-E`", QUIET + OF_EVENTS) } else { ("", QUIET) };
    let text = format!("lease 30 s{how}: {rate:.2} commands/s beyond its waits ({what})");
    Ok(Outcome::new(rate < most, text))
}

/// What an idle worker sent.
struct Counted {
    /// Messages that it published in a second: to monitors.
    published: f64,
    /// Other commands in a second.
    others: f64,
    what: String,
}

/// Commands a second of one idle worker, and which commands.
async fn count(setup: &Setup, log: &RunLog, seconds: u64) -> Result<Counted, BoxError> {
    let app = setup.app().await?;
    sleep_then_record::delay(1, 0).send(&app).await?;
    log.wait(Duration::from_secs(20), |runs| !runs.is_empty()).await?;
    app.close().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut look = Look::at(&setup.url)?;
    let before = look.commands()?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let grown: BTreeMap<String, u64> = look
        .commands()?
        .into_iter()
        .filter(|(name, _)| !NOT_COUNTED.contains(&&**name))
        .map(|(name, calls)| (name.clone(), calls - before.get(&name).copied().unwrap_or(0)))
        .filter(|(_, calls)| *calls > 0)
        .collect();
    let what: Vec<String> = grown.iter().map(|(name, calls)| format!("{name} {calls}")).collect();
    let what = format!("{} in {seconds} s", what.join(", "));
    let published = grown.get("publish").copied().unwrap_or(0);
    let others = grown.values().sum::<u64>() - published;
    let each = |count: u64| count as f64 / seconds as f64;
    Ok(Counted { published: each(published), others: each(others), what })
}

/// The time from the start of a process to its first task, alone and beside other workers.
async fn starts(neighbours: usize) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    let setup = Setup::new(server.url(0));
    let app = setup.app().await?;
    let mut crew = Crew::new(setup.clone(), log.path());
    let alone = fastest(&app, &crew, &log, 10).await?;
    // The other workers consume another queue, so that the new one runs the task.
    crew.setup.options = "global_keyprefix=other".to_owned();
    let others = std::iter::repeat_with(|| crew.start()).take(neighbours).collect::<Result<Vec<_>, _>>()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    crew.setup.options.clear();
    let beside = fastest(&app, &crew, &log, 100).await?;
    drop(others);
    app.close().await?;
    let text = format!(
        "first task {:.0} ms after the start, {:.0} ms beside {neighbours} others",
        alone.as_secs_f64() * 1e3,
        beside.as_secs_f64() * 1e3
    );
    Ok(Outcome::new(beside < alone + FLAT, text))
}

async fn fastest(app: &App, crew: &Crew, log: &RunLog, first: u64) -> Result<Duration, BoxError> {
    let mut best = Duration::MAX;
    for number in [first, first + 10, first + 20] {
        sleep_then_record::delay(number, 0).send(app).await?;
        let began = now();
        let worker = crew.start()?;
        log.wait(Duration::from_secs(20), |runs| runs.iter().any(|ran| ran.number == number)).await?;
        worker.stop()?;
        let ran = log.runs_of(number)?.first().map_or(i64::MAX, |ran| ran.at - began);
        best = best.min(Duration::from_micros(u64::try_from(ran)?));
    }
    Ok(best)
}

async fn celery_idles() -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    let setup = Setup::new(server.url(0));
    let worker =
        |name: &str| celery::worker(&setup.url, log.path(), "{}").mingles().args(["-P", "solo", "-n", name]).start();
    let _one = worker("one@here");
    let Counted { published, others, what } = count(&setup, &log, 60).await?;
    let rate = published + others;
    // With a second worker, Celery's workers gossip.
    let began = now();
    let _two = worker("two@here");
    let started = Duration::from_micros(u64::try_from(now() - began)?);
    let text = format!(
        "{rate:.2} commands/s beyond its waits ({what}); ready {:.1} s after the start beside one other",
        started.as_secs_f64()
    );
    Ok(Outcome::new(rate < QUIET, text))
}
