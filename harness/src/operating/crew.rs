//! The workers of these tests: each in its own process, or, on memory, which lives and dies with its process, each in
//! a runtime of its own.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use apium::prelude::*;
use apium::worker::{StopKind, StopReport, WorkerBuilder};
use apium_peers::python::programs;
use tokio::sync::oneshot;

use crate::child::{Role, stdin_closed};
use crate::faults::kit::run_log::RunLog;
use crate::faults::kit::tasks::{QUEUE, stalls_of, watch_for_stalls};
use crate::operating::server::Server;
use crate::processes::worker::{Bodies, ProcessWorker, command};
use crate::torture::store::{Site, leftover, wait_until};

/// How long a worker may take until it is ready, or until it has stopped.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts workers on one store.
#[derive(Debug)]
pub struct Crew {
    /// Where they run.
    pub site: Site,
    /// The app of the caller.
    pub app: App,
    /// Where their tasks record runs.
    pub log: Arc<RunLog>,
    /// The server of the broker, if it has one.
    pub server: Option<Arc<dyn Server>>,
    inside: bool,
    /// Whether their tasks run in child processes, and in which language.
    bodies: Option<Bodies>,
    started: AtomicU64,
}

/// What differs between workers.
#[derive(Debug, Clone, Copy)]
pub struct Post {
    /// Tasks that run at a time.
    pub slots: usize,
    /// `worker_prefetch_multiplier`.
    pub multiplier: usize,
    /// Whether it sends events of tasks (`-E`).
    pub events: bool,
    /// Whether its process records when the machine did not run it. It wakes for that, so an idle one does not.
    pub stalls: bool,
}

impl Post {
    /// Four slots, and Celery's prefetch.
    pub const USUAL: Self = Self { slots: 4, multiplier: 4, events: false, stalls: false };
    /// The same, where a machine that stood still explains what is seen.
    pub const WATCHED: Self = Self { stalls: true, ..Self::USUAL };

    fn hire(self, app: &App) -> WorkerBuilder {
        let worker = app.worker().concurrency(self.slots).prefetch_multiplier(self.multiplier);
        if self.events { worker.task_events(true) } else { worker }
    }
}

/// A worker.
#[derive(Debug)]
pub enum Worker {
    /// In a process.
    Process(Role),
    /// In a runtime of this process.
    Runtime(RuntimeWorker),
    /// In a process, with its tasks in children of that.
    Children(ProcessWorker),
}

impl Crew {
    /// Of workers on `site`, whose broker is at `server` if it needs one.
    pub async fn new(site: Site, server: Option<Arc<dyn Server>>) -> Result<Self, BoxError> {
        let log = Arc::new(RunLog::open(&site.folder.join("runs"))?);
        let app = site.app().state(log.clone()).build().await?;
        let inside = site.address.starts_with("memory:");
        Ok(Self { site, app, log, server, inside, bodies: None, started: AtomicU64::new(0) })
    }

    /// The same, with tasks that run in child processes.
    #[must_use]
    pub fn with_bodies(mut self, bodies: Bodies) -> Self {
        self.bodies = Some(bodies);
        self
    }

    /// Starts a worker, and does not wait until it is ready.
    pub fn start(&self, post: Post) -> Result<Worker, BoxError> {
        let name = self.started.fetch_add(1, Ordering::Relaxed).to_string();
        self.start_named(&name, post)
    }

    /// Starts a worker and waits until it is ready.
    pub async fn start_ready(&self, post: Post) -> Result<Worker, BoxError> {
        let name = self.started.fetch_add(1, Ordering::Relaxed).to_string();
        let worker = self.start_named(&name, post)?;
        let file = ready_file(&self.site.folder, &name);
        match wait_until(PATIENCE, async || Ok(file.exists())).await? {
            true => Ok(worker),
            false => Err(format!("start a worker: it is not ready after {PATIENCE:?}").into()),
        }
    }

    fn start_named(&self, name: &str, post: Post) -> Result<Worker, BoxError> {
        if self.inside {
            let worker = post.hire(&self.app).hostname(format!("{name}@operating"));
            return Ok(Worker::Runtime(RuntimeWorker::start(worker.ready_file(ready_file(&self.site.folder, name)))?));
        }
        let (folder, Post { slots, multiplier, events, stalls }) = (self.site.folder.display().to_string(), post);
        let (slots, multiplier) = (slots.to_string(), multiplier.to_string());
        let Site { address, backend, lease, .. } = &self.site;
        if let Some(bodies) = self.bodies {
            let args = ["-c", &slots, "--prefetch-multiplier", &multiplier, "-n", &format!("{name}@operating")];
            let mut command = command(bodies, (&programs(), "operating"), address, &args)?;
            command.env("OPERATING_LOG", self.log.path()).env("APIUM_RESULT_BACKEND", backend);
            command.env("APIUM_WORKER_READY_FILE", ready_file(&self.site.folder, name));
            return Ok(Worker::Children(ProcessWorker::spawn(&command)?));
        }
        let lease = lease.as_millis().to_string();
        let events = if events { "events" } else { "quiet" };
        let stalls = if stalls { "stalls" } else { "runs" };
        let role = ["operating-worker", &folder, address, backend, &lease, name, &slots, &multiplier, events, stalls];
        Ok(Worker::Process(Role::start(&role)?))
    }

    /// How many messages wait in the queues, and are not with a worker.
    pub async fn waiting(&self) -> Result<u64, BoxError> {
        let broker = self.app.broker();
        let queues = broker.queues().ok_or("count: this broker cannot")?;
        match queues.counts() {
            Some(counts) => Ok(counts.stats().await?.iter().map(|queue| queue.ready + queue.delayed).sum()),
            None => Ok(queues.depth(QUEUE).await?),
        }
    }

    /// How many messages are in the queues or in the dead set.
    pub async fn leftover(&self) -> Result<u64, BoxError> {
        match self.server.as_ref().and_then(|server| server.leftover()) {
            Some(counted) => counted,
            None => leftover(&self.app).await,
        }
    }
}

impl Worker {
    /// Kills it as `kill -9` does. In a runtime, everything that it does is dropped where it is.
    pub async fn kill(self) -> Result<(), BoxError> {
        match self {
            Self::Process(mut role) => Ok(role.kill()?),
            Self::Children(mut worker) => {
                worker.kill();
                Ok(())
            }
            Self::Runtime(mut worker) => {
                give(&mut worker.kill);
                worker.end().await.map(drop)
            }
        }
    }

    /// Tells it to stop warm, by SIGTERM where it is a process, and does not wait.
    pub fn terminate(&mut self) -> Result<(), BoxError> {
        match self {
            Self::Process(role) => Ok(role.signal("TERM")?),
            Self::Children(worker) => {
                worker.terminate();
                Ok(())
            }
            Self::Runtime(worker) => {
                give(&mut worker.stop);
                Ok(())
            }
        }
    }

    /// Waits until it has stopped after [`terminate`](Self::terminate); whether it stopped warm and left nothing.
    pub async fn stopped(self) -> Result<bool, BoxError> {
        match self {
            Self::Process(mut role) => {
                let ended = wait_until(PATIENCE, async || Ok(role.has_ended()?)).await?;
                Ok(ended && role.join()?)
            }
            Self::Children(worker) => Ok(worker.stop().is_ok()),
            Self::Runtime(worker) => Ok(is_warm(&worker.end().await?.ok_or("stop a worker: it was killed")?)),
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        match self {
            Self::Process(role) => role.pid(),
            Self::Children(worker) => worker.pid(),
            Self::Runtime(_) => std::process::id(),
        }
    }
}

/// A worker in a runtime of its own. It is killed when dropped.
#[derive(Debug)]
pub struct RuntimeWorker {
    stop: Option<oneshot::Sender<()>>,
    kill: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<Result<Option<StopReport>, String>>,
}

impl RuntimeWorker {
    fn start(worker: WorkerBuilder) -> Result<Self, BoxError> {
        let (stop, stopped) = oneshot::channel();
        let (kill, killed) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let serve = async move {
            tokio::select! {
                report = worker.run_until(async { drop(stopped.await) }) => {
                    report.map(Some).map_err(|error| format!("{error:#}"))
                }
                _ = killed => Ok(None),
            }
        };
        thread::Builder::new().spawn(move || {
            let report = runtime.block_on(serve);
            runtime.shutdown_background();
            // Nobody may wait for it.
            let _ = end.send(report);
        })?;
        Ok(Self { stop: Some(stop), kill: Some(kill), ended })
    }

    /// Waits until it has ended; nothing of one that was killed.
    async fn end(mut self) -> Result<Option<StopReport>, BoxError> {
        let ended = tokio::time::timeout(PATIENCE, &mut self.ended).await;
        Ok(ended.map_err(|_| "stop a worker: it does not end")?.map_err(|_| "stop a worker: its thread panicked")??)
    }
}

/// Gives an order to a worker, which may have ended already.
fn give(order: &mut Option<oneshot::Sender<()>>) {
    let _ = order.take().map(|order| order.send(()));
}

fn is_warm(report: &StopReport) -> bool {
    report.how == StopKind::Warm && (report.unsettled, report.cancelled) == (0, 0)
}

fn ready_file(folder: &Path, name: &str) -> std::path::PathBuf {
    folder.join(format!("ready-{name}"))
}

/// Where the workers on the store of this folder log their warnings.
pub fn log_file(folder: &Path) -> std::path::PathBuf {
    folder.join("warnings")
}

/// Lets this process log its warnings into the file, from now on.
pub fn log_warnings_to(file: &Path) -> Result<(), BoxError> {
    let file = OpenOptions::new().create(true).append(true).open(file)?;
    let log = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::WARN);
    log.with_writer(Mutex::new(file)).try_init()
}

/// Runs a worker until SIGTERM, with the arguments that a [`Crew`] gave it.
pub async fn role(args: &[&str]) -> Result<(), BoxError> {
    let [folder, address, backend, lease, name, slots, multiplier, events, stalls] = args else {
        return Err("read the arguments of a worker: it takes nine".into());
    };
    let folder: &Path = folder.as_ref();
    log_warnings_to(&log_file(folder))?;
    let (events, stalls) = (*events == "events", *stalls == "stalls");
    let post = Post { slots: slots.parse()?, multiplier: multiplier.parse()?, events, stalls };
    let log = Arc::new(RunLog::open(&folder.join("runs"))?);
    let site = Site::new(folder, *address).with_backend(*backend);
    let site = site.with_lease(Duration::from_millis(lease.parse()?));
    let stall_log = RunLog::open(&stalls_of(log.path()))?;
    let app = site.app().state(log).build().await?;
    let worker = post.hire(&app).hostname(format!("{name}@operating")).ready_file(ready_file(folder, name));
    let report = tokio::select! {
        report = worker.run() => report?,
        // The parent has ended.
        () = stdin_closed() => return Ok(()),
        () = watch_for_stalls(&stall_log), if stalls => {
            return Err("record a stall of the machine: the log is closed".into());
        }
    };
    app.close().await?;
    if !is_warm(&report) {
        tracing::error!(?report, "a worker did not stop warm");
    }
    // The runtime would wait for the read of standard input, which goes on.
    std::process::exit(i32::from(!is_warm(&report)))
}
