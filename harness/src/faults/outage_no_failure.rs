//! `outage-no-failure`: tasks report progress, open chords, replace themselves and retry while the server is killed and
//! started again. All of them succeed, and what a caller asks meanwhile ends within its deadline.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::celery;
use crate::faults::kit::look::Look;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::{RunLog, record_run};
use crate::faults::kit::size::Size;
use crate::scratch::ScratchFolder;
use crate::torture::store::{Site, wait_until};
use crate::torture::tasks::{id, log, start_workers, stop_workers};

const WORKERS: usize = 2;

/// Tasks of one round.
const ROUND: u64 = 24;

/// How many tasks run at once in Celery's worker: as many as in all of Apium's.
const CELERY_SLOTS: &str = "8";

/// Operations of a caller end within `broker_publish_timeout`; the rest is what a busy machine may add.
const DEADLINE: Duration = Duration::from_millis(5500);

const PATIENCE: Duration = Duration::from_secs(30);

/// The visibility timeout of Celery's worker, which looks for abandoned messages each second.
const VISIBILITY: Duration = Duration::from_secs(5);

/// Reports its progress for so many milliseconds.
#[task(name = "outage.progress", acks_late)]
pub async fn progress(ctx: &Ctx, number: u64, millis: u64) -> TaskResult<u64> {
    for step in 0..10 {
        ctx.update_state("PROGRESS", step).await?;
        tokio::time::sleep(Duration::from_millis(millis / 10)).await;
    }
    record_run(number)?;
    Ok(number)
}

/// The body of a chord.
#[task(name = "outage.total", acks_late)]
pub async fn total(numbers: Vec<u64>) -> TaskResult<u64> {
    Ok(numbers.iter().sum())
}

/// Waits, opens a chord, and returns the id of its body.
#[task(name = "outage.opens", acks_late)]
pub async fn opens(number: u64, millis: u64) -> TaskResult<String> {
    record_run(number)?;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    let body = chord((0..3).map(|_| progress::s(number, 100)), total::p()).await?;
    Ok(body.id().to_string())
}

/// The same, and its message is acked before it runs.
#[task(name = "outage.opens_early", acks_late = false)]
pub async fn opens_early(number: u64, millis: u64) -> TaskResult<String> {
    record_run(number)?;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    let body = chord((0..3).map(|_| progress::s(number, 100)), total::p()).await?;
    Ok(body.id().to_string())
}

/// Waits and replaces itself.
#[task(name = "outage.replaces", acks_late)]
pub async fn replaces(ctx: &Ctx, number: u64, millis: u64) -> TaskResult<u64> {
    record_run(number)?;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Err(ctx.replace(progress::s(number, 100)))
}

/// Waits and retries, twice.
#[task(name = "outage.retries", acks_late, max_retries = 5)]
pub async fn retries(ctx: &Ctx, number: u64, millis: u64) -> TaskResult<u64> {
    record_run(number)?;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    if ctx.retries() < 2 {
        return Err(ctx.retry().countdown(Duration::from_millis(100)).into());
    }
    Ok(number)
}

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let apium = apium(size.away).await?;
    let celery = if size.celery { Some(celery_fails(size.away).await?) } else { None };
    Ok(Row { guarantee: "outage-no-failure", what: "an outage makes no task fail", apium, celery })
}

/// A server that keeps what it was told when it is killed.
fn server() -> RedisServer {
    RedisServer::builder().args(["--appendonly", "yes", "--appendfsync", "always"]).start()
}

async fn apium(away: &[u64]) -> Result<Outcome, BoxError> {
    let (server, scratch) = (server(), ScratchFolder::new()?);
    let site = Site::new(scratch.folder(), server.url(0));
    let app = site.app().build().await?;
    let workers = start_workers(&site, WORKERS, false)?;
    let mut asked = Asked::default();
    let (mut sent, mut states) = (0, BTreeMap::new());
    for seconds in away {
        let numbers = sent..sent + ROUND;
        sent = numbers.end;
        if !begin_round(&app, &log(&site)?, numbers.clone()).await? {
            return Ok(Outcome::new(false, format!("{}; then no task began", states_text(away, sent, &states))));
        }
        server.kill();
        let killed = Instant::now();
        asked.ask_all(&app).await;
        tokio::time::sleep(Duration::from_secs(*seconds).saturating_sub(killed.elapsed())).await;
        tokio::task::block_in_place(|| server.restart());
        asked.ask_all(&app).await;
        let ids = numbers.map(id).chain(asked.published.drain(..));
        count_states(&app, ids.collect(), &mut states).await?;
    }
    let mut look = Look::at(&site.address)?;
    // A task that goes back to its queue because it could not open its chord may have opened it.
    wait_until(PATIENCE, async || Ok(look.leftover()?.total() == 0)).await?;
    let leftover = look.leftover()?.total();
    stop_workers(workers)?;
    app.close().await?;
    let kept = states.keys().all(|state| state == "SUCCESS") && leftover == 0 && asked.slowest <= DEADLINE;
    let text = format!(
        "{}, {leftover} left over; {} operations of callers took {:.1} s at most",
        states_text(away, sent, &states),
        asked.count,
        asked.slowest.as_secs_f64()
    );
    Ok(Outcome::new(kept, text))
}

/// Sends a round, and waits until one of its tasks has begun; whether one has.
async fn begin_round(app: &App, log: &RunLog, numbers: Range<u64>) -> Result<bool, BoxError> {
    let ran = log.read()?.len();
    for number in numbers {
        let (millis, id) = (number % 4 * 400, id(number));
        match number % 6 {
            0 | 1 => drop(progress::delay(number, 1500).task_id(id).send(app).await?),
            2 => drop(opens::delay(number, millis).task_id(id).send(app).await?),
            3 => drop(opens_early::delay(number, millis).task_id(id).send(app).await?),
            4 => drop(replaces::delay(number, millis).task_id(id).send(app).await?),
            _ => drop(retries::delay(number, millis).task_id(id).send(app).await?),
        }
    }
    Ok(log.wait(PATIENCE, |runs| runs.len() > ran).await?)
}

/// What a caller asked.
#[derive(Debug, Default)]
struct Asked {
    count: usize,
    slowest: Duration,
    /// What was published by calls that returned no error.
    published: Vec<String>,
}

impl Asked {
    /// Publishes a task, opens a chord and reads a state, all at once. Each may fail.
    async fn ask_all(&mut self, app: &App) {
        let began = Instant::now();
        let publish = async { progress::delay(0, 10).send(app).await.ok().map(|result| result.id().to_string()) };
        let open = async {
            let header = (0..3).map(|_| progress::s(0, 10));
            chord(header, total::p()).send(app).await.ok().map(|result| result.id().to_string())
        };
        let read = async { app.result::<u64>(id(0)).state().await.ok().map(drop) };
        let (published, opened, _) = tokio::join!(publish, open, read);
        self.published.extend(published.into_iter().chain(opened));
        self.count += 3;
        self.slowest = self.slowest.max(began.elapsed());
    }
}

/// Waits until all of these tasks, and the chords that they opened, have succeeded, and counts their states.
async fn count_states(app: &App, ids: Vec<String>, states: &mut BTreeMap<String, u64>) -> Result<(), BoxError> {
    let opened = wait_for(app, &ids, states).await?;
    wait_for(app, &opened, states).await?;
    Ok(())
}

/// The same for these tasks alone. Returns the ids that they returned.
async fn wait_for(app: &App, ids: &[String], states: &mut BTreeMap<String, u64>) -> Result<Vec<String>, BoxError> {
    let state = async |id: &String| app.result::<Json>(id.clone()).state().await;
    let deadline = Instant::now() + PATIENCE;
    let mut returned = Vec::new();
    for id in ids {
        let left = deadline.saturating_duration_since(Instant::now());
        wait_until(left, async || Ok(state(id).await?.is_ready())).await?;
        let state = state(id).await?;
        if state == TaskState::Success {
            let value = app.result::<Json>(id.clone()).info().await?;
            returned.extend(value.decode::<String>());
        }
        let failed = state == TaskState::Failure;
        let why =
            if failed { format!(" ({id}: {})", app.result::<Json>(id.clone()).info().await?) } else { String::new() };
        *states.entry(format!("{state}{why}")).or_default() += 1;
    }
    Ok(returned)
}

/// What became of the tasks.
fn states_text(away: &[u64], sent: u64, states: &BTreeMap<String, u64>) -> String {
    let seconds = away.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let states: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    format!(
        "the server killed, {seconds} s away, {sent} tasks and the chords that they and callers opened: {}",
        states.join(", ")
    )
}

/// Celery's worker in the same outages. Its caller is Apium's, which asks nothing while the server is away.
async fn celery_fails(away: &[u64]) -> Result<Outcome, BoxError> {
    let (server, scratch) = (server(), ScratchFolder::new()?);
    let site = Site::new(scratch.folder(), server.url(0));
    let (app, log) = (site.app().build().await?, log(&site)?);
    let options = celery::sweep_each_second(VISIBILITY);
    let worker = celery::worker(&site.address, log.path(), &options);
    let worker = worker.args(["-P", "threads", "-c", CELERY_SLOTS, "-n", "outage@here"]).start();
    let (mut sent, mut states) = (0, BTreeMap::new());
    for seconds in away {
        let numbers = sent..sent + ROUND;
        sent = numbers.end;
        if !begin_round(&app, &log, numbers.clone()).await? {
            let text = states_text(away, sent - ROUND, &states);
            return Ok(Outcome::new(
                false,
                format!("{text}; then its worker took no task for {} s", PATIENCE.as_secs()),
            ));
        }
        server.kill();
        tokio::time::sleep(Duration::from_secs(*seconds)).await;
        tokio::task::block_in_place(|| server.restart());
        count_states(&app, numbers.map(id).collect(), &mut states).await?;
    }
    app.close().await?;
    drop(worker);
    let leftover = Look::at(&site.address)?.leftover()?.total();
    let kept = states.keys().all(|state| state == "SUCCESS") && leftover == 0;
    Ok(Outcome::new(kept, format!("{}, {leftover} left over", states_text(away, sent, &states))))
}
