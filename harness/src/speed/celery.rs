//! Celery itself: its workers and its callers, on the programs in `harness/celery`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use apium::prelude::BoxError;
use apium_peers::guarded::Guarded;
use apium_peers::python::Python;
use serde_json::Value;

use crate::process;
use crate::speed::load::backend_of;
use crate::speed::tally::Tally;
use crate::speed::worker::Events;

/// How long a worker may take until it executes its first task.
pub const START: Duration = Duration::from_secs(40);

/// How long a caller may run.
const CALLER: Duration = Duration::from_secs(120);

/// A way to run a worker.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    /// Its name in the figures.
    pub name: &'static str,
    args: &'static [&'static str],
}

/// Processes, as many as the machine has cores.
pub const PREFORK: Pool = Pool { name: "prefork", args: &["-P", "prefork"] };

/// Two processes.
pub const PREFORK_2: Pool = Pool { name: "prefork", args: &["-P", "prefork", "-c", "2"] };

/// Eight processes.
pub const PREFORK_8: Pool = Pool { name: "prefork", args: &["-P", "prefork", "-c", "8"] };

/// Threads of one process.
pub const THREADS: Pool = Pool { name: "threads", args: &["-P", "threads", "-c", "10"] };

/// One task after the other, in the main process.
pub const SOLO: Pool = Pool { name: "solo", args: &["-P", "solo"] };

/// A running worker.
#[derive(Debug)]
pub struct CeleryWorker {
    process: Guarded,
    tally: Tally,
}

impl CeleryWorker {
    /// Starts a worker whose tasks have numbers below `numbers`.
    pub fn start(pool: Pool, address: &str, results: bool, numbers: u64) -> Result<Self, BoxError> {
        Self::start_with(pool, address, results, numbers, Events::Off)
    }

    /// The same, with these events.
    pub fn start_with(
        pool: Pool,
        address: &str,
        results: bool,
        numbers: u64,
        events: Events,
    ) -> Result<Self, BoxError> {
        let tally = Tally::new()?;
        let args = ["-m", "celery", "-A", "app", "worker", "-l", "ERROR", "-n", "bench@%h"];
        let of_tasks = (events != Events::Off).then_some("-E");
        let args = args.into_iter().chain(pool.args.iter().copied()).chain(of_tasks);
        let mut command = command(args, address, results);
        if events == Events::WithSent {
            command.env("BENCH_SENT_EVENTS", "1");
        }
        command.env("BENCH_TALLY", tally.folder()).env("BENCH_NUMBERS", numbers.to_string());
        Ok(Self { process: Guarded::start(&command, None)?, tally })
    }

    /// The counts of its tasks.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Memory of all its processes (PSS), in megabytes.
    pub fn memory(&self) -> Result<f64, BoxError> {
        Ok(process::tree(self.process.pid())?.into_iter().map(process::memory).sum::<Result<f64, _>>()?)
    }

    /// Processor time of all its processes so far.
    pub fn processor(&self) -> Result<Duration, BoxError> {
        Ok(process::tree(self.process.pid())?.into_iter().map(process::processor).sum::<Result<Duration, _>>()?)
    }

    /// Tells it to stop and waits. Then it has settled everything that it ran.
    pub fn stop(mut self) -> Result<(), BoxError> {
        self.process.signal("TERM");
        match self.process.wait(Duration::from_secs(30)) {
            Some(_) => Ok(()),
            None => Err(format!("stop Celery's worker; it printed:\n{}", self.process.log().text()).into()),
        }
    }
}

/// Runs a caller to its end and returns what it printed.
pub fn call(measure: &str, calls: u64, address: &str, results: bool) -> Result<Value, BoxError> {
    printed(command(["client.py", measure, &calls.to_string()], address, results))
}

/// The same on RabbitMQ, with calls that wait until the server has confirmed their message.
pub fn call_confirmed(measure: &str, calls: u64, address: &str, results: bool) -> Result<Value, BoxError> {
    let mut command = command(["client.py", measure, &calls.to_string()], address, results);
    command.env("BENCH_CONFIRMS", "1");
    printed(command)
}

fn printed(command: Command) -> Result<Value, BoxError> {
    let mut caller = Guarded::start(&command, None)?;
    let status = caller.wait(CALLER);
    let output = caller.log().text();
    match output.lines().last() {
        Some(line) if status.is_some_and(|status| status.success()) => Ok(serde_json::from_str(line)?),
        _ => Err(format!("run Celery's caller: it ended with {status:?} and printed:\n{output}").into()),
    }
}

fn command<'a>(args: impl IntoIterator<Item = &'a str>, address: &str, results: bool) -> Command {
    let mut env = vec![("BENCH_BROKER", address)];
    if results {
        env.push(("BENCH_BACKEND", backend_of(address)));
    }
    let mut command = Python::find().command(args, &env);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("celery"));
    command
}
