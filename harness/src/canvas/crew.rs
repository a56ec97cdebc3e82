//! Workers of chords in processes of their own, and the app that they and the caller share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use apium::prelude::*;
use apium_transport::crash_points;

use crate::child::{Role, told_to_end};
use crate::faults::run_log::log_to;
use crate::faults::tasks::Around;
use crate::report;

/// How many tasks a worker runs at a time.
const SLOTS: usize = 8;

/// How long a dead worker's messages stay reserved for it.
const LEASE: Duration = Duration::from_secs(1);

/// The lease of workers that nobody kills: a machine that stalls for a second must not look like a second body.
const LONG_LEASE: Duration = Duration::from_secs(60);

/// Where messages and results are.
#[derive(Debug, Clone)]
pub struct Stores {
    /// The broker's address.
    pub broker: String,
    /// The result backend's.
    pub backend: String,
}

impl Stores {
    /// The app on them.
    pub async fn app(&self, lease: Duration) -> Result<App, BoxError> {
        let app = App::builder("canvas").broker(&*self.broker).backend(&*self.backend);
        // Nothing is put aside however often its worker dies.
        Ok(app.setting("worker_lease", lease).setting("worker_max_crashes", 1_000_000).build().await?)
    }

    /// The caller's.
    pub async fn caller(&self) -> Result<App, BoxError> {
        self.app(LONG_LEASE).await
    }
}

/// Where a worker dies: at a place, when it comes there for so many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// The place.
    pub place: &'static str,
    /// At which time.
    pub times: u32,
}

/// How to start workers.
#[derive(Debug, Clone)]
pub struct Crew {
    stores: Stores,
    log: PathBuf,
}

impl Crew {
    /// Workers on these stores.
    pub fn new(stores: &Stores, log: &Path) -> Self {
        Self { stores: stores.clone(), log: log.to_owned() }
    }

    /// One for queues, divided by commas.
    pub fn start(&self, queues: &str) -> Result<Role, BoxError> {
        self.spawn(queues, LEASE, None)
    }

    /// One that nobody kills.
    pub fn keeper(&self, queues: &str) -> Result<Role, BoxError> {
        self.spawn(queues, LONG_LEASE, None)
    }

    /// One that is to die, once it runs.
    pub fn armed(&self, queues: &str, fate: Fate) -> Result<Role, BoxError> {
        self.spawn(queues, LEASE, Some(fate))
    }

    fn spawn(&self, queues: &str, lease: Duration, fate: Option<Fate>) -> Result<Role, BoxError> {
        let (lease, log) = (lease.as_millis().to_string(), self.log.display().to_string());
        let Fate { place, times } = fate.unwrap_or(Fate { place: "", times: 1 });
        let times = times.to_string();
        Ok(Role::start(&["work", &self.stores.broker, &self.stores.backend, queues, &lease, &log, place, &times])?)
    }
}

/// The role of a worker, by the arguments of [`Crew`].
pub async fn role(args: &[&str]) -> Result<(), BoxError> {
    let [broker, backend, queues, lease, log, place, times] = args else {
        return Err("read the arguments of a worker: there are seven".into());
    };
    log_to(Path::new(log))?;
    if !place.is_empty() {
        crash_points::arm(place, times.parse()?);
    }
    let stores = Stores { broker: (*broker).to_owned(), backend: (*backend).to_owned() };
    let app = stores.app(Duration::from_millis(lease.parse()?)).await?;
    report::line("up");
    let worker = app.worker().concurrency(SLOTS).layer(Around).queues(queues.split(','));
    worker.run_until(told_to_end()).await?;
    Ok(app.close().await?)
}
