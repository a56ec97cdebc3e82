//! `app.worker()`: what a worker may be told, with the settings as defaults.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::config::prefetch::PrefetchMultiplier;
use apium_app::error::Result;

use crate::backends::Backends;
use crate::handle::WorkerHandle;
use crate::health::probes::ProbeOptions;
use crate::launch::{AppParts, WorkerOptions, launch};
use crate::layer::WorkLayer;
use crate::node_name;
use crate::pool::kind::PoolKind;
use crate::shutdown::shutdown::{Signals, StopKind, StopReport, listen};

/// Gives apps their workers.
pub trait AppWorker: sealed::Sealed {
    /// A worker of this app, to be told more and started.
    fn worker(&self) -> WorkerBuilder;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for apium_app::app::app::App {}
}

impl AppWorker for App {
    fn worker(&self) -> WorkerBuilder {
        WorkerBuilder {
            app: self.clone(),
            queues: None,
            concurrency: None,
            multiplier: None,
            hostname: None,
            pool: None,
            layers: Vec::new(),
            soft_stop: None,
            probes: ProbeOptions::default(),
        }
    }
}

/// A worker that has not started. What it is not told it takes from the settings.
#[must_use = "nothing happens until it is started or run"]
pub struct WorkerBuilder {
    app: App,
    queues: Option<Vec<String>>,
    concurrency: Option<usize>,
    multiplier: Option<PrefetchMultiplier>,
    hostname: Option<String>,
    pool: Option<PoolKind>,
    layers: Vec<Arc<dyn WorkLayer>>,
    soft_stop: Option<Duration>,
    probes: ProbeOptions,
}

impl WorkerBuilder {
    /// The queues to consume (Celery: `-Q`); by default those of `task_queues`, or the default queue.
    pub fn queues<Q: Into<String>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        self.queues = Some(queues.into_iter().map(Into::into).collect());
        self
    }

    /// How many tasks run at once (Celery: `-c`, `worker_concurrency`; by default the number of processors).
    pub fn concurrency(mut self, slots: usize) -> Self {
        self.concurrency = Some(slots.max(1));
        self
    }

    /// How many messages are fetched ahead for each slot (`worker_prefetch_multiplier`, 4); 0 is without limit.
    pub fn prefetch_multiplier(mut self, multiplier: usize) -> Self {
        self.multiplier = Some(PrefetchMultiplier::Fixed(u32::try_from(multiplier).unwrap_or(u32::MAX)));
        self
    }

    /// Fetches the messages of about 50 ms ahead of the slots, by the measured rate at which runs end, instead of a number for
    /// each slot (`worker_prefetch_multiplier = "auto"`): short tasks travel in large batches, at most 4096, and of long ones
    /// none waits here for a slot. Celery has nothing like it.
    pub fn prefetch_auto(mut self) -> Self {
        self.multiplier = Some(PrefetchMultiplier::Auto);
        self
    }

    /// The node name (Celery: `-n`; `celery@%h`). `%h` is the host, `%n` its first label, `%d` its domain.
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.hostname = Some(name.into());
        self
    }

    /// Where tasks run (Celery: `-P`, `worker_pool`).
    pub fn pool(mut self, pool: PoolKind) -> Self {
        self.pool = Some(pool);
        self
    }

    /// A layer around every execution; the first one given is the outermost.
    pub fn layer(mut self, layer: impl WorkLayer) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// How long a cold stop lets runs go on before it gives them up (Celery: `worker_soft_shutdown_timeout`, 0).
    pub fn soft_shutdown_timeout(mut self, span: Duration) -> Self {
        self.soft_stop = Some(span);
        self
    }

    /// A file that is there while the worker is connected and fetches (`worker_ready_file`), for a readiness probe.
    pub fn ready_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.probes.ready_file = Some(file.into());
        self
    }

    /// Answers `GET /ready` and `GET /live` over HTTP (`worker_health_listen`). With port 0 the handle tells which one it is.
    pub fn health_listen(mut self, address: SocketAddr) -> Self {
        self.probes.listen = Some(address);
        self
    }

    /// Starts the worker in the background of this runtime. It consumes when this returns.
    ///
    /// # Errors
    /// Missing state, a soft limit that cannot work, a queue that does not exist, a broker that refuses, a ready file or address for
    /// probes that cannot be had. A broker that cannot be
    /// reached is waited for. Cancelling it starts nothing.
    pub async fn start(self) -> Result<WorkerHandle> {
        let config = self.app.config().clone();
        let processors = || std::thread::available_parallelism().map_or(2, usize::from);
        let options = WorkerOptions {
            node: node_name::expand(self.hostname.as_deref().unwrap_or("celery@%h"), &node_name::host()).into(),
            queues: self.queues.unwrap_or_else(|| config.queue_names()),
            pool: self.pool.map_or_else(|| config.worker_pool.parse(), Ok)?,
            concurrency: self.concurrency.or(config.worker_concurrency).unwrap_or_else(processors),
            multiplier: self.multiplier.unwrap_or(config.worker_prefetch_multiplier),
            layers: self.layers,
            soft_stop: self.soft_stop.unwrap_or(config.worker_soft_shutdown_timeout),
            probes: ProbeOptions {
                ready_file: self.probes.ready_file.or_else(|| config.worker_ready_file.as_ref().map(PathBuf::from)),
                listen: self.probes.listen.or(config.worker_health_listen),
            },
            watched: true,
            buckets: HashMap::new(),
        };
        let node = options.node.clone();
        let running = launch(parts(&self.app), options).await?;
        Ok(WorkerHandle::new(node, running))
    }

    /// Runs the worker until `stop` is there, then stops it warm.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<StopReport> {
        let mut stop = std::pin::pin!(stop);
        let handle = self.start().await?;
        tokio::select! {
            () = &mut stop => handle.request_stop(StopKind::Warm),
            () = handle.stopping() => {}
        }
        Ok(handle.stopped().await)
    }

    /// Runs the worker until the process's signals stop it: SIGTERM or ctrl-c warm, SIGQUIT or a second ctrl-c cold, one more at
    /// once.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn run(self) -> Result<StopReport> {
        // Before it starts: who sees it ready may stop it at once.
        let mut signals = Signals::catch();
        let handle = tokio::select! {
            biased;
            cause = signals.next() => return Ok(StopReport::before_start(cause)),
            started = self.start() => started?,
        };
        let switch = handle.switch();
        tokio::select! {
            report = handle.stopped() => Ok(report),
            () = listen(signals, switch) => std::future::pending().await,
        }
    }
}

/// What a worker takes from its app.
pub(crate) fn parts(app: &App) -> AppParts {
    let own = |task: &Arc<apium_app::task::registered::RegisteredTask>| {
        task.options.backend.as_ref()?;
        Some((task.name.clone(), app.backend_for(task)?.clone()))
    };
    AppParts {
        publisher: app.publisher().clone(),
        registry: app.registry().clone(),
        states: app.states().clone(),
        codecs: app.codecs().clone(),
        accept: app.accept().clone(),
        backends: Arc::new(Backends::new(
            app.backend().cloned(),
            app.registry().iter().filter_map(own).collect::<HashMap<_, _>>(),
        )),
    }
}
