//! The task of the fault tests without kills, and the worker that runs it in its own process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use apium::driver::Clock;
use apium::prelude::*;
use apium_sqlite::faults;

use crate::child::{Role, stdin_closed};
use crate::faults::kit::run_log::{RunLog, log_to, record_run};
use crate::torture::store::app;

/// How far the clock of a worker is set forward or back.
const STEP: Duration = Duration::from_secs(3600);

/// How many tasks a worker runs at once.
pub const SLOTS: usize = 4;

/// How much longer than it takes a task may take: longer than the machine holds it up, and not as long as a process is
/// stopped.
const MARGIN: Duration = Duration::from_millis(2500);

const STEPS: u64 = 10;

/// Takes so many milliseconds, records its number, and returns a text of so many bytes.
#[task(name = "torture.text", acks_late)]
pub async fn text(number: u64, millis: u64, bytes: usize) -> TaskResult<String> {
    // In steps: one sleep would be over at the end of a stop, and with it the run.
    for _ in 0..STEPS {
        tokio::time::sleep(Duration::from_millis(millis / STEPS)).await;
    }
    record_run(number)?;
    Ok("x".repeat(bytes))
}

/// The id of a task.
pub fn id(number: u64) -> String {
    format!("torture-{number}")
}

/// Where the runs are recorded.
pub fn log(folder: &Path) -> Result<RunLog, BoxError> {
    Ok(RunLog::open(&folder.join("runs"))?)
}

/// The file that exists while the worker of this name is healthy.
pub fn ready_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("ready-{name}"))
}

/// Starts worker processes on the database in a folder. With `steps` each of them sets its clock again and again.
pub fn start_workers(folder: &Path, count: usize, steps: bool) -> Result<Vec<Role>, BoxError> {
    let shown = folder.display().to_string();
    let steps = if steps { "steps" } else { "steady" };
    let start = |n: usize| Role::start(&["steady-worker", &shown, &n.to_string(), steps]);
    Ok((0..count).map(start).collect::<Result<_, _>>()?)
}

/// Stops workers in order; an error when one of them failed.
pub fn stop_workers(workers: Vec<Role>) -> Result<(), BoxError> {
    for worker in workers {
        if !worker.stop()? {
            return Err("a worker failed".into());
        }
    }
    Ok(())
}

/// Runs a worker until standard input closes.
pub async fn run_worker(folder: &Path, name: &str, steps: bool) -> Result<(), BoxError> {
    log_to(&folder.join("runs"))?;
    faults::look_for_them();
    let clock = if steps { Clock::stepping() } else { Clock::system() };
    let app = app(folder).clock(clock.clone()).build().await?;
    let stop = async {
        tokio::select! {
            () = stdin_closed() => {}
            () = set_again_and_again(&clock), if steps => {}
        }
    };
    let worker = app.worker().hostname(format!("{name}@torture")).concurrency(SLOTS);
    worker.ready_file(ready_file(folder, name)).run_until(stop).await?;
    Ok(app.close().await?)
}

/// Sets the clock forward, back and to the present, for ever.
async fn set_again_and_again(clock: &Clock) {
    let machine = Clock::system();
    loop {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..200))).await;
        let now = machine.now();
        let set = match fastrand::u8(0..3) {
            0 => now.saturating_add(STEP),
            1 => now.saturating_sub(STEP),
            _ => Ok(now),
        };
        clock.set(set.unwrap_or(now));
    }
}

/// Sends tasks of these numbers that take so long and return so much. They have a time limit, which passes only when
/// the time in which nothing ran counts.
pub async fn send(app: &App, numbers: std::ops::Range<u64>, millis: u64, bytes: usize) -> Result<(), BoxError> {
    let limit = Duration::from_millis(millis) + MARGIN;
    let calls = numbers.map(|number| text::s(number, millis, bytes).task_id(id(number)).time_limit(limit));
    Batch::of(calls).send_all(app).await?;
    Ok(())
}

/// Whether every task of these numbers has ended with SUCCESS.
pub async fn all_succeeded(app: &App, numbers: std::ops::Range<u64>) -> Result<bool, BoxError> {
    for number in numbers {
        if app.result::<String>(id(number)).state().await? != TaskState::Success {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The numbers that ran more than once.
pub fn repeated(log: &RunLog) -> Result<Vec<u64>, BoxError> {
    let runs = log.by_number()?;
    Ok(runs.into_iter().filter(|(_, runs)| runs.len() > 1).map(|(number, _)| number).collect())
}
