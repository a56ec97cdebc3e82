//! Worker processes are stopped (SIGSTOP) for longer than their lease and than the time limits of their tasks. None
//! times out. When all workers are stopped, as on a machine that slept, no task runs twice. When one of them is, the
//! others take its tasks, and only these may run twice. When the server is, no task runs twice.

use std::collections::BTreeSet;
use std::time::Duration;

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::child::Role;
use crate::faults::kit::row::{Outcome, Row};
use crate::process;
use crate::scratch::ScratchFolder;
use crate::torture::store::{LEASE, Site, leftover, wait_until};
use crate::torture::tasks::{all_succeeded, log, repeated, send, start_workers, stop_workers};

/// How many workers run.
pub const WORKERS: usize = 3;

/// Tasks of one round.
pub const ROUND: u64 = 40;

/// How long a task takes: some run while their worker is stopped.
pub const MILLIS: u64 = 150;

/// How long a round may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What is stopped.
#[derive(Debug, Clone, Copy)]
pub enum Stopped<'a> {
    /// All workers.
    AllWorkers,
    /// One of them, each time another.
    OneWorker,
    /// The server.
    Server(&'a RedisServer),
}

/// Stops processes so many times, on SQLite.
pub async fn check(rounds: u64) -> Result<Row, BoxError> {
    let (all, one) = (ScratchFolder::new()?, ScratchFolder::new()?);
    let all = with_stopped(&Site::sqlite(all.folder()), Stopped::AllWorkers, rounds).await?;
    let one = with_stopped(&Site::sqlite(one.folder()), Stopped::OneWorker, rounds).await?;
    Ok(Row { guarantee: "clock-jumps", what: "processes may be stopped", apium: all.and(one), celery: None })
}

/// Stops processes so many times.
pub async fn with_stopped(site: &Site, what: Stopped<'_>, rounds: u64) -> Result<Outcome, BoxError> {
    let app = site.app().build().await?;
    let workers = start_workers(site, WORKERS, false)?;
    let log = log(site)?;
    let (mut alone, mut lost) = (BTreeSet::new(), 0);
    for round in 0..rounds {
        let numbers = round * ROUND..(round + 1) * ROUND;
        send(&app, numbers.clone(), MILLIS, 10).await?;
        // Every worker has tasks in flight.
        let ran = log.read()?.len();
        log.wait(PATIENCE, |runs| runs.len() > ran).await?;
        let next = &workers[usize::try_from(round).unwrap_or(0) % WORKERS];
        let victims: Vec<u32> = match what {
            Stopped::AllWorkers => workers.iter().map(Role::pid).collect(),
            Stopped::OneWorker => vec![next.pid()],
            Stopped::Server(server) => vec![server.pid()],
        };
        victims.iter().try_for_each(|pid| process::signal(*pid, "STOP"))?;
        tokio::time::sleep(LEASE * 3).await;
        victims.iter().try_for_each(|pid| process::signal(*pid, "CONT"))?;
        if matches!(what, Stopped::OneWorker) {
            alone.insert(u64::from(next.pid()));
        }
        let succeeded = async || all_succeeded(&app, numbers.clone()).await;
        lost += u64::from(!wait_until(PATIENCE, succeeded).await?);
    }
    stop_workers(workers)?;
    let (twice, leftover) = (repeated(&log)?, leftover(&app).await?);
    app.close().await?;
    let runs = log.by_number()?;
    let is_explained = |number: &&u64| runs[*number].iter().any(|run| alone.contains(&run.pid));
    let unexplained = twice.iter().filter(|number| !is_explained(number)).count();
    let kept = lost == 0 && unexplained == 0 && leftover == 0;
    let who = match what {
        Stopped::AllWorkers => format!("all {WORKERS} workers"),
        Stopped::OneWorker => format!("1 of {WORKERS} workers"),
        Stopped::Server(_) => "the server".to_owned(),
    };
    let mut text = format!(
        "{who} stopped for 3 leases, {rounds} times, {} tasks: {lost} rounds did not end, {} ran twice",
        rounds * ROUND,
        twice.len()
    );
    if !alone.is_empty() {
        text += &format!(", all but {unexplained} of the stopped worker");
    }
    text += &format!(", {leftover} left over");
    Ok(Outcome::new(kept, text))
}
