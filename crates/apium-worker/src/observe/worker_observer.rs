//! Observers of a worker: code of the program that is told what happens to tasks and to the worker (Celery's signals).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::builder::AppBuilder;
use apium_app::context::request::Request;
use apium_app::error::{Error, ErrorKind, Result};
use apium_app::failure::Failure;
use apium_app::observe::observer_thread::ObserverThread;
use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use jiff::Timestamp;

pub use crate::observe::fact::HowRevoked;
use crate::observe::fact::{RefusedFact, RunChange, TaskFact, WorkerChange};
use crate::shutdown::kind::StopKind;

/// Is told what happens to tasks and to a worker. Every method does nothing by default. It is set on an app
/// ([`AppWorkerObservers::worker_observer`]), for all of its workers, or on one worker
/// ([`WorkerBuilder::observer`](crate::builder::WorkerBuilder::observer)).
///
/// | method | Celery's signal |
/// |---|---|
/// | [`worker_init`](Self::worker_init) | `worker_init`, `celeryd_init` |
/// | [`worker_ready`](Self::worker_ready) | `worker_ready`, `celeryd_after_setup` |
/// | [`heartbeat_sent`](Self::heartbeat_sent) | `heartbeat_sent` |
/// | [`worker_shutting_down`](Self::worker_shutting_down) | `worker_shutting_down` |
/// | [`worker_shutdown`](Self::worker_shutdown) | `worker_shutdown` |
/// | [`task_received`](Self::task_received) | `task_received` |
/// | [`task_prerun`](Self::task_prerun) | `task_prerun` |
/// | [`task_postrun`](Self::task_postrun) | `task_postrun` |
/// | [`task_success`](Self::task_success) | `task_success` |
/// | [`task_failure`](Self::task_failure) | `task_failure` |
/// | [`task_retry`](Self::task_retry) | `task_retry` |
/// | [`task_revoked`](Self::task_revoked) | `task_revoked` |
/// | [`task_rejected`](Self::task_rejected) | `task_rejected`: a message that is not accepted, and no `Reject` of a task |
/// | [`task_unknown`](Self::task_unknown) | `task_unknown` |
/// | [`task_internal_error`](Self::task_internal_error) | `task_internal_error` |
///
/// Of Celery's other signals `before_task_publish` and `after_task_publish` are methods of an
/// [`AppObserver`](apium_app::observe::app_observer::AppObserver); those of processes, of eventlet, of logging and of
/// the import of modules have nothing here that they could tell of.
///
/// The methods are called on a thread of its own for each worker, in the order in which it happened and shortly after:
/// an observer delays no task, and may panic or hang. When it is too slow for long, it is not told what is oldest. What
/// is to run before or after a body, or to change how it ends, is a [`WorkLayer`](crate::layer::WorkLayer) or a hook of
/// the task.
pub trait WorkerObserver: Send + Sync + 'static {
    /// The worker starts. It is not connected yet.
    fn worker_init(&self, worker: &ObservedWorker) {
        let _ = worker;
    }

    /// The worker consumes.
    fn worker_ready(&self, worker: &ObservedWorker) {
        let _ = worker;
    }

    /// A heartbeat for monitors was made. They come every 2 s or once a minute, by whether anybody listens.
    fn heartbeat_sent(&self, worker: &ObservedWorker) {
        let _ = worker;
    }

    /// The worker begins to stop, in this way.
    fn worker_shutting_down(&self, worker: &ObservedWorker, how: StopKind) {
        let _ = (worker, how);
    }

    /// The worker has stopped.
    fn worker_shutdown(&self, worker: &ObservedWorker) {
        let _ = worker;
    }

    /// A message was accepted. Not for one that is revoked or has expired.
    fn task_received(&self, task: &ObservedTask) {
        let _ = task;
    }

    /// The body begins.
    fn task_prerun(&self, task: &ObservedTask) {
        let _ = task;
    }

    /// The body ended, and how: `SUCCESS`, `FAILURE`, `RETRY`, `IGNORED` or `REJECTED`. It comes after what else is
    /// told of the end.
    fn task_postrun(&self, task: &ObservedTask, state: &str, took: Duration) {
        let _ = (task, state, took);
    }

    /// The task succeeded with this value.
    fn task_success(&self, task: &ObservedTask, value: &Json, took: Duration) {
        let _ = (task, value, took);
    }

    /// The task failed.
    fn task_failure(&self, task: &ObservedTask, failure: &Failure) {
        let _ = (task, failure);
    }

    /// The task is to be run once more, because of this failure if it named one.
    fn task_retry(&self, task: &ObservedTask, cause: Option<&Failure>) {
        let _ = (task, cause);
    }

    /// The task does not run, or was terminated.
    fn task_revoked(&self, task: &ObservedTask, how: HowRevoked) {
        let _ = (task, how);
    }

    /// A message was not accepted, and is in the dead set: it cannot be read, or what follows its task cannot be made.
    fn task_rejected(&self, message: &RefusedMessage) {
        let _ = message;
    }

    /// The task of a message is not registered; the message is in the dead set.
    fn task_unknown(&self, message: &RefusedMessage) {
        let _ = message;
    }

    /// Code of the app panicked where nothing expects it, outside of the body of a task. `error` is its text.
    fn task_internal_error(&self, task: &ObservedTask, error: &str) {
        let _ = (task, error);
    }
}

/// The worker that something happened to.
#[derive(Debug, Clone)]
pub struct ObservedWorker {
    node: Arc<str>,
    at: Timestamp,
}

impl ObservedWorker {
    /// Its node name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// When it happened.
    pub fn at(&self) -> Timestamp {
        self.at
    }
}

/// The task that something happened to.
#[derive(Debug)]
pub struct ObservedTask(TaskFact);

impl ObservedTask {
    /// The registered name of the task.
    pub fn name(&self) -> &str {
        &self.0.task.name
    }

    /// Its id.
    pub fn id(&self) -> Option<&TaskId> {
        self.0.request.id()
    }

    /// Its request: arguments, headers, and where the message came from.
    pub fn request(&self) -> &Request {
        &self.0.request
    }

    /// When it happened.
    pub fn at(&self) -> Timestamp {
        self.0.at
    }
}

/// A message that was not accepted.
#[derive(Debug)]
pub struct RefusedMessage(RefusedFact);

impl RefusedMessage {
    /// The name of its task, if it could be read.
    pub fn task(&self) -> Option<&str> {
        self.0.label.task.as_deref()
    }

    /// The id of its task, if it could be read.
    pub fn id(&self) -> Option<&TaskId> {
        self.0.label.id.as_ref()
    }

    /// Why, as the short word that the dead set has too, such as `undecodable`.
    pub fn code(&self) -> &str {
        self.0.reason.code
    }

    /// Why, in full.
    pub fn reason(&self) -> &str {
        &self.0.reason.text
    }

    /// When it happened.
    pub fn at(&self) -> Timestamp {
        self.0.at
    }
}

/// What observers are told.
pub(crate) enum Observed {
    Task(TaskFact),
    Refused(RefusedFact),
    Worker(Timestamp, WorkerChange),
}

/// The observers of a worker, with their thread.
pub(crate) struct WorkerObservers(Arc<ObserverThread<Observed>>);

impl WorkerObservers {
    /// Starts the thread of these observers; `None` where there are none.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start(node: &Arc<str>, observers: Vec<Arc<dyn WorkerObserver>>) -> Result<Option<Self>> {
        if observers.is_empty() {
            return Ok(None);
        }
        let node = node.clone();
        let tell = move |observed| tell(&node, &observers, observed);
        let thread = ObserverThread::start("apium-observers", tell).map_err(|error| {
            Error::new(ErrorKind::Config, "start the thread of the observers of the worker").with_source(error)
        })?;
        Ok(Some(Self(Arc::new(thread))))
    }

    pub(crate) fn push(&self, observed: Observed) {
        let bytes = match &observed {
            Observed::Task(fact) => fact.bytes(),
            Observed::Refused(fact) => 512 + fact.reason.text.len(),
            Observed::Worker(..) => 64,
        };
        self.0.push(observed, bytes);
    }

    /// Waits until they were told everything, at most for `limit`.
    pub(crate) async fn close(&self, limit: Duration) {
        let thread = self.0.clone();
        let closed = tokio::task::spawn_blocking(move || thread.close(limit)).await;
        if !closed.unwrap_or(false) {
            tracing::warn!("an observer of the worker does not return; the worker stops without it");
        }
    }
}

/// Tells all observers, each of which may panic.
fn tell(node: &Arc<str>, observers: &[Arc<dyn WorkerObserver>], observed: Observed) {
    let each = |call: &dyn Fn(&dyn WorkerObserver)| {
        for observer in observers {
            if let Err(panicked) = crate::pool::guard::guarded(|| call(&**observer)) {
                let panicked = apium_protocol::value::printable::printable(panicked);
                tracing::error!("an observer of the worker {panicked}; nothing else changes by it");
            }
        }
    };
    match observed {
        Observed::Worker(at, change) => {
            let worker = ObservedWorker { node: node.clone(), at };
            each(&|observer| match change {
                WorkerChange::Init => observer.worker_init(&worker),
                WorkerChange::Ready => observer.worker_ready(&worker),
                WorkerChange::HeartbeatSent => observer.heartbeat_sent(&worker),
                WorkerChange::ShuttingDown(how) => observer.worker_shutting_down(&worker, how),
                WorkerChange::Shutdown => observer.worker_shutdown(&worker),
            });
        }
        Observed::Refused(fact) => {
            let message = RefusedMessage(fact);
            each(&|observer| match message.0.is_unknown() {
                true => observer.task_unknown(&message),
                false => observer.task_rejected(&message),
            });
        }
        Observed::Task(fact) => {
            let task = ObservedTask(fact);
            each(&|observer| tell_of_task(observer, &task));
        }
    }
}

fn tell_of_task(observer: &dyn WorkerObserver, task: &ObservedTask) {
    let ended = |state, took: &Duration| observer.task_postrun(task, state, *took);
    match &task.0.change {
        RunChange::Received => observer.task_received(task),
        RunChange::Started => observer.task_prerun(task),
        RunChange::Succeeded { value, took } => {
            observer.task_success(task, value, *took);
            ended("SUCCESS", took);
        }
        RunChange::Failed { failure, took, began } => {
            observer.task_failure(task, failure);
            if *began {
                ended("FAILURE", took);
            }
        }
        RunChange::Retried { cause, took } => {
            observer.task_retry(task, cause.as_ref());
            ended("RETRY", took);
        }
        RunChange::Rejected { took, .. } | RunChange::Unavailable { took, .. } => ended("REJECTED", took),
        RunChange::Ignored { took } | RunChange::Replaced { took } | RunChange::Cancelled { took } => {
            ended("IGNORED", took);
        }
        RunChange::Revoked(how) => observer.task_revoked(task, *how),
        RunChange::Aborted => observer.task_revoked(task, HowRevoked::default()),
        RunChange::Panicked(error) => observer.task_internal_error(task, error),
    }
}

/// Observers that an app has for all of its workers. They are a state of the app, which no task takes.
#[derive(Clone, Default)]
pub(crate) struct ObserversOfApp(Vec<Arc<dyn WorkerObserver>>);

impl ObserversOfApp {
    /// The observers of an app.
    pub(crate) fn of(app: &App) -> Vec<Arc<dyn WorkerObserver>> {
        app.states().get::<Self>().map(|observers| observers.0.clone()).unwrap_or_default()
    }
}

/// Adds [`worker_observer`](Self::worker_observer) to [`AppBuilder`].
pub trait AppWorkerObservers: Sized {
    /// Adds an observer of every worker of this app.
    fn worker_observer(self, observer: impl WorkerObserver) -> Self;
}

impl AppWorkerObservers for AppBuilder {
    fn worker_observer(self, observer: impl WorkerObserver) -> Self {
        self.change_state(|ObserversOfApp(observers)| observers.push(Arc::new(observer)))
    }
}

impl fmt::Debug for WorkerObservers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerObservers").finish_non_exhaustive()
    }
}
