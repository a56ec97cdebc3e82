//! Errbacks that a worker calls itself, with the request, the exception and the traceback of the failed task (Celery's new style).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apium_app::canvas::node::{Node, TaskNode};
use apium_app::context::request::Request;
use apium_app::failure::Failure;
use apium_protocol::json::text::Json;

/// An errback that is to be called.
#[derive(Debug)]
pub(crate) struct PendingErrback {
    pub(crate) task: String,
    pub(crate) args: Vec<Json>,
    pub(crate) kwargs: Vec<(String, Json)>,
    /// The request of the task that failed.
    pub(crate) failed: Request,
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

/// Errbacks that wait until the failure that they belong to is stored. Clones share the list.
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
