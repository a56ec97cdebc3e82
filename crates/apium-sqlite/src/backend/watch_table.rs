//! Watching results: one place per process for any number of waiters. A watch is entered here first and reads what is
//! stored second, so no state is missed; places (`seq`) tell which of two documents is the newer.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_transport::error::{Error, ErrorKind, Result};

use crate::backend::results::FoundResult;
use crate::store::result_row::ResultRow;

/// How many states a watch that nobody polls may fall behind before the oldest that are not ready are left out.
const LAG: usize = 1024;

/// All watches of this process.
#[derive(Debug, Default)]
pub(crate) struct WatchTable {
    inner: Mutex<Inner>,
    /// The number of watched ids, to be looked at without the lock.
    watched: AtomicUsize,
}

#[derive(Debug, Default)]
struct Inner {
    watches: HashMap<u64, Watch>,
    by_id: HashMap<TaskId, Vec<u64>>,
    last: u64,
    /// All results up to this place were looked at, as far as they came from other processes.
    seen: i64,
    closed: bool,
}

#[derive(Debug, Default)]
struct Watch {
    states: VecDeque<(bool, Result<ResultDocument>)>,
    /// The newest place that was reported, by id, of those that are not ready.
    open: HashMap<TaskId, i64>,
    waker: Option<Waker>,
    /// Whether what was stored at the beginning has been read.
    begun: bool,
    /// Whether the backend handle it came from was closed.
    handle_closed: Arc<AtomicBool>,
}

impl Watch {
    fn add(&mut self, id: &TaskId, seq: i64, ready: bool, document: Result<ResultDocument>) {
        let Some(last) = self.open.get_mut(id) else { return };
        if seq <= *last {
            return;
        }
        *last = seq;
        if ready {
            self.open.remove(id);
        }
        if self.states.len() >= LAG
            && let Some(oldest) = self.states.iter().position(|(ready, _)| !ready)
        {
            self.states.remove(oldest);
        }
        self.states.push_back((ready, document));
    }
}

impl Inner {
    /// Adds a document to the watches of its id, and the wakers to be woken without the lock to `wakers`.
    fn tell(&mut self, id: &TaskId, seq: i64, document: Result<&ResultDocument, &Error>, wakers: &mut Vec<Waker>) {
        let ready = document.is_err() || document.is_ok_and(|document| document.state.is_ready());
        let watchers = match ready {
            true => self.by_id.remove(id),
            false => self.by_id.get(id).cloned(),
        };
        for watch in watchers.unwrap_or_default() {
            if let Some(watch) = self.watches.get_mut(&watch) {
                let document = match document {
                    Ok(document) => Ok(document.clone()),
                    Err(error) => Err(Error::new(error.kind(), error.to_string())),
                };
                watch.add(id, seq, ready, document);
                wakers.extend(watch.waker.take());
            }
        }
    }
}

impl WatchTable {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, inner: &Inner) {
        self.watched.store(inner.by_id.len(), Ordering::Release);
    }

    /// Whether anybody watches.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire) > 0
    }

    /// Enters a watch. `seen` is the last place of the store, read before.
    pub(crate) fn add(&self, ids: Vec<TaskId>, seen: i64, handle_closed: Arc<AtomicBool>) -> u64 {
        let mut inner = self.lock();
        if inner.by_id.is_empty() {
            inner.seen = inner.seen.max(seen);
        }
        inner.last += 1;
        let number = inner.last;
        let mut watch = Watch { handle_closed, ..Watch::default() };
        for id in ids {
            if watch.open.insert(id.clone(), 0).is_none() {
                inner.by_id.entry(id).or_default().push(number);
            }
        }
        inner.watches.insert(number, watch);
        self.count(&inner);
        number
    }

    /// Adds what was stored when the watch was entered.
    pub(crate) fn add_stored(&self, number: u64, found: Vec<(TaskId, FoundResult)>) {
        let mut inner = self.lock();
        let Some(mut watch) = inner.watches.remove(&number) else { return };
        for (id, (seq, document)) in found {
            let ready = document.as_ref().map_or(true, |document| document.state.is_ready());
            watch.add(&id, seq, ready, document);
            if ready && let Some(watchers) = inner.by_id.get_mut(&id) {
                watchers.retain(|watcher| *watcher != number);
                if watchers.is_empty() {
                    inner.by_id.remove(&id);
                }
            }
        }
        watch.begun = true;
        inner.watches.insert(number, watch);
        self.count(&inner);
    }

    /// Ends a watch.
    pub(crate) fn remove(&self, number: u64) {
        let mut inner = self.lock();
        if let Some(watch) = inner.watches.remove(&number) {
            for id in watch.open.keys() {
                if let Some(watchers) = inner.by_id.get_mut(id) {
                    watchers.retain(|watcher| *watcher != number);
                    if watchers.is_empty() {
                        inner.by_id.remove(id);
                    }
                }
            }
        }
        self.count(&inner);
    }

    /// Reports results that this process has committed, in order.
    pub(crate) fn notify(&self, results: &[(i64, Arc<ResultRow>)]) {
        if !self.is_watched() {
            return;
        }
        let mut wakers = Vec::new();
        let mut inner = self.lock();
        for (seq, record) in results {
            let document = &record.record.document;
            inner.tell(&document.task_id, *seq, Ok(document), &mut wakers);
        }
        self.count(&inner);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Reports results that were read from the store, all those up to the place `seen`.
    pub(crate) fn notify_found(&self, found: &[(TaskId, FoundResult)], seen: Option<i64>) {
        let mut wakers = Vec::new();
        let mut inner = self.lock();
        for (id, (seq, document)) in found {
            inner.tell(id, *seq, document.as_ref(), &mut wakers);
        }
        if let Some(seen) = seen {
            inner.seen = inner.seen.max(seen);
        }
        self.count(&inner);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The ids that are watched, when they are at most `few`; and the place up to which all was looked at.
    pub(crate) fn wanted(&self, few: usize) -> (Option<Vec<TaskId>>, i64) {
        let inner = self.lock();
        let ids = (inner.by_id.len() <= few).then(|| inner.by_id.keys().cloned().collect());
        (ids, inner.seen)
    }

    /// All ids that are watched.
    pub(crate) fn watched_ids(&self) -> HashSet<TaskId> {
        self.lock().by_id.keys().cloned().collect()
    }

    /// Ends every stream.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake_all();
    }

    /// Makes every watch look again, since a handle may have been closed.
    pub(crate) fn wake_all(&self) {
        let mut inner = self.lock();
        let wakers: Vec<Waker> = inner.watches.values_mut().filter_map(|watch| watch.waker.take()).collect();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The next news of a watch.
    pub(crate) fn poll(&self, number: u64, waker: &Waker) -> Poll<Option<Result<ResultDocument>>> {
        let mut inner = self.lock();
        let closed = inner.closed;
        let Some(watch) = inner.watches.get_mut(&number) else { return Poll::Ready(None) };
        if let Some((_, document)) = watch.states.pop_front() {
            return Poll::Ready(Some(document));
        }
        if watch.begun && watch.open.is_empty() {
            return Poll::Ready(None);
        }
        if closed || watch.handle_closed.load(Ordering::Acquire) {
            inner.watches.remove(&number);
            return Poll::Ready(Some(Err(Error::new(ErrorKind::Closed, "watch results: the handle was closed"))));
        }
        watch.waker = Some(waker.clone());
        Poll::Pending
    }
}
