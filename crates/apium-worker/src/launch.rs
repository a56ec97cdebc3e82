//! The launch of a worker: it makes everything that runs from the app and the worker's options, and starts it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apium_app::app::early_acks::early_ack_note;
use apium_app::app::misnamed::misnamed_notes;
use apium_app::app::unconsumed::unconsumed_notes;
use apium_app::config::prefetch::PrefetchMultiplier;
use apium_app::context::state_map::StateMap;
use apium_app::error::{Error, ErrorKind, Result};
use apium_app::observe::custom_event::SharedEventSink;
use apium_app::options::task_options::Isolation;
use apium_app::publish::publisher::Publisher;
use apium_app::task::registered::RegisteredTask;
use apium_app::task::registry::Registry;
use apium_protocol::codecs::accept::Accept;
use apium_protocol::codecs::codecs::Codecs;
use apium_transport::broker::consumer::ConsumeSpec;
use apium_transport::broker::topology::Queue;
use tokio::sync::watch;

use crate::backends::Backends;
use crate::consume::Consume;
use crate::control;
use crate::control::autoscaler::{Autoscaler, SlotRange};
use crate::control::commands::dispatch::check_names;
use crate::control::consumed_queues::ConsumedQueues;
use crate::control::start::{ControlOptions, StartOptions};
use crate::counts::Counts;
use crate::follow_up::builder::FollowUpBuilder;
use crate::health::duplicate_node;
use crate::health::health::WorkerHealth;
use crate::health::probes::{ProbeOptions, Probes};
use crate::layer::WorkLayer;
use crate::limits::rate_limit::Bucket;
use crate::limits::result_size::ResultSizes;
use crate::limits::stopped_time::RunClock;
use crate::limits::time_limit::UnseenSoftLimits;
use crate::observe::event_queue::EventQueue;
use crate::observe::metrics::Metrics;
use crate::observe::metrics_page::MetricsPage;
use crate::observe::observer::Observer;
use crate::observe::services::{EventOptions, EventServices};
use crate::observe::worker_observer::{WorkerObserver, WorkerObservers};
use crate::pipeline::completer::Completer;
use crate::pipeline::errback_runner::{self, ErrbackRunner};
use crate::pipeline::executor::Executor;
use crate::pipeline::follow::FollowUpPlanner;
use crate::pipeline::intake::Intake;
use crate::pipeline::process::Process;
use crate::pipeline::run_queue::RunQueue;
use crate::pipeline::settle::Settler;
use crate::pool::kind::PoolKind;
use crate::pool::pool::PoolSlot;
use crate::pool::pools::Pools;
use crate::pool::process::child_program::ChildProgram;
use crate::pool::process::children::{ChildOptions, Children};
use crate::pool::process::process_pool::ProcessPool;
use crate::pool::running_app_code::RunningAppCode;
use crate::pool::threads::LeakCeiling;
use crate::pool::watchdog::Watchdog;
use crate::prefetch::Prefetch;
use crate::runs::registry::Runs;
use crate::runs::revoked::RevokedTasks;
use crate::runs::task_limits::TaskLimits;
use crate::service::Service;
use crate::shutdown::faults::Faults;
use crate::shutdown::phase::Phase;
use crate::shutdown::switch::StopSwitch;
use crate::slots::Slots;
use crate::testing::standstill::Standstill;
use crate::worker::RunningWorker;

/// How many threads may be lost to plain functions at least, where the settings do not say it.
const LEAST_LEAKED: usize = 8;

/// The parts of an app that its worker uses.
pub(crate) struct AppResources {
    pub(crate) publisher: Publisher,
    pub(crate) registry: Arc<Registry>,
    pub(crate) states: StateMap,
    pub(crate) codecs: Codecs,
    pub(crate) accept: Accept,
    /// Layers around every run of the app.
    pub(crate) layers: Vec<Arc<dyn WorkLayer>>,
    pub(crate) backends: Arc<Backends>,
    /// Observers of every worker of the app.
    pub(crate) observers: Vec<Arc<dyn WorkerObserver>>,
}

/// The options of a worker, all of them decided.
pub(crate) struct WorkerOptions {
    pub(crate) node: Arc<str>,
    pub(crate) queues: Vec<String>,
    /// Whether somebody named them for this worker.
    pub(crate) names_queues: bool,
    pub(crate) pool: PoolKind,
    pub(crate) child_program: Option<ChildProgram>,
    /// The program of foreign tasks.
    pub(crate) foreign_program: Option<ChildProgram>,
    pub(crate) concurrency: usize,
    /// Where the worker changes the number of its slots itself, within this range.
    pub(crate) autoscale: Option<SlotRange>,
    pub(crate) multiplier: PrefetchMultiplier,
    /// Layers around every run of this worker, inside those of the app.
    pub(crate) layers: Vec<Arc<dyn WorkLayer>>,
    pub(crate) soft_stop: Duration,
    pub(crate) settle_timeout: Duration,
    pub(crate) probes: ProbeOptions,
    pub(crate) control: ControlOptions,
    pub(crate) events: EventOptions,
    /// Observers of this worker, behind those of the app.
    pub(crate) observers: Vec<Arc<dyn WorkerObserver>>,
    /// Whether a watchdog names the tasks that block the reactor.
    pub(crate) watched: bool,
    /// The state of rate limits that a worker before this one left. Only the test kit sets it: its workers are
    /// short-lived.
    pub(crate) buckets: HashMap<Arc<str>, Bucket>,
}

impl WorkerOptions {
    /// How many slots it starts with.
    fn slots(&self) -> Result<usize> {
        match (self.autoscale, self.pool) {
            (Some(_), PoolKind::Solo) => {
                let text = "start the worker with autoscaling: the pool solo has one slot";
                Err(Error::new(ErrorKind::Config, text))
            }
            (Some(range), _) => Ok(range.start()),
            (None, PoolKind::Solo) => Ok(1),
            (None, _) => Ok(self.concurrency.max(1)),
        }
    }

    /// What a worker with so many slots consumes.
    fn consume_spec(&self, slots: usize, lease: Duration) -> ConsumeSpec {
        let mut spec = ConsumeSpec::new(self.queues.clone(), self.node.to_string());
        spec.prefetch = slots.saturating_mul(self.multiplier.fixed().unwrap_or(1) as usize);
        spec.lease = lease;
        spec
    }
}

/// Checks the tasks, connects to the broker and starts the services. While the broker cannot be reached, it tries
/// again.
///
/// # Errors
/// A task that needs state which the app does not have, or has a soft limit that it cannot see; a queue that does not
/// exist; a broker that refuses; probes that cannot be started.
pub(crate) async fn launch(mut app: AppResources, mut options: WorkerOptions) -> Result<RunningWorker> {
    check_tasks(&app.registry, &app.states)?;
    let slots = options.slots()?;
    check_names(&options.control.own)?;
    let queues = ConsumedQueues::new(queues_to_consume(&app.publisher, &options.queues)?);
    let config = app.publisher.config().clone();
    let spec = options.consume_spec(slots, config.worker_lease);
    let max_crashes = max_crashes(&app.publisher);
    let (broker, clock) = (app.publisher.broker().clone(), app.publisher.clock().clone());
    let observer = observer(&mut app, &options)?;
    let backends = app.backends.all().cloned().collect();
    let faults = Faults::new(clock.clone());
    let health = Arc::new(WorkerHealth::new(broker.clone(), backends, clock.clone(), faults.clone(), {
        let queues = queues.clone();
        Box::new(move || queues.pauses())
    }));
    let probes = Probes::start(&options.probes, &health, &clock).await?;
    let run_queue = Arc::new(RunQueue::new(clock.clone(), max_crashes, !config.worker_disable_rate_limits));
    run_queue.restore_buckets(std::mem::take(&mut options.buckets));
    let max_leaked = config.worker_max_leaked_threads.map_or(slots.max(LEAST_LEAKED), |most| most as usize);
    let ceiling = LeakCeiling { most: max_leaked, faults: Some(faults.clone()) };
    let runs = Arc::new(Runs::new(slots));
    let (watchdog, timers) = options.watched.then(|| Watchdog::start(&runs, &clock)).flatten().unzip();
    let run_clock = watchdog.as_ref().map_or_else(|| RunClock::new(clock.clone()), Watchdog::run_clock);
    let pools = Pools::new(options.pool, slots + errback_runner::AT_ONCE, &run_clock, ceiling);
    let inspected = options.foreign_program.as_ref().and_then(ChildProgram::inspected);
    let (pools, children) = with_processes(pools, &app, &mut options, (slots, &run_clock, &faults)).await?;
    let executor = Executor { pools, layers: [&*app.layers, &*options.layers].concat() };
    let beside = PoolSlot::unwatched(runs.beside().clone());
    let (registry, publisher) = (app.registry.clone(), app.publisher.clone());
    let errbacks = ErrbackRunner::new(executor.clone(), registry, publisher, app.states.clone(), beside);
    let (errbacks_of, observed_by) = (Some(errbacks.clone()), Some(observer.clone()));
    let completer = Completer::new(broker.clone(), app.backends.clone(), errbacks_of, faults.clone(), observed_by);
    let results = app.backends.app().map(|backend| backend.address().clone());
    let standstill = app.states.get::<Standstill>().cloned();
    let process = Arc::new(build_pipeline(
        app,
        &options.node,
        (run_queue.clone(), runs),
        executor,
        (completer.clone(), errbacks.clone(), observer.clone()),
    ));
    if let Some(standstill) = standstill {
        standstill.add_worker(&process);
    }
    show_metrics(&probes, &process, &options, slots);
    let consume = Consume {
        broker: broker.clone(),
        spec,
        queues: queues.clone(),
        results,
        prefetch: Prefetch::new(&process, options.multiplier),
        process: process.clone(),
        health: health.clone(),
    };
    let consumer = consume.connect().await.map_err(|error| {
        let context = format!("start the worker {} on {}", options.node, broker.address());
        Error::new(ErrorKind::Config, context).with_source(error)
    })?;
    let switch = StopSwitch::new();
    let autoscaler = options.autoscale.map(|range| Arc::new(Autoscaler::new(range, &process, &queues)));
    let started = StartOptions {
        node: options.node.clone(),
        pool: options.pool,
        autoscaler: autoscaler.clone(),
        multiplier: options.multiplier,
        inspected,
        control: std::mem::take(&mut options.control),
    };
    let (control, records) = control::start::start(&process, &queues, started, switch.clone()).await;
    announce(&process, &options, slots);
    observer.worker_ready();
    let (phase, phases) = watch::channel(Phase::Fetch);
    let node = options.node.clone();
    let events = EventServices::start(options.events, &process, &broker, &clock);
    Ok(RunningWorker {
        events,
        children,
        slots: Slots::start(&process, timers),
        completer: completer.start(),
        errbacks: errbacks.start(),
        timer: timer(run_queue),
        autoscaler: Autoscaler::start(autoscaler),
        duplicate_node: Service::start("duplicate-node", move |_| {
            duplicate_node::warn_of_duplicates(broker, node, clock, config.worker_lease)
        }),
        consume: Service::start("consume", move |_| consume.serve(consumer, phases)),
        control,
        records,
        probes,
        health,
        phase,
        watchdog,
        switch,
        soft_stop: options.soft_stop,
        settle_timeout: options.settle_timeout,
        faults,
        process,
    })
}

/// Starts child processes for tasks that run in one, and the first of each kind, so that a program that cannot serve as
/// one is known now.
async fn with_processes(
    mut pools: Pools,
    app: &AppResources,
    options: &mut WorkerOptions,
    (slots, clock, faults): (usize, &RunClock, &Faults),
) -> Result<(Pools, Vec<Service>)> {
    let mut services = Vec::new();
    let isolated = |task: &&Arc<RegisteredTask>| task.effective.isolation == Isolation::Process && !task.is_foreign();
    let has_own_tasks = app.registry.iter().any(|task| !task.is_foreign());
    let wants = match options.pool {
        PoolKind::Processes if options.foreign_program.is_none() || has_own_tasks => {
            Some("the pool of processes".to_owned())
        }
        _ => app.registry.iter().find(isolated).map(|task| format!("the isolation of task {}", task.name)),
    };
    let start = async |program: ChildProgram, kept: usize| {
        let failed = |text: String| Error::new(ErrorKind::Config, format!("start a child process: {text}"));
        let most = slots + errback_runner::AT_ONCE;
        let options = ChildOptions { kept, ..ChildOptions::of(app.publisher.config(), options.node.clone()) };
        let children = Children::new(program, options, most, faults.clone());
        let children = children.map_err(|error| failed(error.to_string()))?;
        let service = children.start();
        children.try_one().await.map_err(failed)?;
        Ok::<_, Error>((ProcessPool::new(children, clock.clone()), service))
    };
    if let Some(wants) = wants {
        let Some(program) = options.child_program.take() else {
            let text = format!(
                "start the worker with {wants}: it does not know how to start a child process; begin `main` with \
                 `let children = ChildProgram::of(app)`, and give that to the worker with `.child_program(children)`"
            );
            return Err(Error::new(ErrorKind::Config, text));
        };
        let (pool, service) = start(program, 0).await?;
        pools = pools.with_processes(pool);
        services.push(service);
    }
    if let Some(task) = app.registry.iter().find(|task| task.is_foreign()) {
        let Some(program) = options.foreign_program.take() else {
            let text = format!("start the worker with {}: nothing says which program has its body", task.name);
            return Err(Error::new(ErrorKind::Config, text));
        };
        let (pool, service) = start(program, slots).await?;
        pools = pools.with_foreign(pool);
        services.push(service);
    }
    Ok((pools, services))
}

/// Promotes runs that wait for a time when they are due.
fn timer(run_queue: Arc<RunQueue>) -> Service {
    Service::start("timer", move |mut stopping| async move {
        tokio::select! {
            () = run_queue.run_timer() => {}
            () = stopping.wait() => {}
        }
    })
}

/// How often a message may kill its worker, where the broker counts that.
fn max_crashes(publisher: &Publisher) -> u32 {
    let (broker, most) = (publisher.broker(), publisher.config().worker_max_crashes);
    if broker.capabilities().counts_crashes {
        return most;
    }
    if most > 0 {
        tracing::info!(broker = %broker.address(), "the broker counts no crashes: worker_max_crashes has no effect");
    }
    0
}

/// The observer of the worker, with those who listen to it. It is told that the worker starts.
fn observer(app: &mut AppResources, options: &WorkerOptions) -> Result<Arc<Observer>> {
    let sender = app.publisher.events().of_node(options.node.clone());
    let observers = [&*app.observers, &*options.observers].concat();
    let metrics = options.probes.listen.map(|_| Arc::new(Metrics::new(&app.registry)));
    if let Some(metrics) = &metrics {
        app.publisher.set_counter(metrics.clone());
    }
    let observer = Arc::new(Observer {
        metrics,
        publisher: app.publisher.clone(),
        events: Arc::new(EventQueue::new(&sender, options.events.of_tasks)),
        sender,
        observers: WorkerObservers::start(&options.node, observers)?,
        clock: app.publisher.clock().clone(),
    });
    // Events of tasks' own go the way of the worker's.
    app.states = app.states.clone().with(SharedEventSink(observer.events.clone()));
    observer.worker_init();
    Ok(observer)
}

/// Lets the probes show the metrics of a worker that has them.
fn show_metrics(probes: &Probes, process: &Arc<Process>, options: &WorkerOptions, slots: usize) {
    let Some(metrics) = process.observer.metrics.clone() else { return };
    let broker = process.settler.publisher.broker().clone();
    let (node, queues, process) = (options.node.clone(), options.queues.clone(), process.clone());
    probes.set_page(MetricsPage { node, queues, slots, metrics, process, broker });
}

/// The steps of a run.
fn build_pipeline(
    app: AppResources,
    node: &Arc<str>,
    (run_queue, runs): (Arc<RunQueue>, Arc<Runs>),
    executor: Executor,
    (completer, errbacks, observer): (Completer, ErrbackRunner, Arc<Observer>),
) -> Process {
    let config = app.publisher.config().clone();
    let registry = app.registry.clone();
    let revoked = Arc::new(RevokedTasks::new(config.worker_revokes_max, config.worker_revoke_expires));
    let task_limits = Arc::new(TaskLimits::new(config.task_soft_time_limit, config.task_time_limit));
    Process {
        intake: Intake {
            registry: app.registry,
            codecs: app.codecs,
            accept: app.accept,
            task_limits: task_limits.clone(),
            revoked,
            policy: config.result_policy(),
            hostname: node.clone(),
            utc: config.enable_utc,
            broker_delays: app.publisher.broker().capabilities().delays,
            max_crashes: config.worker_max_crashes,
            counts_chords: app.backends.app().is_some_and(|backend| backend.chords().is_some()),
        },
        run_queue,
        runs,
        task_limits,
        clock: app.publisher.clock().clone(),
        executor,
        follow: Arc::new(FollowUpPlanner {
            builder: FollowUpBuilder { publisher: app.publisher.clone(), registry, policy: config.result_policy() },
        }),
        settler: Arc::new(Settler {
            publisher: app.publisher,
            policy: config.result_policy(),
            backends: app.backends.clone(),
        }),
        completer,
        states: app.states,
        observer,
        backends: app.backends,
        counts: Counts::default(),
        unseen_soft_limits: UnseenSoftLimits::default(),
        result_sizes: ResultSizes::of(&config),
        errbacks,
        app_code: RunningAppCode::default(),
    }
}

/// The queues to consume, as the settings declare them.
fn queues_to_consume(publisher: &Publisher, queues: &[String]) -> Result<Vec<Queue>> {
    queues.iter().map(|name| publisher.router().queue_to_consume(name)).collect()
}

fn announce(process: &Process, options: &WorkerOptions, slots: usize) {
    let (registry, publisher) = (&process.intake.registry, &process.settler.publisher);
    let (node, queues, pool) = (&*options.node, options.queues.join(", "), options.pool);
    let broker = publisher.broker().address();
    let results = process.backends.app().map_or("none".to_owned(), |backend| backend.address().to_string());
    tracing::info!(node, concurrency = slots, %pool, queues, %broker, results, "worker {node} is ready");
    let tasks: Vec<&str> = registry.iter().map(|task| &*task.name).collect();
    tasks.iter().for_each(|task| tracing::info!(task, "  . {task}"));
    // What lies in a broker that ends with the program is lost with it in any case.
    let is_durable = publisher.broker().capabilities().durable;
    if let Some(note) = early_ack_note(registry, publisher.config()).filter(|_| is_durable) {
        tracing::info!("{note}");
    }
    misnamed_notes(publisher.config(), &tasks).iter().for_each(|note| tracing::warn!("{note}"));
    if !options.names_queues {
        unconsumed_notes(registry, publisher, &options.queues).iter().for_each(|note| tracing::warn!("{note}"));
    }
}

/// Checks that the app has every `State<T>` that a task takes, and that each task with a soft limit can see it (the
/// guarantee `time-limits`).
fn check_tasks(registry: &Registry, states: &StateMap) -> Result<()> {
    registry.check_states(states)?;
    let unseen: Vec<&str> = registry
        .iter()
        .filter(|task| task.effective.soft_time_limit.is_some() && task.is_blocking() && !task.takes_ctx)
        .map(|task| &*task.name)
        .collect();
    if unseen.is_empty() {
        return Ok(());
    }
    let context = format!(
        "start with a soft time limit on {}: a plain fn sees it through its context only; take `ctx: &Ctx` and call \
         ctx.check()?, make it an async fn, or use time_limit alone",
        unseen.join(", ")
    );
    Err(Error::new(ErrorKind::Config, context))
}
