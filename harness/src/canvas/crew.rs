//! The workers of the chords, each in its own process, and the app that they share with the caller.

use std::path::{Path, PathBuf};
use std::time::Duration;

use apium::prelude::*;
use apium_transport::crash_points;

use crate::child::{Role, stdin_closed};
use crate::faults::kit::run_log::log_to;
use crate::faults::kit::tasks::Around;
use crate::report;

/// How many tasks a worker runs at a time.
const SLOTS: usize = 8;

/// `worker_lease`: how long a dead worker's messages stay reserved for it.
const LEASE: Duration = Duration::from_secs(1);

/// The lease of workers that are not killed. When the machine stalls for a second, their messages must not run twice.
const LONG_LEASE: Duration = Duration::from_secs(60);

/// The addresses of messages and results.
#[derive(Debug, Clone)]
pub struct Stores {
    /// The broker.
    pub broker: String,
    /// The result backend.
    pub backend: String,
}

impl Stores {
    /// An app on them whose workers have this lease.
    pub async fn app(&self, lease: Duration) -> Result<App, BoxError> {
        let app = App::builder("canvas").broker(&*self.broker).backend(&*self.backend);
        // No message is dead-lettered, however often its worker dies.
        Ok(app.setting("worker_lease", lease).setting("worker_max_crashes", 1_000_000).build().await?)
    }

    /// The app of the caller.
    pub async fn caller(&self) -> Result<App, BoxError> {
        self.app(LONG_LEASE).await
    }
}

/// Where a worker dies: at a crash point, when it reaches it for the `times`-th time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// The crash point.
    pub point: &'static str,
    /// At which visit.
    pub times: u32,
}

/// Starts workers.
#[derive(Debug, Clone)]
pub struct Crew {
    stores: Stores,
    log: PathBuf,
}

impl Crew {
    /// Of workers on these stores, whose tasks record their runs in `log`.
    pub fn new(stores: &Stores, log: &Path) -> Self {
        Self { stores: stores.clone(), log: log.to_owned() }
    }

    /// Starts a worker of these queues, divided by commas.
    pub fn start(&self, queues: &str) -> Result<Role, BoxError> {
        self.spawn(queues, LEASE, None)
    }

    /// Starts a worker that is not killed.
    pub fn protected(&self, queues: &str) -> Result<Role, BoxError> {
        self.spawn(queues, LONG_LEASE, None)
    }

    /// Starts a worker that dies at a crash point.
    pub fn armed(&self, queues: &str, crash: Crash) -> Result<Role, BoxError> {
        self.spawn(queues, LEASE, Some(crash))
    }

    fn spawn(&self, queues: &str, lease: Duration, crash: Option<Crash>) -> Result<Role, BoxError> {
        let (lease, log) = (lease.as_millis().to_string(), self.log.display().to_string());
        let Crash { point, times } = crash.unwrap_or(Crash { point: "", times: 1 });
        let times = times.to_string();
        Ok(Role::start(&["worker", &self.stores.broker, &self.stores.backend, queues, &lease, &log, point, &times])?)
    }
}

/// Runs a worker with the arguments that [`Crew`] gave it.
pub async fn role(args: &[&str]) -> Result<(), BoxError> {
    let [broker, backend, queues, lease, log, point, times] = args else {
        return Err("read the arguments of a worker: it takes seven".into());
    };
    log_to(Path::new(log))?;
    if !point.is_empty() {
        crash_points::arm(point, times.parse()?);
    }
    let stores = Stores { broker: (*broker).to_owned(), backend: (*backend).to_owned() };
    let app = stores.app(Duration::from_millis(lease.parse()?)).await?;
    report::line("up");
    let worker = app.worker().concurrency(SLOTS).layer(Around).queues(queues.split(','));
    worker.run_until(stdin_closed()).await?;
    Ok(app.close().await?)
}
