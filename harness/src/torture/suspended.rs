//! Worker processes are stopped (SIGSTOP) for longer than their lease and than the time limits of their tasks. None
//! times out. When all workers are stopped, as on a machine that slept, no task runs twice. When one of them is, the
//! others take its tasks, and only these may run twice.

use std::collections::BTreeSet;
use std::time::Duration;

use apium::prelude::*;

use crate::child::Role;
use crate::faults::kit::row::{Outcome, Row};
use crate::scratch::ScratchFolder;
use crate::torture::store::{LEASE, app, leftover, wait_until};
use crate::torture::tasks::{all_succeeded, log, repeated, send, start_workers, stop_workers};

const WORKERS: usize = 3;

/// Tasks of one round.
const ROUND: u64 = 40;

/// How long a task takes: some run while their worker is stopped.
const MILLIS: u64 = 150;

const PATIENCE: Duration = Duration::from_secs(60);

/// Stops processes so many times.
pub async fn check(rounds: u64) -> Result<Row, BoxError> {
    let all = with_stopped(rounds, WORKERS).await?;
    Ok(Row {
        guarantee: "clock-jumps",
        what: "processes may be stopped",
        apium: all.and(with_stopped(rounds, 1).await?),
        celery: None,
    })
}

/// Stops `count` of the workers at a time.
async fn with_stopped(rounds: u64, count: usize) -> Result<Outcome, BoxError> {
    let scratch = ScratchFolder::new()?;
    let folder = scratch.folder();
    let app = app(folder).build().await?;
    let workers = start_workers(folder, WORKERS, false)?;
    let log = log(folder)?;
    let (mut stopped, mut lost) = (BTreeSet::new(), 0);
    for round in 0..rounds {
        let numbers = round * ROUND..(round + 1) * ROUND;
        send(&app, numbers.clone(), MILLIS, 10).await?;
        // Every worker has tasks in flight.
        let ran = log.read()?.len();
        log.wait(PATIENCE, |runs| runs.len() > ran).await?;
        let first = usize::try_from(round).unwrap_or(0) % WORKERS;
        let victims: Vec<&Role> = workers.iter().cycle().skip(first).take(count).collect();
        victims.iter().try_for_each(|worker| worker.signal("STOP"))?;
        tokio::time::sleep(LEASE * 3).await;
        victims.iter().try_for_each(|worker| worker.signal("CONT"))?;
        if count < WORKERS {
            stopped.extend(victims.iter().map(|worker| u64::from(worker.pid())));
        }
        let succeeded = async || all_succeeded(&app, numbers.clone()).await;
        lost += u64::from(!wait_until(PATIENCE, succeeded).await?);
    }
    stop_workers(workers)?;
    let (twice, leftover) = (repeated(&log)?, leftover(&app).await?);
    app.close().await?;
    let runs = log.by_number()?;
    let is_explained = |number: &&u64| runs[*number].iter().any(|run| stopped.contains(&run.pid));
    let unexplained = twice.iter().filter(|number| !is_explained(number)).count();
    let kept = lost == 0 && unexplained == 0 && leftover == 0;
    let text = format!(
        "{count} of {WORKERS} workers stopped for 3 leases, {rounds} times, {} tasks: {lost} rounds did not end, {} ran \
         twice, all but {unexplained} of a worker that was stopped alone, {leftover} left over",
        rounds * ROUND,
        twice.len()
    );
    Ok(Outcome::new(kept, text))
}
