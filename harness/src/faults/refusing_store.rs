//! `refusing-store`: the server refuses to write while tasks end, in every way in which it can, and then takes
//! everything again. All tasks succeed, and none runs twice. A result that is larger than the server takes is a failure
//! that names the sizes.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use apium::prelude::*;
use apium_peers::celery::CeleryWorker;
use apium_peers::guarded::runs;

use crate::faults::kit::celery;
use crate::faults::kit::refusal::{LARGEST, REFUSALS, Refusal, RefusingServer};
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::RunLog;
use crate::faults::kit::size::Size;
use crate::scratch::ScratchFolder;
use crate::torture::store::{Site, wait_until};
use crate::torture::tasks::{
    all_succeeded, collect, id, log, measure, ready_file, repeated, start_workers, stop_workers, text,
};

const WORKERS: usize = 2;

/// Tasks of one round that stand alone.
const ALONE: u64 = 16;

/// Parts of a round's chord.
const PARTS: u64 = 4;

/// Tasks of one round: those that stand alone, a chord with its body, and a chain of two.
const ROUND: u64 = ALONE + PARTS + 1 + 2;

/// How long a task takes: most end while the server refuses.
const MILLIS: u64 = 300;

/// The bytes of a result.
const BYTES: usize = 1000;

/// For how long the server refuses at least.
const REFUSED: Duration = Duration::from_millis(1500);

const PATIENCE: Duration = Duration::from_secs(30);

/// The visibility timeout of Celery's worker, which looks for abandoned messages each second.
const VISIBILITY: Duration = Duration::from_secs(5);

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let apium = apium(size.refusals).await?;
    let celery = if size.celery { Some(celery_refused().await?) } else { None };
    Ok(Row { guarantee: "refusing-store", what: "a server that refuses strands nothing", apium, celery })
}

/// What became of the rounds of one refusal.
#[derive(Debug, Default)]
struct Tally {
    /// In which something was left to do at its end.
    held: u64,
    succeeded: u64,
    red: u64,
    green: u64,
}

async fn apium(rounds: u64) -> Result<Outcome, BoxError> {
    let mut server = RefusingServer::start()?;
    let scratch = ScratchFolder::new()?;
    let app = Site::new(scratch.folder(), server.url()).app().build().await?;
    let site = Site::new(scratch.folder(), server.worker_url());
    let workers = start_workers(&site, WORKERS, false)?;
    let log = log(&site)?;
    let is_ready = |n: usize| ready_file(&site, &n.to_string()).exists();
    let all_ready = async || Ok((0..WORKERS).all(is_ready));
    let any_red = async || Ok((0..WORKERS).any(|n| !is_ready(n)));
    let (mut sent, mut kept, mut texts) = (0, wait_until(PATIENCE, all_ready).await?, Vec::new());
    for refusal in REFUSALS {
        let mut tally = Tally::default();
        for _ in 0..rounds {
            let numbers = sent..sent + ROUND;
            sent = numbers.end;
            begin_round(&app, &log, numbers.clone()).await?;
            server.begin(refusal).await?;
            tokio::time::sleep(REFUSED).await;
            if refusal.stops_workers() {
                tally.red += u64::from(wait_until(PATIENCE, any_red).await?);
                tally.held += u64::from(!all_succeeded(&app, numbers.clone()).await?);
            }
            server.end(refusal).await?;
            tally.succeeded +=
                u64::from(wait_until(PATIENCE, async || all_succeeded(&app, numbers.clone()).await).await?);
            tally.green += u64::from(wait_until(PATIENCE, all_ready).await?);
        }
        kept &= [tally.succeeded, tally.green] == [rounds; 2];
        let mut text = format!("{}: all succeeded {} of {rounds} times", refusal.name(), tally.succeeded);
        if refusal.stops_workers() {
            kept &= [tally.red, tally.held] == [rounds; 2];
            text += &format!(", health red {} times and green again {} times", tally.red, tally.green);
        }
        texts.push(text);
    }
    let mut named = 0;
    for _ in 0..rounds {
        named += u64::from(names_sizes(&app, sent).await?);
        sent += 2;
    }
    stop_workers(workers)?;
    app.close().await?;
    let (twice, leftover) = (repeated(&log)?, server.look().leftover()?);
    kept &= named == rounds && twice.is_empty() && leftover.total() == 0;
    let mut text = format!(
        "{}; results larger than the server takes: a failure that names the sizes {named} of {rounds} times; {sent} \
         tasks, {} ran twice, {} left over",
        texts.join("; "),
        twice.len(),
        leftover.total(),
    );
    if leftover.total() > 0 {
        text += &format!(" ({leftover:?})");
    }
    Ok(Outcome::new(kept, text))
}

/// Sends a round, and waits until its first task has ended. Then others are about to end.
async fn begin_round(app: &App, log: &RunLog, numbers: Range<u64>) -> Result<(), BoxError> {
    let part = |number: u64| text::s(number, MILLIS, BYTES).task_id(id(number));
    let ran = log.read()?.len();
    let alone = numbers.start..numbers.start + ALONE;
    let (parts, body) = (alone.end..alone.end + PARTS, alone.end + PARTS);
    chord(parts.map(part), collect::p(body).task_id(id(body))).send(app).await?;
    (part(body + 1) | measure::p(body + 2).task_id(id(body + 2))).send(app).await?;
    Batch::of(alone.map(part)).send_all(app).await?;
    if log.wait(PATIENCE, |runs| runs.len() > ran).await? {
        Ok(())
    } else {
        Err("wait for the first task of a round: none ends".into())
    }
}

/// Whether a result that is too large is a failure that says so, and its neighbour succeeds.
async fn names_sizes(app: &App, number: u64) -> Result<bool, BoxError> {
    let large = text::s(number, MILLIS, 2 * LARGEST).task_id(id(number)).send(app).await?;
    let small = text::s(number + 1, MILLIS, BYTES).task_id(id(number + 1)).send(app).await?;
    let Err(error) = large.get().timeout(PATIENCE).await else { return Ok(false) };
    let Some(failure) = error.failure() else { return Ok(false) };
    let message = failure.exception().message();
    // The quotes of the JSON text belong to it.
    let is_named = message.contains(&(2 * LARGEST + 2).to_string()) && message.contains(&LARGEST.to_string());
    Ok(is_named && small.get().timeout(PATIENCE).await?.len() == BYTES)
}

/// A worker of Celery for each refusal, with one round. One that ends is started again.
async fn celery_refused() -> Result<Outcome, BoxError> {
    let (mut kept, mut texts) = (true, Vec::new());
    for refusal in REFUSALS.map(Some).into_iter().chain([None]) {
        let mut server = RefusingServer::start()?;
        let scratch = ScratchFolder::new()?;
        let log = log(&Site::new(scratch.folder(), server.url()))?;
        let app = Site::new(scratch.folder(), server.url()).app().build().await?;
        let worker = start_celery(&server, log.path());
        let numbers = match refusal {
            Some(_) => 0..ROUND,
            None => 0..1,
        };
        match refusal {
            Some(refusal) => {
                begin_round(&app, &log, numbers.clone()).await?;
                server.begin(refusal).await?;
                tokio::time::sleep(REFUSED * 2).await;
                server.end(refusal).await?;
            }
            None => drop(text::s(0, MILLIS, 2 * LARGEST).task_id(id(0)).send(&app).await?),
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let ended = !runs(worker.pid());
        let again = ended.then(|| start_celery(&server, log.path()));
        wait_until(PATIENCE, async || all_succeeded(&app, numbers.clone()).await).await?;
        drop((worker, again));
        let good = count(&app, numbers.clone(), &TaskState::Success).await?;
        let failed = count(&app, numbers.clone(), &TaskState::Failure).await?;
        let error = match refusal {
            Some(_) => None,
            None => app.result::<Json>(id(0)).get().timeout(Duration::from_secs(1)).await.err(),
        };
        app.close().await?;
        let (all, twice, leftover) = (numbers.end, repeated(&log)?.len(), server.look().leftover()?.total());
        kept &= good == all && twice == 0 && leftover == 0 && !ended;
        let name = refusal.map_or("a result that is too large", Refusal::name);
        let mut text = format!(
            "{name}: of {all} tasks {good} SUCCESS, {failed} FAILURE, {} PENDING, {twice} ran twice, {leftover} left over",
            all - good - failed
        );
        if let Some(failure) = error.as_ref().and_then(|error| error.failure()) {
            text += &format!(", {}: {}", failure.exception().exc_type, failure.exception().message());
        }
        if ended {
            text += ", the worker ended and was started again";
        }
        texts.push(text);
    }
    Ok(Outcome::new(kept, texts.join("; ")))
}

fn start_celery(server: &RefusingServer, log: &Path) -> CeleryWorker {
    celery::worker(&server.worker_url(), log, &celery::sweep_each_second(VISIBILITY))
        .args(["-P", "threads", "-c", "8", "-n", "refused@here"])
        .start()
}

/// How many of these tasks have this state.
async fn count(app: &App, numbers: Range<u64>, state: &TaskState) -> Result<u64, BoxError> {
    let mut found = 0;
    for number in numbers {
        found += u64::from(app.result::<Json>(id(number)).state().await? == *state);
    }
    Ok(found)
}
