//! `warm-shutdown`: a worker that is stopped gives back within a second what it has fetched and not begun, and workers
//! that are replaced one after the other under load lose and repeat nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use apium::prelude::*;
use tokio::sync::watch;

use crate::faults::kit::row::Outcome;
use crate::faults::kit::run_log::{LoggedRun, RunLog, now};
use crate::faults::kit::tasks::stalls_of;
use crate::operating::crew::{Crew, Post, Worker};
use crate::operating::size::Size;
use crate::operating::tasks::{id, run, run_early};
use crate::torture::store::wait_until;

/// What is guaranteed, in a few words.
pub const WHAT: &str = "a warm shutdown loses and repeats nothing";

/// How soon others have what a stopped worker had fetched.
const BACK: Duration = Duration::from_secs(1);

/// How long the tasks take that hold the slots of a worker when it is stopped, in milliseconds. That is longer than
/// [`BACK`], so what comes back does not come by its end.
const LONG: u64 = 2_500;

/// How many workers run under load.
const WORKERS: usize = 3;

/// How many tasks are called at a time under load.
const ROUND: u64 = 20;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the test with workers of `crew`.
pub async fn check(crew: &Crew, size: &Size) -> Result<Outcome, BoxError> {
    let (stops, first) = stops(crew, size.stops).await?;
    Ok(stops.and(restarts(crew, size, first).await?))
}

/// A worker whose slots are busy and that has fetched more is stopped, while another one is idle. Returns the first
/// number that is free, too.
async fn stops(crew: &Crew, count: u64) -> Result<(Outcome, u64), BoxError> {
    let post = Post::WATCHED;
    let (slots, fetched) = (post.slots as u64, (post.slots * (post.multiplier - 1)) as u64);
    let (mut slowest, mut clean, mut next) = (Duration::ZERO, 0, 0);
    for _ in 0..count {
        let (long, short) = (next..next + slots, next + slots..next + slots + fetched);
        next = short.end;
        let mut victim = crew.start_ready(post).await?;
        send(&crew.app, long.clone(), LONG).await?;
        crew.log.wait(PATIENCE, |runs| ran(runs, &long) == long.clone().count()).await?;
        send(&crew.app, short.clone(), 5).await?;
        let all_fetched = async || Ok(crew.waiting().await? == 0);
        if !wait_until(PATIENCE, all_fetched).await? {
            return Err("let a worker fetch: messages stay in the queue".into());
        }
        let mut other = crew.start_ready(post).await?;
        let told = now();
        victim.terminate()?;
        crew.log.wait(PATIENCE, |runs| ran(runs, &short) == short.clone().count()).await?;
        let back = short.clone().filter_map(|number| last_run(&crew.log, number)).max().unwrap_or(i64::MAX);
        slowest = slowest.max(Duration::from_micros(u64::try_from(back - told).unwrap_or_default()));
        let ended = victim.stopped().await?;
        other.terminate()?;
        clean += u64::from(ended && other.stopped().await?);
    }
    let tally = Tally::count(crew, &(0..next).collect()).await?;
    let stalls = RunLog::open(&stalls_of(crew.log.path()))?.read()?.len();
    // While the machine runs nothing, nothing comes back.
    let kept = (slowest < BACK || stalls > 0) && clean == count && tally.is_kept();
    let stalled = if stalls > 0 { format!(", the machine stalled {stalls} times") } else { String::new() };
    let text = format!(
        "{count} stops of a worker that had {slots} runs and had fetched {fetched} messages more: others began these \
         after {:.2} s at most, all runs ended and the worker with them {clean} times{stalled}; {tally}",
        slowest.as_secs_f64()
    );
    Ok((Outcome::new(kept, text), next))
}

/// Workers are replaced one after the other while tasks are called.
async fn restarts(crew: &Crew, size: &Size, first: u64) -> Result<Outcome, BoxError> {
    let (done, over) = watch::channel(false);
    let replace = async {
        let replaced = replace(crew, size).await;
        // The caller may have failed and be gone already.
        let _ = done.send(true);
        replaced
    };
    let (sent, replaced) = tokio::join!(call_until(&crew.app, first, over), replace);
    let (sent, (workers, clean)) = (sent?, replaced?);
    // What was called last still runs. If something is left over, it is counted below.
    wait_until(PATIENCE, async || Ok(crew.leftover().await? == 0)).await?;
    for mut worker in workers {
        worker.terminate()?;
        if !worker.stopped().await? {
            return Err("a worker that was stopped last did not end in order".into());
        }
    }
    let tally = Tally::count(crew, &sent).await?;
    let text = format!(
        "{} workers replaced under load, one each {:.1} s: {clean} ended in order; {tally}",
        size.restarts,
        size.interval.as_secs_f64()
    );
    Ok(Outcome::new(clean == size.restarts && tally.is_kept(), text))
}

/// Replaces workers. Those that run in the end, and how many of the others ended in order.
async fn replace(crew: &Crew, size: &Size) -> Result<(Vec<Worker>, usize), BoxError> {
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(crew.start_ready(Post::WATCHED).await?);
    }
    let mut clean = 0;
    for turn in 0..size.restarts {
        tokio::time::sleep(size.interval).await;
        let new = crew.start_ready(Post::WATCHED).await?;
        let mut old = std::mem::replace(&mut workers[turn % WORKERS], new);
        old.terminate()?;
        clean += usize::from(old.stopped().await?);
    }
    Ok((workers, clean))
}

/// Calls tasks until the workers have been replaced; their numbers.
async fn call_until(app: &App, first: u64, mut over: watch::Receiver<bool>) -> Result<BTreeSet<u64>, BoxError> {
    let mut next = first;
    loop {
        send(app, next..next + ROUND, 40).await?;
        next += ROUND;
        tokio::select! {
            _ = over.wait_for(|over| *over) => return Ok((first..next).collect()),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
}

/// Sends tasks of these numbers, in turns with late and with early acknowledgement.
pub async fn send(app: &App, numbers: std::ops::Range<u64>, millis: u64) -> Result<(), BoxError> {
    let (late, early): (Vec<u64>, Vec<u64>) = numbers.partition(|number| number % 2 == 0);
    Batch::of(late.into_iter().map(|number| run::s(number, millis).task_id(id(number)))).send_all(app).await?;
    Batch::of(early.into_iter().map(|number| run_early::s(number, millis).task_id(id(number)))).send_all(app).await?;
    Ok(())
}

/// How many runs of these numbers there are.
pub fn ran(runs: &[LoggedRun], numbers: &std::ops::Range<u64>) -> usize {
    runs.iter().filter(|run| numbers.contains(&run.number)).count()
}

fn last_run(log: &RunLog, number: u64) -> Option<i64> {
    log.runs_of(number).ok()?.last().map(|run| run.at)
}

/// What became of the tasks.
struct Tally {
    sent: usize,
    lost: usize,
    repeated: usize,
    /// Repetitions by workers that the machine did not stall. One that was silent for its lease is taken for dead.
    unexplained: usize,
    unanswered: usize,
    left: u64,
}

impl Tally {
    async fn count(crew: &Crew, sent: &BTreeSet<u64>) -> Result<Self, BoxError> {
        let app = &crew.app;
        let succeeded = async || {
            for number in sent {
                if app.result::<u64>(id(*number)).state().await? != TaskState::Success {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        // If not all succeed, they are counted below.
        let all = wait_until(Duration::from_secs(20), succeeded).await?;
        let mut unanswered = 0;
        if !all {
            for number in sent {
                unanswered += usize::from(app.result::<u64>(id(*number)).state().await? != TaskState::Success);
            }
        }
        let runs = crew.log.by_number()?;
        let stalled: BTreeSet<u64> =
            RunLog::open(&stalls_of(crew.log.path()))?.read()?.iter().map(|stall| stall.pid).collect();
        let ran = |number: &u64| runs.get(number).map_or(0, Vec::len);
        let is_explained =
            |number: &u64| runs.get(number).is_some_and(|runs| runs.iter().any(|run| stalled.contains(&run.pid)));
        let repeated = |number: &u64| ran(number).saturating_sub(1);
        Ok(Self {
            sent: sent.len(),
            lost: sent.iter().filter(|number| ran(number) == 0).count(),
            repeated: sent.iter().map(repeated).sum(),
            unexplained: sent.iter().filter(|number| !is_explained(number)).map(repeated).sum(),
            unanswered,
            left: crew.leftover().await?,
        })
    }

    fn is_kept(&self) -> bool {
        self.sent > 0 && self.lost + self.unexplained + self.unanswered == 0 && self.left == 0
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sent, lost, repeated, unexplained, unanswered, left } = self;
        write!(f, "{sent} tasks, {lost} lost, {repeated} ran twice, ")?;
        if *repeated > 0 {
            write!(f, "all but {unexplained} because the machine stalled, ")?;
        }
        write!(f, "{unanswered} without SUCCESS, {left} left over")
    }
}
