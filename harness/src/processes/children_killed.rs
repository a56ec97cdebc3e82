//! `isolation`: children are killed at random while they run tasks. Every task ends in a state, and only those fail
//! whose child was killed.

use std::time::{Duration, Instant};

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;
use apium_protocol::result::state::State as ResultState;

use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::tasks::{Setup, sleep_then_record};
use crate::process;
use crate::processes::size::Size;
use crate::processes::worker::{Bodies, EitherWorker};
use crate::scratch::ScratchFolder;

/// One task in so many loses its child.
const ONE_IN: u64 = 100;
/// Tasks without a state count as lost when none has ended for this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many tasks are called at a time.
const BATCH: u64 = 500;

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let mut apium: Option<Outcome> = None;
    for bodies in Bodies::ALL {
        let outcome = killed(Some(bodies), size.tasks).await?;
        apium = Some(match apium {
            Some(before) => before.and(outcome),
            None => outcome,
        });
    }
    let celery = if size.celery { Some(killed(None, size.tasks).await?) } else { None };
    let apium = apium.ok_or("there are bodies")?;
    Ok(Row { guarantee: "isolation", what: "a child that dies takes nothing but its run with it", apium, celery })
}

/// Kills children of Apium's worker with these bodies, or of Celery's.
async fn killed(bodies: Option<Bodies>, tasks: u64) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let log = scratch.folder().join("runs");
    let url = server.url(0);
    let app = Setup::new(url.clone()).app().await?;
    let mut results = Vec::new();
    for start in (0..tasks).step_by(BATCH as usize) {
        let calls = (start..(start + BATCH).min(tasks)).map(|number| sleep_then_record::s(number * 10, number % 8));
        results.extend(Batch::of(calls).send_all(&app).await?);
    }
    let worker = EitherWorker::start(bodies, &url, (scratch.folder(), &log), 0).await?;
    let mut kills = 0;
    let mut ended = 0;
    let mut last = Instant::now();
    let (mut succeeded, mut failed) = (0_u64, 0_u64);
    while ended < results.len() && last.elapsed() < PATIENCE {
        let document = results[ended].document().await?;
        match document.filter(|document| document.state.is_ready()) {
            Some(document) => {
                (ended, last) = (ended + 1, Instant::now());
                match document.state {
                    ResultState::Success => succeeded += 1,
                    _ => failed += 1,
                }
                // Another one is due after so many ends.
                let is_due = kills < ended as u64 / ONE_IN;
                let children = if is_due { worker.children()? } else { Vec::new() };
                if let Some(child) = (!children.is_empty()).then(|| children[fastrand::usize(..children.len())]) {
                    // It may be gone already.
                    kills += u64::from(process::signal(child, "KILL").is_ok());
                }
            }
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
    let without = results.len() - ended;
    app.close().await?;
    worker.stop()?;
    let name = bodies.map_or("prefork", Bodies::name);
    let text = format!(
        "{name}: {kills} kills of children: of {tasks} tasks {succeeded} succeeded, {failed} failed with their child, \
         {without} have no state"
    );
    Ok(Outcome::new(without == 0 && failed <= kills && kills > 0, text))
}
