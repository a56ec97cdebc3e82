//! Errbacks that a worker calls itself, with the request, the exception and the traceback (Celery's new style). They run after the
//! failure is stored, one after the other, and whatever they do changes nothing about it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apium_app::canvas::node::{Node, TaskNode};
use apium_app::context::context::{Ctx, CtxParts};
use apium_app::context::limit_signal::LimitSignal;
use apium_app::context::request::Request;
use apium_app::context::state_map::StateMap;
use apium_app::failure::Failure;
use apium_app::publish::publisher::Publisher;
use apium_app::task::registry::Registry;
use apium_protocol::json::text::Json;
use apium_protocol::value::repr::repr_value;
use tokio::sync::Notify;

use crate::limits::time_limit::Limits;
use crate::outcome::RunOutcome;
use crate::pipeline::executor::Executor;
use crate::service::{Service, Stopping};

/// An errback that is to be called.
#[derive(Debug)]
pub(crate) struct PendingErrback {
    task: String,
    args: Vec<Json>,
    kwargs: Vec<(String, Json)>,
    /// The task that failed.
    failed: Request,
}

impl PendingErrback {
    /// An errback of a failed task: its arguments are the request, the exception and the traceback, and behind them its own.
    pub(crate) fn new(errback: &Node, failed: &Request, failure: &Failure) -> Self {
        let (task, stored) = match errback {
            Node::Task(TaskNode { call, .. }) => (call.task.to_string(), call.arguments.clone()),
            _ => (String::new(), Default::default()),
        };
        let mut args = called_with(failed, failure);
        args.extend(stored.args);
        Self { task, args, kwargs: stored.kwargs, failed: failed.clone() }
    }
}

/// What an errback of the new style is called with: the request, the exception, the traceback.
pub(crate) fn called_with(failed: &Request, failure: &Failure) -> Vec<Json> {
    let traceback = Json::from_serialize(&*failure.traceback_text()).unwrap_or(Json::NULL);
    vec![request_map(failed), failure.exception().to_json(), traceback]
}

/// What an errback sees of the request of the failed task.
fn request_map(request: &Request) -> Json {
    let headers = &request.headers;
    let map = serde_json::json!({
        "id": headers.id.as_ref().map(|id| id.as_str()),
        "task": headers.task.as_deref(),
        "root_id": headers.root_id.as_ref().map(|id| id.as_str()),
        "parent_id": headers.parent_id.as_ref().map(|id| id.as_str()),
        "group": headers.group.as_deref(),
        "group_index": headers.group_index,
        "retries": headers.retries,
        "argsrepr": headers.argsrepr.as_deref(),
        "kwargsrepr": headers.kwargsrepr.as_deref(),
        "hostname": &*request.hostname,
    });
    Json::from_serialize(&map).unwrap_or(Json::NULL)
}

/// Errbacks that wait until the end that they belong to is stored. Clones share the list.
#[derive(Debug, Clone, Default)]
pub(crate) struct PendingErrbacks(Arc<Mutex<Vec<(u64, PendingErrback)>>>);

impl PendingErrbacks {
    /// Adds one. `of` says what it belongs to.
    pub(crate) fn push(&self, of: u64, errback: PendingErrback) {
        self.lock().push((of, errback));
    }

    /// Forgets those of `of`, which is made anew.
    pub(crate) fn forget(&self, of: u64) {
        self.lock().retain(|(own, _)| *own != of);
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Those that wait.
    pub(crate) fn take(&self) -> Vec<PendingErrback> {
        std::mem::take(&mut *self.lock()).into_iter().map(|(_, errback)| errback).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, PendingErrback)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls errbacks in the background.
#[derive(Clone)]
pub(crate) struct ErrbackRunner(Arc<Shared>);

struct Shared {
    pending: Mutex<VecDeque<PendingErrback>>,
    wake: Notify,
    executor: Executor,
    registry: Arc<Registry>,
    publisher: Publisher,
    states: StateMap,
}

impl ErrbackRunner {
    pub(crate) fn new(executor: Executor, registry: Arc<Registry>, publisher: Publisher, states: StateMap) -> Self {
        let (pending, wake) = (Mutex::default(), Notify::new());
        Self(Arc::new(Shared { pending, wake, executor, registry, publisher, states }))
    }

    /// Hands over what waited.
    pub(crate) fn submit(&self, errbacks: Vec<PendingErrback>) {
        if errbacks.is_empty() {
            return;
        }
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner).extend(errbacks);
        self.0.wake.notify_one();
    }

    /// Starts the part that calls them. Asked to stop, it ends when none is left.
    pub(crate) fn start(&self) -> Service {
        let errbacks = self.clone();
        Service::start("errbacks", |stopping| async move { errbacks.serve(stopping).await })
    }

    async fn serve(&self, mut stopping: Stopping) {
        loop {
            let next = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some(errback) => self.call(errback).await,
                None if stopping.is_set() => return,
                None => tokio::select! {
                    () = self.0.wake.notified() => {}
                    () = stopping.wait() => {}
                },
            }
        }
    }

    async fn call(&self, errback: PendingErrback) {
        let PendingErrback { task, args, kwargs, failed } = errback;
        let Some(registered) = self.0.registry.get(&task).cloned() else { return };
        let id = failed.id().map_or("?", |id| id.as_str()).to_owned();
        let mut request = failed;
        (request.body.args, request.body.kwargs) = (args, kwargs);
        request.body.embed = Default::default();
        request.headers.task = Some(registered.name.clone());
        let ctx = Ctx::new(CtxParts {
            request: Arc::new(request),
            task: registered,
            publisher: self.0.publisher.clone(),
            backend: None,
            states: self.0.states.clone(),
            limits: LimitSignal::never(),
            run: None,
        });
        match self.0.executor.execute(&ctx, Limits::NONE, None).await {
            RunOutcome::Success(value) => {
                tracing::debug!(errback = task, id, "errback {task} of task {id} returned {}", repr_value(&value));
            }
            other => {
                tracing::error!(errback = task, id, ?other, "errback {task} of task {id} failed; its outcome stays")
            }
        }
    }
}
