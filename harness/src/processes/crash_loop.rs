//! `crash-loop`: a task that keeps killing its child goes to the dead set, and what was fetched beside it runs.

use std::time::Duration;

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::{RunLog, record_run};
use crate::faults::kit::tasks::{Setup, record_then_sleep};
use crate::processes::size::Size;
use crate::processes::worker::{Bodies, EitherWorker};
use crate::scratch::ScratchFolder;
use crate::torture::store::{leftover, wait_until};

/// `worker_max_crashes`.
const MOST: u32 = 3;
/// Tasks that are fetched beside each that kills.
const INNOCENT: u64 = 20;
/// How long all may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Records its number and kills its own process. It wants to run again then.
#[task(name = "faults.kill_child", acks_late, reject_on_worker_lost)]
pub async fn kill_child(number: u64) -> TaskResult<u64> {
    record_run(number)?;
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
    std::future::pending().await
}

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let [rust, python] = [convicts(Bodies::Rust, size.killers).await?, convicts(Bodies::Python, size.killers).await?];
    let what = "a task that keeps killing its child goes to the dead set, and the others run";
    Ok(Row { guarantee: "crash-loop", what, apium: rust.and(python), celery: None })
}

async fn convicts(bodies: Bodies, killers: u64) -> Result<Outcome, BoxError> {
    let (server, scratch) = (RedisServer::start(), ScratchFolder::new()?);
    let path = scratch.folder().join("runs");
    let log = RunLog::open(&path)?;
    let url = server.url(0);
    let app = Setup::new(url.clone()).app().await?;
    let innocents = killers * INNOCENT;
    let mut convicted = Vec::new();
    for killer in 0..killers {
        convicted.push(kill_child::delay(killer * 10 + 1).send(&app).await?);
        let others = killer * INNOCENT..(killer + 1) * INNOCENT;
        Batch::of(others.map(|number| record_then_sleep::s(number * 10, 20))).send_all(&app).await?;
    }
    let worker = EitherWorker::start(Some(bodies), &url, (scratch.folder(), &path), MOST).await?;
    // What is in the dead set is all that is left.
    wait_until(PATIENCE, async || Ok(leftover(&app).await? == killers)).await?;
    let mut failed = 0;
    for result in &convicted {
        failed += u64::from(result.state().await? == TaskState::Failure);
    }
    let dead = app.broker().dead().ok_or("count the dead set: this broker has none")?.count().await?;
    let left = leftover(&app).await? - dead;
    app.close().await?;
    worker.stop()?;
    let runs = log.by_number()?;
    let (of_killers, others): (Vec<_>, Vec<_>) = runs.iter().partition(|(number, _)| **number % 10 == 1);
    let begun: Vec<usize> = of_killers.iter().map(|(_, runs)| runs.len()).collect();
    let (fewest, most) = (begun.iter().min().copied().unwrap_or(0), begun.iter().max().copied().unwrap_or(0));
    let ran = others.len() as u64;
    let text = format!(
        "{}: {killers} tasks that kill their child began {fewest} to {most} times (the limit is {MOST}), {failed} of them \
         failed and {dead} are in the dead set; of {innocents} other tasks {ran} ran, {left} messages are left",
        bodies.name()
    );
    let is_limit = |count: usize| u32::try_from(count).is_ok_and(|count| count == MOST);
    let kept = is_limit(fewest) && is_limit(most) && (failed, dead, left) == (killers, killers, 0) && ran == innocents;
    Ok(Outcome::new(kept, text))
}
