//! Errbacks that a worker calls itself, with the request, the exception and the traceback of the failed task (Celery's
//! new-style errbacks).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apium_app::canvas::freeze::IdSeed;
use apium_app::canvas::node::TaskNode;
use apium_app::context::request::Request;
use apium_app::failure::Failure;
use apium_protocol::json::text::Json;

/// An errback that the worker is to call.
#[derive(Debug)]
pub(crate) struct PendingErrback {
    pub(crate) task: String,
    pub(crate) args: Vec<Json>,
    pub(crate) kwargs: Vec<(String, Json)>,
    /// How many of the first arguments tell of the failure.
    pub(crate) of_failure: usize,
    /// The request of the failed task.
    pub(crate) failed: Request,
}

impl PendingErrback {
    /// An errback of the task of `failed`. Its arguments are the request, the exception and the traceback, followed by
    /// its own; an immutable one has its own alone.
    pub(crate) fn new(errback: &TaskNode, failed: &Request, failure: &Failure) -> Self {
        let TaskNode { call, immutable, .. } = errback;
        let mut args = if *immutable { Vec::new() } else { errback_arguments(failed, failure) };
        let of_failure = args.len();
        args.extend(call.arguments.args.iter().cloned());
        let (task, kwargs) = (call.task.to_string(), call.arguments.kwargs.clone());
        Self { task, args, kwargs, of_failure, failed: failed.clone() }
    }
}

/// The arguments of an errback that the worker calls: the request, the exception and the traceback.
pub(crate) fn errback_arguments(failed: &Request, failure: &Failure) -> Vec<Json> {
    let traceback = Json::from_serialize(&*failure.traceback_text()).unwrap_or(Json::NULL);
    vec![request_map(failed), failure.exception().to_json(), traceback]
}

/// What an errback gets of the request of the failed task.
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

/// Errbacks that wait until the failure that they belong to is stored. Clones share one list: the completion of a run
/// has one, and what continues a chord, which the store calls, adds to it through another.
#[derive(Debug, Clone, Default)]
pub(crate) struct PendingErrbacks(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    waiting: Vec<(IdSeed, PendingErrback)>,
    /// The owners of errbacks that were called. Their failures may be made once more, and their errbacks with them.
    called: Vec<IdSeed>,
    /// Whether the chords that a run counts for may bring some.
    awaits_chords: bool,
}

impl PendingErrbacks {
    /// Adds an errback. `owner` is the id seed of the failure that it belongs to.
    pub(crate) fn push(&self, owner: IdSeed, errback: PendingErrback) {
        let mut list = self.lock();
        if !list.called.contains(&owner) {
            list.waiting.push((owner, errback));
        }
    }

    /// Removes the errbacks of `owner`, before they are made once more.
    pub(crate) fn remove(&self, owner: IdSeed) {
        self.lock().waiting.retain(|(other, _)| *other != owner);
    }

    /// Says that the chords that a run counts for may bring errbacks.
    pub(crate) fn await_chords(&self) {
        self.lock().awaits_chords = true;
    }

    /// Whether the chords that a run counts for may bring errbacks.
    pub(crate) fn awaits_chords(&self) -> bool {
        self.lock().awaits_chords
    }

    /// Whether no errback waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Takes all errbacks out of the list, to be called now.
    pub(crate) fn drain(&self) -> Vec<PendingErrback> {
        let mut list = self.lock();
        let waiting = std::mem::take(&mut list.waiting);
        list.called.extend(waiting.iter().map(|(owner, _)| *owner));
        waiting.into_iter().map(|(_, errback)| errback).collect()
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
