//! The task of the fault tests without kills, and the worker that runs it in its own process.

use std::path::PathBuf;
use std::time::Duration;

use apium::driver::Clock;
use apium::prelude::*;
use apium_sqlite::faults;

use crate::child::{Role, stdin_closed};
use crate::faults::kit::run_log::{RunLog, log_to, record_run};
use crate::faults::kit::tasks::{stalls_of, watch_for_stalls};
use crate::torture::store::Site;

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

/// The body of a chord of [`text()`]: records its number, and returns how many bytes there are.
#[task(name = "torture.collect", acks_late)]
pub async fn collect(parts: Vec<String>, number: u64) -> TaskResult<usize> {
    record_run(number)?;
    Ok(parts.iter().map(String::len).sum())
}

/// A step after [`text()`] in a chain: records its number, and returns how many bytes there are.
#[task(name = "torture.measure", acks_late)]
pub async fn measure(part: String, number: u64) -> TaskResult<usize> {
    record_run(number)?;
    Ok(part.len())
}

/// The id of a task.
pub fn id(number: u64) -> String {
    format!("torture-{number}")
}

/// Where the runs are recorded.
pub fn log(site: &Site) -> Result<RunLog, BoxError> {
    Ok(RunLog::open(&site.folder.join("runs"))?)
}

/// The file that exists while the worker of this name is healthy.
pub fn ready_file(site: &Site, name: &str) -> PathBuf {
    site.folder.join(format!("ready-{name}"))
}

/// Starts worker processes. With `steps` each of them sets its clock again and again.
pub fn start_workers(site: &Site, count: usize, steps: bool) -> Result<Vec<Role>, BoxError> {
    let folder = site.folder.display().to_string();
    let steps = if steps { "steps" } else { "steady" };
    let start = |n: usize| Role::start(&["steady-worker", &folder, &site.address, &n.to_string(), steps]);
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

/// Runs a worker until standard input closes, with the arguments that [`start_workers`] gave it.
pub async fn role(args: &[&str]) -> Result<(), BoxError> {
    let [folder, address, name, steps] = args else {
        return Err("read the arguments of a worker: it takes four".into());
    };
    let (site, steps) = (Site::new(folder.as_ref(), *address), *steps == "steps");
    log_to(&site.folder.join("runs"))?;
    faults::look_for_them();
    let clock = if steps { Clock::stepping() } else { Clock::system() };
    let stalls = RunLog::open(&stalls_of(&site.folder.join("runs")))?;
    let app = site.app().clock(clock.clone()).build().await?;
    let stop = async {
        tokio::select! {
            () = stdin_closed() => {}
            () = set_again_and_again(&clock), if steps => {}
            () = watch_for_stalls(&stalls) => {}
        }
    };
    let worker = app.worker().hostname(format!("{name}@torture")).concurrency(SLOTS);
    worker.ready_file(ready_file(&site, name)).run_until(stop).await?;
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
