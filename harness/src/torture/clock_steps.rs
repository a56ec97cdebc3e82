//! The clocks of all workers are set an hour forward, back and to the present again and again while tasks run, some of
//! them longer than a lease. No task runs twice, times out or stands still.

use std::time::Duration;

use apium::prelude::*;

use crate::faults::kit::row::{Outcome, Row};
use crate::scratch::ScratchFolder;
use crate::torture::store::{LEASE, Site, leftover, wait_until};
use crate::torture::tasks::{all_succeeded, log, repeated, send, start_workers, stop_workers};

const WORKERS: usize = 3;

/// Tasks of one round: short ones, and one that takes longer than a lease.
const SHORT: u64 = 20;

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs so many rounds of tasks on SQLite.
pub async fn check(rounds: u64) -> Result<Row, BoxError> {
    let scratch = ScratchFolder::new()?;
    let apium = with_steps(&Site::sqlite(scratch.folder()), rounds).await?;
    Ok(Row { guarantee: "clock-jumps", what: "clocks may be set", apium, celery: None })
}

/// Runs so many rounds of tasks.
pub async fn with_steps(site: &Site, rounds: u64) -> Result<Outcome, BoxError> {
    let app = site.app().build().await?;
    let workers = start_workers(site, WORKERS, true)?;
    let (mut sent, mut stood_still) = (0, 0);
    for _ in 0..rounds {
        let numbers = sent..sent + SHORT + 1;
        sent = numbers.end;
        send(&app, numbers.start..numbers.end - 1, 30, 10).await?;
        let long = u64::try_from((LEASE * 2).as_millis()).unwrap_or(u64::MAX);
        send(&app, numbers.end - 1..numbers.end, long, 10).await?;
        let succeeded = async || all_succeeded(&app, numbers.clone()).await;
        stood_still += u64::from(!wait_until(PATIENCE, succeeded).await?);
    }
    stop_workers(workers)?;
    let (repeated, leftover) = (repeated(&log(site)?)?.len(), leftover(&app).await?);
    app.close().await?;
    let kept = stood_still == 0 && repeated == 0 && leftover == 0;
    let text = format!(
        "{WORKERS} workers whose clocks are set by an hour about ten times a second, lease {} s: {sent} tasks, {repeated} \
         ran twice, {stood_still} of {rounds} rounds did not end, {leftover} left over",
        LEASE.as_secs()
    );
    Ok(Outcome::new(kept, text))
}
