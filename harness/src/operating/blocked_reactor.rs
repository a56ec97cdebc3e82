//! `blocked-reactor`: a task that holds its thread is named in the log within a second, and no other one is.

use std::fs;
use std::path::Path;
use std::time::Duration;

use apium::prelude::*;

use crate::faults::kit::row::Outcome;
use crate::faults::kit::run_log::{RunLog, now};
use crate::faults::kit::tasks::{stalls_of, watch_for_stalls};
use crate::operating::crew::{Crew, Post};
use crate::operating::size::Size;
use crate::operating::tasks::{block, id, run};
use crate::torture::store::wait_until;

/// What is guaranteed, in a few words.
pub const WHAT: &str = "a task that blocks the reactor is named in the log";

/// How soon it is named.
const SOON: Duration = Duration::from_secs(1);

/// How long tasks hold their thread, in milliseconds: longer than [`SOON`].
const HOLDS: u64 = 1_500;

/// What the log says of it.
const SAYS: &str = "blocks the reactor";

/// Tasks that only wait, for each that blocks.
const INNOCENTS: u64 = 3;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was seen of the tasks.
struct Seen {
    /// Those that blocked and were named.
    named: u64,
    /// How long after its begin one was named, at most.
    slowest: Duration,
    /// Others that were named.
    others: usize,
    /// Whether the worker ended in order.
    stopped: bool,
}

/// Runs the test with a worker of `crew`, which logs to `file`.
pub async fn check(crew: &Crew, file: &Path, size: &Size) -> Result<Outcome, BoxError> {
    let stalls = RunLog::open(&stalls_of(crew.log.path()))?;
    let Seen { named, slowest, others, stopped } = tokio::select! {
        seen = block_again_and_again(crew, file, size.blocks) => seen?,
        () = watch_for_stalls(&stalls) => return Err("record a stall of the machine: the log is closed".into()),
    };
    let mut text = format!(
        "{} tasks held their thread for {:.1} s: {named} were named by their ids, after {:.2} s at most; of {} that only \
         waited meanwhile {others} were",
        size.blocks,
        Duration::from_millis(HOLDS).as_secs_f64(),
        slowest.as_secs_f64(),
        size.blocks * INNOCENTS
    );
    // While the machine runs nothing, a task looks as if it blocked, and nobody names one that does.
    let stalls = stalls.read()?.len();
    if stalls > 0 {
        text += &format!(", the machine stalled {stalls} times");
    }
    let in_time = (slowest < SOON && others == 0) || stalls > 0;
    Ok(Outcome::new(named == size.blocks && stopped && in_time, text))
}

async fn block_again_and_again(crew: &Crew, file: &Path, blocks: u64) -> Result<Seen, BoxError> {
    let mut worker = crew.start_ready(Post::WATCHED).await?;
    let (mut slowest, mut named) = (Duration::ZERO, 0);
    let (mut next, mut held) = (0, Vec::new());
    for _ in 0..blocks {
        let number = next;
        next += 1 + INNOCENTS;
        for innocent in number + 1..next {
            run::delay(innocent, HOLDS).task_id(id(innocent)).send(&crew.app).await?;
        }
        block::delay(number, HOLDS).task_id(id(number)).send(&crew.app).await?;
        held.push(id(number));
        crew.log.wait(PATIENCE, |runs| runs.iter().any(|run| run.number == number)).await?;
        let began = crew.log.runs_of(number)?.first().map_or(i64::MIN, |run| run.at);
        let is_named = async || Ok(names(file)?.contains(&id(number)));
        if wait_until(PATIENCE, is_named).await? {
            named += 1;
            slowest = slowest.max(Duration::from_micros(u64::try_from(now() - began)?));
        }
        let all_done = async || {
            for number in number..next {
                if crew.app.result::<u64>(id(number)).state().await? != TaskState::Success {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        wait_until(PATIENCE, all_done).await?;
    }
    worker.terminate()?;
    let stopped = worker.stopped().await?;
    let others = names(file)?.into_iter().filter(|id| !held.contains(id)).count();
    Ok(Seen { named, slowest, others, stopped })
}

/// The ids that the log names so far.
fn names(file: &Path) -> Result<Vec<String>, BoxError> {
    let text = fs::read_to_string(file)?;
    let id = |line: &str| {
        let (_, rest) = line.split_once("task operating.")?.1.split_once('[')?;
        Some(rest.split_once(']')?.0.to_owned())
    };
    Ok(text.lines().filter(|line| line.contains(SAYS)).filter_map(id).collect())
}
