//! `clock-jumps`: the wall clocks of workers are set by an hour, and workers or the server are stopped for longer than
//! a lease, while tasks with leases and time limits run. No task runs twice but those of a worker that was stopped
//! alone. The rounds are those of the embedded driver, in `torture`.

use std::time::Duration;

use apium::prelude::*;
use apium_peers::celery::CeleryWorker;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::celery;
use crate::faults::kit::look::Look;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::size::Size;
use crate::process;
use crate::scratch::ScratchFolder;
use crate::torture::clock_steps::with_steps;
use crate::torture::store::{LEASE, Site, wait_until};
use crate::torture::suspended::{MILLIS, PATIENCE, ROUND, Stopped, WORKERS, with_stopped};
use crate::torture::tasks::{SLOTS, all_succeeded, log, repeated, send};

/// How often Celery's workers are stopped.
const CELERY_ROUNDS: u64 = 3;

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let mut apium = on_server(async |_, site| with_steps(site, size.stops).await).await?;
    apium = apium.and(on_server(async |_, site| with_stopped(site, Stopped::AllWorkers, size.stops).await).await?);
    apium = apium.and(on_server(async |_, site| with_stopped(site, Stopped::OneWorker, size.stops).await).await?);
    let of_server =
        async |server: &RedisServer, site: &Site| with_stopped(site, Stopped::Server(server), size.stops).await;
    apium = apium.and(on_server(of_server).await?);
    let celery = if size.celery { Some(celery_stopped(WORKERS).await?.and(celery_stopped(1).await?)) } else { None };
    Ok(Row { guarantee: "clock-jumps", what: "clocks may be set and processes stopped", apium, celery })
}

/// A part of the test, on a server of its own. What is left over is counted by the keys, too.
async fn on_server(
    part: impl AsyncFnOnce(&RedisServer, &Site) -> Result<Outcome, BoxError>,
) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let mut outcome = part(&server, &Site::new(scratch.folder(), server.url(0))).await?;
    let leftover = Look::at(&server.url(0))?.leftover()?;
    if leftover.total() > 0 {
        outcome.kept = false;
        outcome.text += &format!(" ({leftover:?})");
    }
    Ok(outcome)
}

/// Stops so many of Celery's workers at a time. Their visibility timeout is as long as a lease, and they look for
/// abandoned messages each second.
async fn celery_stopped(count: usize) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let site = Site::new(scratch.folder(), server.url(0));
    let (app, log) = (site.app().build().await?, log(&site)?);
    let options = celery::sweep_each_second(LEASE);
    let slots = SLOTS.to_string();
    let start = |n: usize| {
        let name = format!("w{n}@here");
        celery::worker(&site.address, log.path(), &options).args(["-P", "threads", "-c", &slots, "-n", &name]).start()
    };
    let workers: Vec<CeleryWorker> = (0..WORKERS).map(start).collect();
    let mut lost = 0;
    for round in 0..CELERY_ROUNDS {
        let numbers = round * ROUND..(round + 1) * ROUND;
        send(&app, numbers.clone(), MILLIS, 10).await?;
        let ran = log.read()?.len();
        log.wait(PATIENCE, |runs| runs.len() > ran).await?;
        let first = usize::try_from(round).unwrap_or(0);
        let victims: Vec<u32> = workers.iter().cycle().skip(first).take(count).map(CeleryWorker::pid).collect();
        victims.iter().try_for_each(|pid| process::signal(*pid, "STOP"))?;
        tokio::time::sleep(LEASE * 3).await;
        victims.iter().try_for_each(|pid| process::signal(*pid, "CONT"))?;
        let succeeded = async || all_succeeded(&app, numbers.clone()).await;
        lost += u64::from(!wait_until(PATIENCE, succeeded).await?);
    }
    // A second delivery would come within a second after the visibility timeout.
    tokio::time::sleep(LEASE * 3 + Duration::from_secs(1)).await;
    app.close().await?;
    let twice = repeated(&log)?.len();
    drop(workers);
    let leftover = Look::at(&site.address)?.leftover()?.total();
    // A worker that is stopped alone is taken for dead, and should be.
    let kept = lost == 0 && leftover == 0 && (twice == 0 || count < WORKERS);
    let text = format!(
        "visibility timeout {} s, {count} of {WORKERS} workers stopped for 3 of them, {CELERY_ROUNDS} times, {} tasks: \
         {lost} rounds did not end, {twice} ran twice, {leftover} left over",
        LEASE.as_secs(),
        CELERY_ROUNDS * ROUND
    );
    Ok(Outcome::new(kept, text))
}
