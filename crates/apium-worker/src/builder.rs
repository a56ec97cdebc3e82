//! `app.worker()`: the options of a worker. Their defaults are the app's settings.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::config::prefetch::PrefetchMultiplier;
use apium_app::error::{Error, ErrorKind, Result};
use apium_app::task::registered::RegisteredTask;
use serde::Serialize;

use crate::backends::Backends;
use crate::control::autoscaler::SlotRange;
use crate::control::call::ControlCall;
use crate::control::own_commands::{OwnCommand, OwnControlCommands};
use crate::control::start::ControlOptions;
use crate::handle::WorkerHandle;
use crate::health::node_name;
use crate::health::probes::ProbeOptions;
use crate::launch::{AppResources, WorkerOptions, launch};
use crate::layer::{WorkLayer, WorkLayers};
use crate::observe::heartbeat::HeartbeatPace;
use crate::observe::services::EventOptions;
use crate::observe::worker_observer::{ObserversOfApp, WorkerObserver};
use crate::pool::kind::PoolKind;
use crate::pool::process::child_program::ChildProgram;
use crate::shutdown::kind::{StopCause, StopKind};
use crate::shutdown::report::StopReport;
use crate::shutdown::signals::{Signals, listen};

/// Adds [`worker`](Self::worker) to [`App`].
pub trait AppWorker: sealed::Sealed {
    /// Makes a worker of this app, which is not started yet. Set its options and start it.
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
            autoscale: None,
            multiplier: None,
            hostname: None,
            pool: None,
            child_program: None,
            foreign_program: None,
            layers: Vec::new(),
            soft_stop: None,
            probes: ProbeOptions::default(),
            remote_control: None,
            mingles: true,
            commands: OwnControlCommands::default(),
            task_events: None,
            pace: HeartbeatPace::default(),
            gossip: true,
            observers: Vec::new(),
        }
    }
}

/// A worker that has not started. An option that is not set here has the value of its setting.
#[must_use = "nothing happens until it is started or run"]
pub struct WorkerBuilder {
    app: App,
    queues: Option<Vec<String>>,
    concurrency: Option<usize>,
    autoscale: Option<(usize, usize)>,
    multiplier: Option<PrefetchMultiplier>,
    hostname: Option<String>,
    pool: Option<PoolKind>,
    child_program: Option<ChildProgram>,
    foreign_program: Option<ChildProgram>,
    layers: Vec<Arc<dyn WorkLayer>>,
    soft_stop: Option<Duration>,
    probes: ProbeOptions,
    remote_control: Option<bool>,
    mingles: bool,
    commands: OwnControlCommands,
    task_events: Option<bool>,
    pace: HeartbeatPace,
    gossip: bool,
    observers: Vec<Arc<dyn WorkerObserver>>,
}

impl WorkerBuilder {
    /// The queues to consume (Celery: `-Q`). The default is those of `task_queues`, or else the default queue.
    pub fn queues<Q: Into<String>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        self.queues = Some(queues.into_iter().map(Into::into).collect());
        self
    }

    /// How many tasks run at once, 1 at least (Celery: `-c`, `worker_concurrency`). The default is the number of
    /// processors; for an app whose tasks are all `async fn` it is 64 at least.
    pub fn concurrency(mut self, slots: usize) -> Self {
        self.concurrency = Some(slots.max(1));
        self
    }

    /// Lets the worker change itself how many tasks run at once, between these bounds (Celery: `--autoscale MAX,MIN`).
    /// It starts with the least number. While all slots are busy, their number doubles each second, and what waits in
    /// the worker gets slots at once; slots that were not needed for 30 s end. `min` counts as 1 at least, and
    /// [`concurrency`](Self::concurrency) has no effect.
    pub fn autoscale(mut self, max: usize, min: usize) -> Self {
        self.autoscale = Some((max, min));
        self
    }

    /// How many messages may be in flight for each slot (Celery: `worker_prefetch_multiplier`, there 4 by default).
    /// 0 is no limit. The default is [`prefetch_auto`](Self::prefetch_auto).
    pub fn prefetch_multiplier(mut self, multiplier: usize) -> Self {
        self.multiplier = Some(PrefetchMultiplier::Fixed(u32::try_from(multiplier).unwrap_or(u32::MAX)));
        self
    }

    /// Fetches ahead what the slots can run in about 50 ms, by the measured rate at which runs end, instead of a fixed
    /// number of messages for each slot (`worker_prefetch_multiplier = "auto"`, the default). At most 4096 messages are
    /// fetched, or one for each slot if there are more slots. Messages of long tasks stay in the queue, for other
    /// workers, until a slot is free; and what waits here for longer than 0.2 s since runs have become longer goes back
    /// to its queue. Celery has nothing like it.
    pub fn prefetch_auto(mut self) -> Self {
        self.multiplier = Some(PrefetchMultiplier::Auto);
        self
    }

    /// The node name (Celery: `-n`, default `celery@%h`). `%h` stands for the host, `%n` for its first label, `%d` for
    /// its domain. Workers should have different names, since listings show them by name.
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.hostname = Some(name.into());
        self
    }

    /// Where the bodies of tasks run (Celery: `-P`, `worker_pool`).
    pub fn pool(mut self, pool: PoolKind) -> Self {
        self.pool = Some(pool);
        self
    }

    /// How child processes are started, for the pool of processes and for tasks with `isolation = "process"`. The
    /// worker of the command line has it.
    pub fn child_program(mut self, program: ChildProgram) -> Self {
        self.child_program = Some(program);
        self
    }

    /// How child processes with the bodies of foreign tasks are started.
    #[doc(hidden)]
    pub fn foreign_program(mut self, program: ChildProgram) -> Self {
        self.foreign_program = Some(program);
        self
    }

    /// Adds a layer around every run of this worker, inside those that were added before and inside those of the app
    /// ([`AppWorkLayers::work_layer`](crate::layer::AppWorkLayers::work_layer)).
    pub fn layer(mut self, layer: impl WorkLayer) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// Whether it does what remote commands ask (`worker_enable_remote_control`, on by default): `inspect`, `control`,
    /// and revokes that are sent while it runs. Revokes that were sent before are honoured in any case.
    pub fn remote_control(mut self, yes: bool) -> Self {
        self.remote_control = Some(yes);
        self
    }

    /// Whether it greets the other workers when it starts, and learns from those of Celery which tasks are revoked (on
    /// by default; Celery: off with `--without-mingle`). It does not wait for their answers.
    pub fn mingle(mut self, yes: bool) -> Self {
        self.mingles = yes;
        self
    }

    /// Adds a command for remote control to this worker, beside those of its app
    /// ([`AppControlCommands::control_command`](crate::control::call::AppControlCommands::control_command)).
    pub fn control_command<F, Fut, T, E>(mut self, name: impl Into<String>, help: impl Into<String>, command: F) -> Self
    where
        F: Fn(ControlCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<T, E>> + Send + 'static,
        T: Serialize,
        E: fmt::Display,
    {
        self.commands.add(OwnCommand::new(name.into(), help.into(), command));
        self
    }

    /// Adds a command that only looks to this worker, beside those of its app
    /// ([`AppControlCommands::inspect_command`](crate::control::call::AppControlCommands::inspect_command)).
    pub fn inspect_command<F, Fut, T, E>(mut self, name: impl Into<String>, help: impl Into<String>, command: F) -> Self
    where
        F: Fn(ControlCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Serialize,
        E: fmt::Display,
    {
        self.commands.add(OwnCommand::new(name.into(), help.into(), command).inspecting());
        self
    }

    /// How long a stop waits for runs before it cancels them (`worker_soft_shutdown_timeout`, default 0). With 0 a cold
    /// stop does not wait, and a warm one waits as long as they take. In Celery it is for the cold stop alone.
    pub fn soft_shutdown_timeout(mut self, span: Duration) -> Self {
        self.soft_stop = Some(span);
        self
    }

    /// A file that exists while the worker is healthy, for a readiness probe (`worker_ready_file`, default none). Its
    /// folder must exist.
    pub fn ready_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.probes.ready_file = Some(file.into());
        self
    }

    /// Answers `GET /ready` and `GET /live` over HTTP at this address (`worker_health_listen`, default none). For port
    /// 0 the system chooses one, which [`WorkerHandle::health_address`] returns.
    pub fn health_listen(mut self, address: SocketAddr) -> Self {
        self.probes.listen = Some(address);
        self
    }

    /// Whether events of tasks are sent, for monitors (Celery: `-E`, `worker_send_task_events`). They can be switched
    /// on and off while the worker runs.
    pub fn task_events(mut self, yes: bool) -> Self {
        self.task_events = Some(yes);
        self
    }

    /// How often the worker sends a heartbeat to monitors (Celery: `--heartbeat-interval`, there 2 s). Without this it
    /// sends one every 2 s while somebody listens or events of tasks are sent, and one a minute otherwise. An interval
    /// below 0.1 s counts as 0.1 s.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.pace = HeartbeatPace::Every(interval.max(Duration::from_millis(100)));
        self
    }

    /// Sends no heartbeats, so that monitors see the worker by its tasks only (Celery: `--without-heartbeat`).
    pub fn without_heartbeat(mut self) -> Self {
        self.pace = HeartbeatPace::Never;
        self
    }

    /// Does not answer elections of Celery's workers (Celery: `--without-gossip`). An election among them then ends
    /// only when they take this worker for dead.
    pub fn without_gossip(mut self) -> Self {
        self.gossip = false;
        self
    }

    /// Adds an observer of this worker (Celery's signals), behind those of the app.
    pub fn observer(mut self, observer: impl WorkerObserver) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Starts the worker in the background of this runtime. When this returns, the worker consumes. While the broker
    /// cannot be reached, this waits and tries again. When it is cancelled, nothing is left running.
    ///
    /// # Errors
    /// A task needs state that the app does not have, or has a soft limit that it cannot see; the pool or a queue does
    /// not exist; the pool cannot be scaled, or not within the bounds; two control commands have one name; the broker
    /// refuses; the ready file cannot be written; or the address for probes cannot be listened on.
    pub async fn start(self) -> Result<WorkerHandle> {
        let config = self.app.config().clone();
        let pool = self.pool.map_or_else(|| config.worker_pool.parse(), Ok)?;
        let default_slots = || pool.default_slots(self.app.registry());
        let autoscale = self.autoscale.map(|(max, min)| SlotRange::new(max, min)).transpose();
        let options = WorkerOptions {
            autoscale: autoscale.map_err(|text| Error::new(ErrorKind::Config, format!("scale the worker: {text}")))?,
            node: node_name::expand(self.hostname.as_deref().unwrap_or("celery@%h"), &node_name::host()).into(),
            names_queues: self.queues.is_some(),
            queues: self.queues.unwrap_or_else(|| config.queue_names()),
            pool,
            child_program: self.child_program,
            foreign_program: self.foreign_program,
            concurrency: self
                .concurrency
                .or(config.worker_concurrency.map(NonZeroUsize::get))
                .unwrap_or_else(default_slots),
            multiplier: self.multiplier.unwrap_or(config.worker_prefetch_multiplier),
            layers: self.layers,
            soft_stop: self.soft_stop.unwrap_or(config.worker_soft_shutdown_timeout),
            settle_timeout: config.worker_settle_timeout,
            probes: ProbeOptions {
                ready_file: self.probes.ready_file.or_else(|| config.worker_ready_file.as_ref().map(PathBuf::from)),
                listen: self.probes.listen.or(config.worker_health_listen),
            },
            control: ControlOptions {
                is_on: self.remote_control.unwrap_or(config.worker_enable_remote_control),
                mingles: self.mingles,
                own: OwnControlCommands::of(&self.app).with(self.commands),
            },
            events: EventOptions {
                of_tasks: self.task_events.unwrap_or(config.worker_send_task_events),
                pace: self.pace,
                gossip: self.gossip,
            },
            observers: self.observers,
            watched: true,
            buckets: HashMap::new(),
        };
        let node = options.node.clone();
        let running = launch(app_resources(&self.app), options).await?;
        Ok(WorkerHandle::new(node, running))
    }

    /// Runs the worker until `stop` is ready, then stops it warm. It also returns when something else stops the worker.
    /// A worker that still waits for its broker is stopped at once.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<StopReport> {
        let mut stop = std::pin::pin!(stop);
        let handle = tokio::select! {
            started = self.start() => started?,
            () = &mut stop => return Ok(StopReport::before_start(StopCause::Program)),
        };
        tokio::select! {
            () = &mut stop => handle.request_stop(StopKind::Warm),
            () = handle.stopping() => {}
        }
        Ok(handle.stopped().await)
    }

    /// Runs the worker until a signal of the process stops it, as in Celery: SIGTERM or ctrl-c stops it warm, SIGQUIT
    /// or a second ctrl-c stops it cold, and any further signal stops it at once.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn run(self) -> Result<StopReport> {
        // Caught before it starts: whoever sees that it is ready may send a signal at once.
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

/// The parts of the app that its worker uses.
pub(crate) fn app_resources(app: &App) -> AppResources {
    let own_backend = |task: &Arc<RegisteredTask>| {
        task.options.backend.as_ref()?;
        Some((task.name.clone(), app.backend_for(task)?.clone()))
    };
    AppResources {
        publisher: app.publisher().clone(),
        registry: app.registry().clone(),
        states: app.states().clone(),
        codecs: app.codecs().clone(),
        accept: app.accept().clone(),
        layers: WorkLayers::of(app),
        observers: ObserversOfApp::of(app),
        backends: Arc::new(Backends::new(
            app.backend().cloned(),
            app.registry().iter().filter_map(own_backend).collect::<HashMap<_, _>>(),
        )),
    }
}
