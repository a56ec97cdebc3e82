//! Workers with child processes: this program, started again. Its children run tasks in Rust, or those of a Celery app.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use apium::prelude::*;
use apium_peers::celery::CeleryWorker;
use apium_peers::guarded::Guarded;
use apium_peers::python::{Python, programs};

use crate::faults::kit::celery;
use crate::faults::kit::run_log::{RunLog, log_to};
use crate::speed::load;
use crate::speed::tally::OwnTally;
use crate::{process, report};

/// How long a worker may take until it is ready.
const START: Duration = Duration::from_secs(60);

/// What a worker's children run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bodies {
    /// Tasks in Rust.
    Rust,
    /// The same tasks of a Celery app, in Python.
    Python,
}

impl Bodies {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Rust, Self::Python];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
        }
    }
}

/// A running worker.
#[derive(Debug)]
pub struct ProcessWorker(Guarded);

/// Runs the worker that this process is to be, if it is to be one. Otherwise runs `measure`.
pub fn worker_or<F>(measure: impl FnOnce(Vec<String>) -> F) -> ExitCode
where
    F: Future<Output = Result<bool, BoxError>>,
{
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "worker") {
        return apium::cli::main(app);
    }
    let runtime = tokio::runtime::Runtime::new().map_err(BoxError::from);
    match runtime.and_then(|runtime| runtime.block_on(measure(args))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::line(&format!("could not {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The app of a worker, and of its children.
async fn app(settings: Settings) -> Result<App, BoxError> {
    let variable = |name: &str| std::env::var_os(name);
    if let Some(log) = variable("FAULTS_LOG") {
        log_to(Path::new(&log))?;
    }
    if let (Some(folder), Ok(numbers)) = (variable("BENCH_TALLY"), std::env::var("BENCH_NUMBERS")) {
        load::tally_into(OwnTally::open(Path::new(&folder), numbers.parse()?)?);
    }
    let mut app = App::builder("processes").config(settings).autodiscover(variable("IN_PYTHON").is_none());
    if let Some(log) = variable("OPERATING_LOG") {
        app = app.state(Arc::new(RunLog::open(Path::new(&log))?));
    }
    Ok(app.build().await?)
}

/// A worker of these bodies that is not started: of the Celery app `celery` in `folder`, or of the tasks in Rust.
pub fn command(bodies: Bodies, (folder, celery): (&Path, &str), url: &str, args: &[&str]) -> Result<Command, BoxError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["worker", "-l", "warning"]).args(args).current_dir(folder);
    command.env("APIUM_BROKER_URL", url).env("APIUM_WORKER_LEASE", "1").env("APIUM_WORKER_MAX_CRASHES", "0");
    // What the Celery apps of the tests read.
    command.env("BROKER_URL", url).env("RESULT_BACKEND", url).env("BENCH_BROKER", url);
    match bodies {
        Bodies::Rust => {
            command.args(["-P", "processes"]);
        }
        Bodies::Python => {
            command.args(["-A", celery, "--python"]).arg(Python::find().program()).env("IN_PYTHON", "1");
        }
    }
    Ok(command)
}

impl ProcessWorker {
    /// Starts it, and does not wait until it is ready.
    pub fn spawn(command: &Command) -> Result<Self, BoxError> {
        Ok(Self(Guarded::start(command, None)?))
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(mut command: Command, folder: &Path) -> Result<Self, BoxError> {
        let ready = folder.join(format!("ready-{}", uuid::Uuid::new_v4()));
        command.env("APIUM_WORKER_READY_FILE", &ready);
        let mut worker = Self::spawn(&command)?;
        let started = Instant::now();
        while !ready.exists() {
            if started.elapsed() > START || worker.0.status().is_some() {
                return Err(format!("start a worker; it printed:\n{}", worker.0.log().text()).into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(worker)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Its children.
    pub fn children(&self) -> Result<Vec<u32>, BoxError> {
        Ok(process::tree(self.pid())?.into_iter().filter(|pid| *pid != self.pid()).collect())
    }

    /// Kills it as `kill -9` does. Its children end by themselves.
    pub fn kill(&mut self) {
        self.0.signal("KILL");
        self.0.wait(Duration::from_secs(10));
    }

    /// Tells it to stop warm, and does not wait.
    pub fn terminate(&mut self) {
        self.0.signal("TERM");
    }

    /// Stops it warm.
    pub fn stop(mut self) -> Result<(), BoxError> {
        self.terminate();
        match self.0.wait(Duration::from_secs(30)) {
            Some(status) if status.success() => Ok(()),
            ended => Err(format!("stop a worker: {ended:?}; it printed:\n{}", self.0.log().text()).into()),
        }
    }
}

/// A worker of Apium with child processes, or Celery's with prefork.
#[derive(Debug)]
pub enum EitherWorker {
    /// Apium's.
    Apium(ProcessWorker),
    /// Celery's.
    Celery(CeleryWorker),
}

impl EitherWorker {
    /// Starts a worker of four slots with these bodies, or Celery's, for the tasks of the fault tests, and waits until
    /// it is ready. Apium's takes a task to the dead set that has killed its child `crashes` times; 0 is never.
    pub async fn start(
        bodies: Option<Bodies>,
        url: &str,
        (folder, log): (&Path, &Path),
        crashes: u32,
    ) -> Result<Self, BoxError> {
        let Some(bodies) = bodies else {
            let worker = celery::worker(url, log, "{}").args(["-P", "prefork", "-c", "4"]);
            return Ok(Self::Celery(worker.start()));
        };
        let mut command = command(bodies, (&programs(), "faults"), url, &["-c", "4"])?;
        command.env("FAULTS_LOG", log).env("APIUM_RESULT_BACKEND", url);
        command.env("APIUM_WORKER_MAX_CRASHES", crashes.to_string());
        Ok(Self::Apium(ProcessWorker::start(command, folder).await?))
    }

    /// Its children.
    pub fn children(&self) -> Result<Vec<u32>, BoxError> {
        match self {
            Self::Apium(worker) => worker.children(),
            Self::Celery(worker) => {
                let own = worker.pid();
                Ok(process::tree(own)?.into_iter().filter(|pid| *pid != own).collect())
            }
        }
    }

    /// Stops Apium's warm. Celery's is killed.
    pub fn stop(self) -> Result<(), BoxError> {
        match self {
            Self::Apium(worker) => worker.stop(),
            Self::Celery(_) => Ok(()),
        }
    }
}
