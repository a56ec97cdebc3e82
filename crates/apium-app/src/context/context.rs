//! The context of one run: what a bound task of Celery has as `self`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use apium_protocol::error::with_causes;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{ResultDocument, ResultTuple};
use apium_protocol::result::state::State;
use apium_protocol::value::printable::printable_text;
use apium_transport::backend::backend::{ResultRecord, RunVersion, SharedBackend};
use serde::Serialize;
use tokio::runtime::Handle;

use crate::context::additions::Additions;
use crate::context::blocking_scope::BlockingScope;
use crate::context::deferred::Deferred;
use crate::context::handed_over::HandedOver;
use crate::context::limit_signal::LimitSignal;
use crate::context::request::Request;
use crate::context::result_document::{ResultUpdate, other_task_document, result_document};
use crate::context::state_map::StateMap;
use crate::context::store_waits::{StoreWait, StoreWaits};
use crate::error::{Error, ErrorKind, Result};
use crate::failure::Failure;
use crate::publish::policy::PublishPolicy;
use crate::publish::publisher::Publisher;
use crate::task::registered::RegisteredTask;
use crate::task_error::{TaskError, TaskErrorKind, TaskResult};

/// The context of one run. A task takes it as `&Ctx` (Celery: `bind=True`). Cheap to clone; all clones are the same
/// run.
#[derive(Clone)]
pub struct Ctx(Arc<Inner>);

struct Inner {
    request: Arc<Request>,
    task: Option<Arc<RegisteredTask>>,
    publisher: Option<Publisher>,
    backend: Option<SharedBackend>,
    states: StateMap,
    limits: LimitSignal,
    run: Option<RunVersion>,
    waits: StoreWaits,
    /// Whether the last state of progress was dropped.
    drops_progress: AtomicBool,
    runtime: Option<Handle>,
    children: Mutex<Vec<ResultTuple>>,
    additions: Additions,
    handed_over: Mutex<Option<HandedOver>>,
    aborted: AtomicBool,
    last_abort_check: Mutex<Option<Instant>>,
}

/// The state of a task that was asked to stop (Celery's `contrib.abortable`).
pub const ABORTED: &str = apium_protocol::result::state::ABORTED;

/// The shortest time between two reads of the result backend by [`Ctx::check`].
const ABORT_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long such a read may take. There is one try, since a later check reads again.
const ABORT_CHECK_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a state of progress is tried, at most. The task waits meanwhile.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it is tried, once, when the one before it was dropped.
const PROGRESS_TIMEOUT_AFTER_DROP: Duration = Duration::from_millis(200);

/// The parts of which [`Ctx::new`] makes a context.
pub struct CtxParts {
    /// The request.
    pub request: Arc<Request>,
    /// The task that runs.
    pub task: Arc<RegisteredTask>,
    /// The publisher for what the task sends.
    pub publisher: Publisher,
    /// The result backend for its states, if it has one.
    pub backend: Option<SharedBackend>,
    /// The app's state.
    pub states: StateMap,
    /// The signal that says that a time limit has passed.
    pub limits: LimitSignal,
    /// The version of the run, which a result backend compares when it stores a state; `None` in eager mode.
    pub run: Option<RunVersion>,
    /// The counter of the worker's runs that wait for a broker or a store.
    pub waits: StoreWaits,
}

impl Ctx {
    /// The context of a run by a worker or in eager mode. Call it inside the tokio runtime, so that plain task
    /// functions can wait for what the context does.
    #[doc(hidden)]
    pub fn new(parts: CtxParts) -> Self {
        Self(Arc::new(Inner {
            request: parts.request,
            task: Some(parts.task),
            publisher: Some(parts.publisher),
            backend: parts.backend,
            states: parts.states,
            limits: parts.limits,
            run: parts.run,
            waits: parts.waits,
            drops_progress: AtomicBool::new(false),
            runtime: Handle::try_current().ok(),
            children: Mutex::default(),
            additions: Additions::default(),
            handed_over: Mutex::default(),
            aborted: AtomicBool::new(false),
            last_abort_check: Mutex::default(),
        }))
    }

    /// The context of a function that is called without a message: `request().called_directly` is true, there is no id,
    /// no broker and no backend.
    pub fn direct() -> Self {
        Self::direct_with(StateMap::new(), None)
    }

    /// As [`direct`](Self::direct), with state for the function to take and a publisher for its calls.
    pub fn direct_with(states: StateMap, publisher: Option<Publisher>) -> Self {
        Self::without_task(Request::direct(), states, publisher)
    }

    /// As [`direct`](Self::direct), with another request, for unit tests of tasks that read it (Celery:
    /// `push_request`).
    pub fn for_request(request: Request) -> Self {
        Self::without_task(request, StateMap::new(), None)
    }

    fn without_task(request: Request, states: StateMap, publisher: Option<Publisher>) -> Self {
        Self(Arc::new(Inner {
            request: Arc::new(request),
            task: None,
            publisher,
            backend: None,
            states,
            limits: LimitSignal::never(),
            run: None,
            waits: StoreWaits::default(),
            drops_progress: AtomicBool::new(false),
            runtime: Handle::try_current().ok(),
            children: Mutex::default(),
            additions: Additions::default(),
            handed_over: Mutex::default(),
            aborted: AtomicBool::new(false),
            last_abort_check: Mutex::default(),
        }))
    }

    /// The request: what the message says about this run.
    pub fn request(&self) -> &Request {
        &self.0.request
    }

    /// The request as a shared pointer.
    pub fn shared_request(&self) -> &Arc<Request> {
        &self.0.request
    }

    /// The task's id (Celery: `self.request.id`); `None` when called directly.
    pub fn id(&self) -> Option<&TaskId> {
        self.0.request.id()
    }

    /// Retries so far, 0 for the first run (Celery: `self.request.retries`).
    pub fn retries(&self) -> u32 {
        self.0.request.retries()
    }

    /// How many retries the task's options allow (Celery: `self.max_retries`). `None` is no limit; it is also `None`
    /// when called directly.
    pub fn max_retries(&self) -> Option<u32> {
        self.task().and_then(|task| task.effective.max_retries)
    }

    /// Whether it runs in the caller's process on purpose (Celery: `self.request.is_eager`): by `task_always_eager` or
    /// `apply`.
    pub fn is_eager(&self) -> bool {
        self.0.request.is_eager
    }

    /// Whether the function was called without a message (Celery: `self.request.called_directly`); then there is no id.
    pub fn called_directly(&self) -> bool {
        self.0.request.called_directly
    }

    /// The task's registered name (Celery: `self.name`); empty when called directly.
    pub fn task_name(&self) -> &str {
        self.0.task.as_ref().map_or("", |task| &task.name)
    }

    /// The registered task; `None` when called directly.
    pub fn task(&self) -> Option<&Arc<RegisteredTask>> {
        self.0.task.as_ref()
    }

    /// The node name of the worker, or the host when eager.
    pub fn hostname(&self) -> &str {
        &self.0.request.hostname
    }

    /// The app's state.
    pub fn states(&self) -> &StateMap {
        &self.0.states
    }

    /// The app's state of one type.
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.states.get()
    }

    /// The publisher for what the task sends; `None` when called directly without an app.
    pub fn publisher(&self) -> Option<&Publisher> {
        self.0.publisher.as_ref()
    }

    /// The result backend for its states, if it has one.
    pub fn backend(&self) -> Option<&SharedBackend> {
        self.0.backend.as_ref()
    }

    /// The signal that says when the soft time limit passes.
    pub fn soft_limit(&self) -> &LimitSignal {
        &self.0.limits
    }

    /// Returns an error when the run should stop. Call it now and then in a function that runs long, and return its
    /// error with `?`. In a plain function it also reads from the result backend whether the task was aborted, at most
    /// once a second. While the backend does not answer, that takes half a second and the task goes on. Async code
    /// reads it by [`aborted`](Self::aborted).
    ///
    /// # Errors
    /// `SoftTimeLimitExceeded` or `TimeLimitExceeded` when a time limit has passed. After an abort, an error that
    /// leaves the state ABORTED as it is.
    pub fn check(&self) -> TaskResult<()> {
        if self.0.limits.given_up() {
            let limit = self.task().and_then(|task| task.effective.time_limit).unwrap_or_default();
            return Err(Failure::time_limit(limit.as_secs_f64()).into());
        }
        if self.0.limits.reached() {
            return Err(Failure::soft_time_limit().into());
        }
        if self.abort_check_due() {
            if let Err(error) = self.read_aborted(Self::abort_check_policy).wait() {
                tracing::debug!(task = self.task_name(), error = %with_causes(&error), "could not read whether the task was aborted");
            }
            // The pause begins when the read ends, so that a task does not read all the time.
            *self.last_abort_check() = Some(Instant::now());
        }
        match self.0.aborted.load(Ordering::Relaxed) {
            true => Err(TaskError::new(TaskErrorKind::Ignore)),
            false => Ok(()),
        }
    }

    fn abort_check_due(&self) -> bool {
        if !BlockingScope::is_running() || self.backend().is_none() || self.request().id().is_none() {
            return false;
        }
        let mut last_abort_check = self.last_abort_check();
        let due = last_abort_check.is_none_or(|last| last.elapsed() >= ABORT_CHECK_INTERVAL);
        if due {
            *last_abort_check = Some(Instant::now());
        }
        due
    }

    fn last_abort_check(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.last_abort_check.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abort_check_policy(&self) -> Result<PublishPolicy> {
        let mut policy = PublishPolicy::of(self.needed_publisher()?.config());
        (policy.retry, policy.timeout) = (None, policy.timeout.min(ABORT_CHECK_TIMEOUT));
        Ok(policy)
    }

    /// Stores a custom state with meta, which callers see while they wait: `ctx.update_state("PROGRESS", json!(…))`. It
    /// is stored at once, also where results are ignored. Await it, or call `wait()` in a plain function. If the future
    /// is dropped before it ends, the state may be stored or not.
    ///
    /// A state of progress is best effort: when the backend fails, it is tried again for two seconds at most, and then
    /// dropped with a log line; the task goes on. A ready state (SUCCESS, FAILURE, REVOKED) is not dropped.
    ///
    /// A function that is called directly, as in a unit test, has no task id: nothing is stored, and that is no error.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] without a result backend, [`ErrorKind::Codec`] for meta that has no JSON form,
    /// [`ErrorKind::Backend`] when the backend fails to store a ready state.
    pub fn update_state(&self, state: impl Into<State>, meta: impl Serialize) -> Deferred<()> {
        let (state, meta) = (state.into(), Json::from_serialize(&meta));
        let ctx = self.clone();
        self.deferred(async move {
            let meta = meta?;
            let Some(id) = ctx.request().id().cloned() else { return Ok(()) };
            let is_ready = state.is_ready();
            let update = ResultUpdate { state, result: meta, traceback: None };
            let record = ctx.record(id, update, ctx.children())?;
            match is_ready {
                true => ctx.store(record).await,
                false => ctx.store_progress(record).await,
            }
        })
    }

    /// Stores a state of another task, by its id.
    ///
    /// # Errors
    /// As [`update_state`](Self::update_state), but a direct call is only an error without an app.
    pub fn update_state_of(&self, id: TaskId, state: impl Into<State>, meta: impl Serialize) -> Deferred<()> {
        let (state, meta) = (state.into(), Json::from_serialize(&meta));
        let ctx = self.clone();
        self.deferred(async move {
            let publisher = ctx.needed_publisher()?;
            let policy = publisher.config().result_policy();
            let update = ResultUpdate { state, result: meta?, traceback: None };
            let document = other_task_document(id, update, &policy, publisher.clock().now());
            ctx.store(ResultRecord::new(document).kept_for(policy.ttl)).await
        })
    }

    /// Reads from the result backend whether the task was aborted (`AsyncResult::abort`). A task that runs long reads
    /// it now and then, and returns if it was. After that [`check`](Self::check) returns an error too.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] without a result backend, [`ErrorKind::Backend`] when the backend fails.
    pub fn aborted(&self) -> Deferred<bool> {
        self.read_aborted(Self::store_policy)
    }

    fn read_aborted(&self, policy: fn(&Self) -> Result<PublishPolicy>) -> Deferred<bool> {
        let ctx = self.clone();
        self.deferred(async move {
            let Some(id) = ctx.request().id().cloned() else { return Ok(false) };
            // `abort` stores a state: it cannot work with a backend that stores none.
            let backend = ctx.needed_backend()?;
            let Some(stored) = backend.stored() else { return Ok(false) };
            let ids = [id];
            let _waits = ctx.wait_for(ctx.needed_publisher()?);
            let documents = policy(&ctx)?.run(backend.address(), || stored.fetch(&ids)).await?;
            let aborted = documents.iter().flatten().any(|document| document.state.is_aborted());
            if aborted {
                ctx.0.aborted.store(true, Ordering::Relaxed);
            }
            Ok(aborted)
        })
    }

    /// A signature that sends this request once more under another id (Celery: `signature_from_request`).
    pub fn to_signature(&self) -> Signature {
        let Request { headers, body, .. } = self.request();
        let mut signature = Signature::new(headers.task.clone().unwrap_or_else(|| self.task_name().into()));
        signature.args = body.args.clone();
        signature.kwargs = body.kwargs.clone();
        signature
    }

    /// The record of this run in a state, with the version of the run.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] when called directly without an app.
    #[doc(hidden)]
    pub fn record(&self, id: TaskId, update: ResultUpdate, children: Vec<ResultTuple>) -> Result<ResultRecord> {
        let publisher = self.needed_publisher()?;
        let policy = publisher.config().result_policy();
        let document = result_document(self.request(), id, update, children, &policy, publisher.clock().now());
        let reply_to = self.request().properties.reply_to.clone();
        Ok(ResultRecord::new(document).by(self.0.run).kept_for(policy.ttl).replying_to(reply_to))
    }

    /// Stores a record, under the policy of publishing.
    async fn store(&self, record: ResultRecord) -> Result<()> {
        let backend = self.needed_backend()?;
        let _waits = self.wait_for(self.needed_publisher()?);
        self.store_policy()?.run(backend.address(), || backend.store(vec![record.clone()])).await?;
        Ok(())
    }

    /// Stores a state of progress, or drops it with a log line.
    async fn store_progress(&self, record: ResultRecord) -> Result<()> {
        let backend = self.needed_backend()?;
        let was_dropped = self.0.drops_progress.load(Ordering::Relaxed);
        let mut policy = PublishPolicy::of(self.needed_publisher()?.config());
        policy.timeout = policy.timeout.min(PROGRESS_TIMEOUT);
        if was_dropped {
            (policy.retry, policy.timeout) = (None, policy.timeout.min(PROGRESS_TIMEOUT_AFTER_DROP));
        }
        policy.retry = policy.retry.filter(|retry| retry.max_retries.is_some());
        let stored = policy.run(backend.address(), || backend.store(vec![record.clone()])).await;
        self.0.drops_progress.store(stored.is_err(), Ordering::Relaxed);
        if let Err(error) = stored {
            let (task, state) = (self.task_name(), &*printable_text(record.document.state.as_str()));
            let id = &*printable_text(record.document.task_id.as_str());
            match was_dropped {
                true => {
                    tracing::debug!(task, id, state, error = %with_causes(&error), "could not store the state {state} of task {task}[{id}] either")
                }
                false => {
                    tracing::warn!(task, id, state, error = %with_causes(&error), "could not store the state {state} of task {task}[{id}]; it is dropped, and the task goes on")
                }
            }
        }
        Ok(())
    }

    /// How often and for how long this run tries to use its result backend.
    pub(crate) fn store_policy(&self) -> Result<PublishPolicy> {
        let publisher = self.needed_publisher()?;
        let policy = PublishPolicy::of(publisher.config());
        Ok(if self.is_acked_early() { policy.waiting() } else { policy })
    }

    /// Whether a worker runs it, and acked its message before. It is not delivered again then.
    fn is_acked_early(&self) -> bool {
        self.0.run.is_some() && self.task().is_some_and(|task| !task.effective.acks_late)
    }

    /// Says that this run waits for its broker or store, until what this returns is dropped. `None` for a run that does
    /// not wait: its message is delivered again when it fails, or `publisher` is of another app.
    pub(crate) fn wait_for(&self, publisher: &Publisher) -> Option<StoreWait> {
        let is_own = self.is_acked_early() && self.publisher().is_some_and(|own| own.is(publisher));
        is_own.then(|| self.wait())
    }

    /// Says that this run waits for its broker or store, until what this returns is dropped.
    pub(crate) fn wait(&self) -> StoreWait {
        self.0.waits.begin()
    }

    pub(crate) fn deferred<T, E: From<Error>>(
        &self,
        future: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Deferred<T, E> {
        Deferred::new(self.0.runtime.clone(), future)
    }

    pub(crate) fn needed_publisher(&self) -> Result<&Publisher> {
        let text = "send or store anything: the function was called directly, without an app";
        self.publisher().ok_or_else(|| Error::new(ErrorKind::Call, text))
    }

    fn needed_backend(&self) -> Result<&SharedBackend> {
        let text = "reach the result of the task: no result backend is configured; set result_backend";
        self.backend().ok_or_else(|| Error::new(ErrorKind::NoBackend, text))
    }

    /// Records a task that this run sent, for the `children` of its result, unless the task's option `trail` is off.
    pub fn add_child(&self, id: TaskId) {
        self.add_children(ResultTuple::task(id));
    }

    /// Records a result, or a group of results, that this run sent.
    pub fn add_children(&self, result: ResultTuple) {
        if self.task().is_none_or(|task| task.effective.trail) {
            self.0.children.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        }
    }

    /// What this run has added to its chord.
    pub(crate) fn additions(&self) -> &Additions {
        &self.0.additions
    }

    /// The parts for which the chord of this run may wait because of it, and that are not sent.
    #[doc(hidden)]
    pub fn unsent_additions(&self) -> Vec<TaskId> {
        self.0.additions.unsent()
    }

    /// Notes that the chord of this run may wait for parts that a child process has added and not sent.
    #[doc(hidden)]
    pub fn note_unsent(&self, added: &[TaskId]) {
        added.iter().for_each(|added| self.0.additions.begin(added));
    }

    /// Notes what a child process has left to the worker.
    #[doc(hidden)]
    pub fn hand_over(&self, handed: HandedOver) {
        *self.0.handed_over.lock().unwrap_or_else(PoisonError::into_inner) = Some(handed);
    }

    /// What a child process has left to the worker; `None` where it has done nothing of what follows.
    #[doc(hidden)]
    pub fn handed_over(&self) -> Option<HandedOver> {
        self.0.handed_over.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores a result document that a child process has made, as a state of this run if it is of its task.
    ///
    /// # Errors
    /// As [`update_state`](Self::update_state).
    #[doc(hidden)]
    pub async fn store_document(&self, document: ResultDocument) -> Result<()> {
        let policy = self.needed_publisher()?.config().result_policy();
        let is_own = self.request().id() == Some(&document.task_id);
        let mut record = ResultRecord::new(document).kept_for(policy.ttl);
        if is_own {
            record = record.by(self.0.run).replying_to(self.request().properties.reply_to.clone());
        }
        self.store(record).await
    }

    /// The version of this run, which a result backend compares; `None` in eager mode.
    #[doc(hidden)]
    pub fn run_version(&self) -> Option<RunVersion> {
        self.0.run
    }

    /// The results of what this run has sent so far.
    pub fn children(&self) -> Vec<ResultTuple> {
        self.0.children.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for Ctx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.request().id().map_or("none", |id| id.as_str());
        f.debug_struct("Ctx").field("task", &self.task_name()).field("id", &id).finish_non_exhaustive()
    }
}
