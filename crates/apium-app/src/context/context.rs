//! The context of one run: what Celery gives a bound task as `self`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use apium_protocol::error::with_causes;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultTuple;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::{ResultRecord, RunVersion, SharedBackend};
use serde::Serialize;
use tokio::runtime::Handle;

use crate::context::blocking_scope::BlockingScope;
use crate::context::deferred::Deferred;
use crate::context::limit_signal::LimitSignal;
use crate::context::request::Request;
use crate::context::result_document::{ResultUpdate, other_task_document, result_document};
use crate::context::state_map::StateMap;
use crate::error::{Error, ErrorKind, Result};
use crate::failure::Failure;
use crate::publish::publisher::Publisher;
use crate::task::registered::RegisteredTask;
use crate::task_error::{TaskError, TaskErrorKind, TaskResult};

/// The context of one run. A task takes it as `&Ctx` (Celery: `bind=True`). Cheap to clone; every clone is the same
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
    runtime: Option<Handle>,
    children: Mutex<Vec<ResultTuple>>,
    aborted: AtomicBool,
    asked: Mutex<Option<Instant>>,
}

/// The state of a task that was asked to stop (Celery's `contrib.abortable`).
pub const ABORTED: &str = "ABORTED";

/// How often a plain function that checks itself asks whether it was aborted.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What a context is made of.
pub struct CtxParts {
    /// The request.
    pub request: Arc<Request>,
    /// The task that runs.
    pub task: Arc<RegisteredTask>,
    /// By which it sends messages.
    pub publisher: Publisher,
    /// Where its states are stored.
    pub backend: Option<SharedBackend>,
    /// The app's state.
    pub states: StateMap,
    /// By which it learns that its time is up.
    pub limits: LimitSignal,
    /// Marks what this run stores.
    pub run: Option<RunVersion>,
}

impl Ctx {
    /// The context of a run by a worker or in eager mode. Called where the runtime is entered, so that plain task
    /// functions can wait for what the context does.
    pub fn new(parts: CtxParts) -> Self {
        Self(Arc::new(Inner {
            request: parts.request,
            task: Some(parts.task),
            publisher: Some(parts.publisher),
            backend: parts.backend,
            states: parts.states,
            limits: parts.limits,
            run: parts.run,
            runtime: Handle::try_current().ok(),
            children: Mutex::default(),
            aborted: AtomicBool::new(false),
            asked: Mutex::default(),
        }))
    }

    /// The context of a function that is called without a message: `request().called_directly` is true, there is no id,
    /// no broker and no backend.
    pub fn direct() -> Self {
        Self::direct_with(StateMap::new(), None)
    }

    /// As [`direct`](Self::direct), with state for the function to take, and what its calls are sent through.
    pub fn direct_with(states: StateMap, publisher: Option<Publisher>) -> Self {
        Self::without_task(Request::direct(), states, publisher)
    }

    /// As [`direct`](Self::direct), around a request of one's own: for unit tests of tasks that look at it (Celery:
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
            runtime: Handle::try_current().ok(),
            children: Mutex::default(),
            aborted: AtomicBool::new(false),
            asked: Mutex::default(),
        }))
    }

    /// What the message said about this run.
    pub fn request(&self) -> &Request {
        &self.0.request
    }

    /// The request, shared.
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

    /// How many retries the task's options allow (Celery: `self.max_retries`); `None` is no limit. It is `None` too
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

    /// The task as it is registered; `None` when called directly.
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

    /// What it sends messages through; `None` when called directly without an app.
    pub fn publisher(&self) -> Option<&Publisher> {
        self.0.publisher.as_ref()
    }

    /// Where its states are stored, if anywhere.
    pub fn backend(&self) -> Option<&SharedBackend> {
        self.0.backend.as_ref()
    }

    /// Marks what this run stores; `None` outside a worker.
    pub fn run_mark(&self) -> Option<RunVersion> {
        self.0.run
    }

    /// Tells when the soft time limit passes.
    pub fn soft_limit(&self) -> &LimitSignal {
        &self.0.limits
    }

    /// For plain code, now and then: an error once the run should stop. Passed time limits end the task as
    /// `SoftTimeLimitExceeded` or `TimeLimitExceeded`; an abort leaves the state ABORTED as it is. In a plain function
    /// it asks the result backend for an abort itself, at most once a second; async code asks by
    /// [`aborted`](Self::aborted).
    ///
    /// # Errors
    /// As said; return it with `?`.
    pub fn check(&self) -> TaskResult<()> {
        if self.0.limits.given_up() {
            let limit = self.task().and_then(|task| task.effective.time_limit).unwrap_or_default();
            return Err(Failure::time_limit(limit.as_secs_f64()).into());
        }
        if self.0.limits.reached() {
            return Err(Failure::soft_time_limit().into());
        }
        if self.is_time_to_ask()
            && let Err(error) = self.aborted().wait()
        {
            tracing::debug!(task = self.task_name(), error = %with_causes(&error), "whether the task was aborted is not known");
        }
        match self.0.aborted.load(Ordering::Relaxed) {
            true => Err(TaskError::new(TaskErrorKind::Ignore)),
            false => Ok(()),
        }
    }

    fn is_time_to_ask(&self) -> bool {
        if !BlockingScope::is_running() || self.backend().is_none() || self.request().id().is_none() {
            return false;
        }
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = asked.is_none_or(|last| last.elapsed() >= ASK_EVERY);
        if due {
            *asked = Some(Instant::now());
        }
        due
    }

    /// Stores a state of the task's own, with meta that callers see while they wait:
    /// `ctx.update_state("PROGRESS", json!(…))`. It is written at once, also where results are ignored. Await it, or
    /// call `wait()` in a plain function.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] when called directly, [`ErrorKind::NoBackend`] without a result backend,
    /// [`ErrorKind::Codec`] for meta that has no JSON form, [`ErrorKind::Backend`] when the backend fails.
    pub fn update_state(&self, state: impl Into<State>, meta: impl Serialize) -> Deferred<()> {
        let (state, meta) = (state.into(), Json::from_serialize(&meta));
        let ctx = self.clone();
        self.deferred(async move {
            let Some(id) = ctx.request().id().cloned() else {
                let text = format!("store the state {state}: the function was called directly and has no task id");
                return Err(Error::new(ErrorKind::Call, text));
            };
            let told = ResultUpdate { state, result: meta?, traceback: None };
            let record = ctx.record(id, told, ctx.children())?;
            ctx.store(record).await
        })
    }

    /// Stores a state of another task, by its id.
    ///
    /// # Errors
    /// As [`update_state`](Self::update_state), except that it works when called directly too.
    pub fn update_state_of(&self, id: TaskId, state: impl Into<State>, meta: impl Serialize) -> Deferred<()> {
        let (state, meta) = (state.into(), Json::from_serialize(&meta));
        let ctx = self.clone();
        self.deferred(async move {
            let publisher = ctx.needed_publisher()?;
            let rules = publisher.config().result_policy();
            let told = ResultUpdate { state, result: meta?, traceback: None };
            let document = other_task_document(id, told, &rules, publisher.clock().now());
            ctx.store(ResultRecord::new(document).kept_for(rules.ttl)).await
        })
    }

    /// Whether the task was aborted (`AsyncResult::abort`): a task that runs long asks now and then, and returns. Once
    /// it was, [`check`](Self::check) ends the task too.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] without a result backend, [`ErrorKind::Backend`] when the backend fails.
    pub fn aborted(&self) -> Deferred<bool> {
        let ctx = self.clone();
        self.deferred(async move {
            let Some(id) = ctx.request().id().cloned() else { return Ok(false) };
            // Where nothing is stored nobody can abort.
            let Some(stored) = ctx.needed_backend()?.stored() else { return Ok(false) };
            let documents = stored.fetch(&[id]).await?;
            let aborted = documents.iter().flatten().any(|document| document.state.as_str() == ABORTED);
            if aborted {
                ctx.0.aborted.store(true, Ordering::Relaxed);
            }
            Ok(aborted)
        })
    }

    /// The signature that would send this request again (Celery: `signature_from_request`), without its id.
    pub fn to_signature(&self) -> Signature {
        let Request { headers, body, .. } = self.request();
        let mut signature = Signature::new(headers.task.clone().unwrap_or_else(|| self.task_name().into()));
        signature.args = body.args.clone();
        signature.kwargs = body.kwargs.clone();
        signature
    }

    /// The record of this run in a given state, with this run's mark.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] when called directly without an app.
    pub fn record(&self, id: TaskId, told: ResultUpdate, children: Vec<ResultTuple>) -> Result<ResultRecord> {
        let publisher = self.needed_publisher()?;
        let rules = publisher.config().result_policy();
        let document = result_document(self.request(), id, told, children, &rules, publisher.clock().now());
        let reply_to = self.request().properties.reply_to.clone();
        Ok(ResultRecord::new(document).by(self.0.run).kept_for(rules.ttl).replying_to(reply_to))
    }

    async fn store(&self, record: ResultRecord) -> Result<()> {
        self.needed_backend()?.store(vec![record]).await?;
        Ok(())
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
        let text = "reach the result of the task: no result backend is configured (set result_backend)";
        self.backend().ok_or_else(|| Error::new(ErrorKind::NoBackend, text))
    }

    /// Notes a task that this run sent, for the `children` of its result; not when the task's option `trail` is off.
    pub fn add_child(&self, id: TaskId) {
        self.add_children(ResultTuple::task(id));
    }

    /// Notes a result, or a group of results, that this run sent.
    pub fn add_children(&self, result: ResultTuple) {
        if self.task().is_none_or(|task| task.effective.trail) {
            self.0.children.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        }
    }

    /// What this run has sent so far.
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
