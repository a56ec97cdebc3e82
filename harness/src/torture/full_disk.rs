//! The disk is full while tasks end, and then there is room again. Everything ends with SUCCESS and ran once, and the
//! workers say that they are unhealthy meanwhile.

use std::time::Duration;

use apium::prelude::*;
use apium_sqlite::faults::DiskFaults;

use crate::faults::kit::row::{Outcome, Row};
use crate::scratch::ScratchFolder;
use crate::torture::store::{Site, file, is_intact, leftover, wait_until};
use crate::torture::tasks::{all_succeeded, log, ready_file, repeated, send, start_workers, stop_workers};

const WORKERS: usize = 2;

/// Tasks of one round.
const ROUND: u64 = 24;

/// The bytes of a result. The free pages of the database have no room for a round of them.
const BYTES: usize = 100_000;

const PATIENCE: Duration = Duration::from_secs(60);

/// Fills the disk so many times.
pub async fn check(rounds: u64) -> Result<Row, BoxError> {
    let scratch = ScratchFolder::new()?;
    let (site, database) = (Site::sqlite(scratch.folder()), file(scratch.folder()));
    let app = site.app().build().await?;
    let workers = start_workers(&site, WORKERS, false)?;
    let is_ready = |n: usize| ready_file(&site, &n.to_string()).exists();
    let all_ready = async || Ok((0..WORKERS).all(is_ready));
    let (mut told, mut healed, mut done) = (0, 0, 0);
    for round in 0..rounds {
        if !wait_until(PATIENCE, all_ready).await? {
            break;
        }
        let numbers = round * ROUND..(round + 1) * ROUND;
        send(&app, numbers.clone(), 50, BYTES).await?;
        DiskFaults { full: true, ..DiskFaults::default() }.set(&database)?;
        let unhealthy = async || Ok((0..WORKERS).any(|n| !is_ready(n)));
        told += u64::from(wait_until(PATIENCE, unhealthy).await?);
        DiskFaults::default().set(&database)?;
        let succeeded = async || all_succeeded(&app, numbers.clone()).await;
        done += u64::from(wait_until(PATIENCE, succeeded).await?);
        healed += u64::from(wait_until(PATIENCE, all_ready).await?);
    }
    stop_workers(workers)?;
    let (repeated, leftover) = (repeated(&log(&site)?)?.len(), leftover(&app).await?);
    let kept = [told, healed, done] == [rounds; 3] && repeated == 0 && leftover == 0 && is_intact(&database)?;
    app.close().await?;
    let text = format!(
        "{rounds} times full, {} tasks: all succeeded {done} times, {repeated} ran twice, {leftover} left over; health was \
         red {told} times and green again {healed} times",
        rounds * ROUND
    );
    Ok(Row {
        guarantee: "refusing-store",
        what: "a full disk strands nothing",
        apium: Outcome::new(kept, text),
        celery: None,
    })
}
