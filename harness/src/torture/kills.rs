//! Worker processes of the embedded driver are killed as by `kill -9` at random instants under load. In the end, what
//! was published and what was executed must be the same set.
//!
//! The worker's side is [`run_worker`]. A task writes its number to a log that survives the kill. One task in ten is
//! retried once before it does, one in ten has a countdown, and some take a few milliseconds, so that kills hit every
//! stage of a run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use apium::prelude::*;

use crate::child::{Role, stdin_closed};
use crate::number_log::{self, NumberLog};
use crate::report;
use crate::scratch::ScratchFolder;
use crate::torture::store::{LEASE, Site, file, is_intact, leftover};

/// How many workers run at a time.
const WORKERS: usize = 3;

/// How many tasks are called at a time: some in single calls at once, the others in a batch.
const ROUND: u64 = 60;

/// Tasks that are still missing in the end count as lost when nothing has run for this long.
const PATIENCE: Duration = Duration::from_secs(20);

static LOG: OnceLock<NumberLog> = OnceLock::new();

/// Records its number; a number that ends with 3 is recorded only by the second run.
#[task(name = "torture.record", acks_late, max_retries = 3)]
pub async fn record(ctx: &Ctx, number: u64) -> TaskResult<u64> {
    if number % 10 == 3 && ctx.request().retries() == 0 {
        return Err(ctx.retry().countdown(Duration::from_millis(20)).into());
    }
    if number % 10 > 6 {
        tokio::time::sleep(Duration::from_millis(number % 7)).await;
    }
    if let Some(log) = LOG.get() {
        log.record(number)?;
    }
    Ok(number)
}

/// The outcome of the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Kills.
    pub kills: usize,
    /// Tasks whose publishing had returned.
    pub published: usize,
    /// Of them, those that were never executed.
    pub lost: usize,
    /// Executions beyond the first of each task.
    pub repeated: usize,
    /// Numbers that were executed and not published.
    pub strangers: usize,
    /// Tasks whose result is not SUCCESS with their number.
    pub unanswered: usize,
    /// Messages that are still in the queue or in the dead set.
    pub leftover: u64,
    /// Whether SQLite finds no damage in its file.
    pub intact: bool,
}

impl Verdict {
    /// Whether nothing was lost, invented, left over or damaged. A repeated task is no fault: late acknowledgement
    /// allows it.
    pub fn is_good(&self) -> bool {
        let faults = self.lost + self.strangers + self.unanswered;
        faults == 0 && self.leftover == 0 && self.intact && self.published > 0
    }

    /// Prints the figures.
    pub fn print(&self) {
        report::figure("kills", self.kills as f64, "");
        report::figure("published", self.published as f64, "tasks");
        report::figure("lost", self.lost as f64, "tasks");
        report::figure("repeated", self.repeated as f64, "tasks");
        report::figure("strangers", self.strangers as f64, "tasks");
        report::figure("unanswered", self.unanswered as f64, "tasks");
        report::figure("leftover", self.leftover as f64, "messages");
        report::figure("damaged", f64::from(u8::from(!self.intact)), "");
    }
}

/// Runs a worker on the queue in `folder` until standard input closes.
pub async fn run_worker(folder: &Path) -> Result<(), BoxError> {
    // Set once in the life of this process.
    let _ = LOG.set(NumberLog::open(&folder.join("numbers"))?);
    let app = Site::sqlite(folder).app().build().await?;
    app.worker().concurrency(8).run_until(stdin_closed()).await?;
    Ok(app.close().await?)
}

/// Kills workers `kills` times while tasks are called, waits for the tasks that are still to run, and counts.
pub async fn torture(kills: usize) -> Result<Verdict, BoxError> {
    let scratch = ScratchFolder::new()?;
    let log: PathBuf = scratch.folder().join("numbers");
    NumberLog::open(&log)?;
    let app = Site::sqlite(scratch.folder()).app().build().await?;
    let (done, over) = tokio::sync::watch::channel(false);
    let caller = call_until(&app, over);
    let killer = async {
        let workers = kill_workers(scratch.folder(), kills).await;
        // The caller may have failed and be gone already.
        let _ = done.send(true);
        workers
    };
    let (published, workers) = tokio::join!(caller, killer);
    let (published, workers) = (published?, workers?);
    let executed = wait_until_done(&log, &published).await?;
    for worker in workers {
        if !worker.stop()? {
            return Err("a worker that was not killed failed".into());
        }
    }
    let verdict = Verdict {
        kills,
        published: published.len(),
        lost: published.iter().filter(|number| !executed.contains_key(number)).count(),
        repeated: executed.values().map(|count| count - 1).sum(),
        strangers: executed.keys().filter(|number| !published.contains(number)).count(),
        unanswered: unanswered(&app, &published).await?,
        leftover: leftover(&app).await?,
        intact: is_intact(&file(scratch.folder()))?,
    };
    app.close().await?;
    Ok(verdict)
}

/// Calls tasks until the kills are over; the numbers whose calls returned.
async fn call_until(app: &App, mut over: tokio::sync::watch::Receiver<bool>) -> Result<BTreeSet<u64>, BoxError> {
    let mut published = BTreeSet::new();
    let mut next = 0_u64;
    while !*over.borrow_and_update() {
        let numbers = next..next + ROUND;
        next += ROUND;
        let (single, batch): (Vec<u64>, Vec<u64>) = numbers.clone().partition(|number| number % 4 == 1);
        let singles = single.into_iter().map(|number| async move {
            let call = record::delay(number).task_id(id(number));
            let call = if number % 10 == 5 { call.countdown(Duration::from_millis(50)) } else { call };
            call.send(app).await
        });
        futures_util::future::try_join_all(singles).await?;
        Batch::of(batch.into_iter().map(|number| record::s(number).task_id(id(number)))).send_all(app).await?;
        published.extend(numbers);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(published)
}

fn id(number: u64) -> String {
    format!("torture-{number}")
}

/// How many tasks have no correct result.
async fn unanswered(app: &App, published: &BTreeSet<u64>) -> Result<usize, BoxError> {
    let mut bad = 0;
    for &number in published {
        let result = app.result::<u64>(id(number));
        let answered = result.state().await? == TaskState::Success && result.info().await?.decode::<u64>()? == number;
        bad += usize::from(!answered);
    }
    Ok(bad)
}

/// Starts workers, then kills and replaces one of them after the other; the workers that run in the end.
async fn kill_workers(folder: &Path, kills: usize) -> Result<Vec<Role>, BoxError> {
    let folder = folder.display().to_string();
    let start = || Role::start(&["worker", &folder]);
    let mut workers = std::iter::repeat_with(start).take(WORKERS).collect::<Result<Vec<_>, _>>()?;
    for kill in 0..kills {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..300))).await;
        let victim = &mut workers[kill % WORKERS];
        victim.kill()?;
        *victim = start()?;
    }
    Ok(workers)
}

/// Waits until everything was executed or nothing runs any more; how often each number was executed.
async fn wait_until_done(
    log: &Path,
    published: &BTreeSet<u64>,
) -> Result<std::collections::BTreeMap<u64, usize>, BoxError> {
    let (mut executed, mut idle) = (number_log::read(log)?, Duration::ZERO);
    let step = Duration::from_millis(200);
    while idle < PATIENCE && published.iter().any(|number| !executed.contains_key(number)) {
        tokio::time::sleep(step).await;
        let now = number_log::read(log)?;
        idle = if now == executed { idle + step } else { Duration::ZERO };
        executed = now;
    }
    // A last repetition may still come: of a worker that was killed after it recorded a number and before it
    // acknowledged.
    tokio::time::sleep(LEASE * 3).await;
    Ok(number_log::read(log)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Verdict = Verdict {
        kills: 1,
        published: 2,
        lost: 0,
        repeated: 1,
        strangers: 0,
        unanswered: 0,
        leftover: 0,
        intact: true,
    };

    #[test]
    fn only_repetition_is_allowed() {
        assert!(GOOD.is_good());
        assert!(!Verdict { lost: 1, ..GOOD }.is_good());
        assert!(!Verdict { strangers: 1, ..GOOD }.is_good());
        assert!(!Verdict { unanswered: 1, ..GOOD }.is_good());
        assert!(!Verdict { leftover: 1, ..GOOD }.is_good());
        assert!(!Verdict { intact: false, ..GOOD }.is_good());
        assert!(!Verdict { published: 0, ..GOOD }.is_good());
    }
}
