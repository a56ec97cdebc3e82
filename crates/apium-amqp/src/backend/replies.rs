//! The states that came for this process: who waits for which task, and what came before anybody waited.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_transport::error::Result;

use crate::errors::closed;

/// How many states are kept that nobody waits for; the oldest go (Celery: `result_cache_max`).
const MOST: usize = 10_000;

/// The states that came, shared by a backend and its streams.
#[derive(Debug, Default)]
pub(crate) struct ResultInbox(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    closed: bool,
    last_number: u64,
    watches: HashMap<u64, Watch>,
    /// The watches that wait for a task.
    by_id: HashMap<TaskId, Vec<u64>>,
    /// What came for tasks that nobody waits for.
    kept: HashMap<TaskId, VecDeque<ResultDocument>>,
    order: VecDeque<TaskId>,
}

#[derive(Debug, Default)]
struct Watch {
    /// What came and was not yielded.
    states: VecDeque<ResultDocument>,
    /// The tasks whose ready state has not come.
    open: HashSet<TaskId>,
    waker: Option<Waker>,
}

impl ResultInbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A state came.
    pub(crate) fn add(&self, document: ResultDocument) {
        let wakers = self.lock().add(document);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Begins to wait for tasks; the number of the watch.
    pub(crate) fn watch(&self, ids: Vec<TaskId>) -> u64 {
        let inner = &mut *self.lock();
        inner.last_number += 1;
        let number = inner.last_number;
        inner.watches.insert(number, Watch { open: ids.iter().cloned().collect(), ..Watch::default() });
        for id in &ids {
            let waiting = inner.by_id.entry(id.clone()).or_default();
            if !waiting.contains(&number) {
                waiting.push(number);
            }
        }
        for id in ids {
            for document in inner.kept.remove(&id).unwrap_or_default() {
                inner.add(document);
            }
        }
        number
    }

    /// The next state of a watch; the end after the ready state of its last task.
    pub(crate) fn poll(&self, number: u64, waker: &Waker) -> Poll<Option<Result<ResultDocument>>> {
        let inner = &mut *self.lock();
        let Some(watch) = inner.watches.get_mut(&number) else { return Poll::Ready(None) };
        if let Some(document) = watch.states.pop_front() {
            return Poll::Ready(Some(Ok(document)));
        }
        if watch.open.is_empty() {
            return Poll::Ready(None);
        }
        if inner.closed {
            inner.watches.remove(&number);
            return Poll::Ready(Some(Err(closed("watch results"))));
        }
        watch.waker = Some(waker.clone());
        Poll::Pending
    }

    /// Ends a watch. What it has not yielded is kept for the next one.
    pub(crate) fn unwatch(&self, number: u64) {
        let inner = &mut *self.lock();
        let Some(watch) = inner.watches.remove(&number) else { return };
        for id in &watch.open {
            inner.forget_watch(id, number);
        }
        for document in watch.states {
            if !inner.by_id.contains_key(&document.task_id) {
                inner.keep(document);
            }
        }
    }

    /// Ends all watches with an error.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        let wakers: Vec<Waker> = inner.watches.values_mut().filter_map(|watch| watch.waker.take()).collect();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Inner {
    fn add(&mut self, document: ResultDocument) -> Vec<Waker> {
        let id = document.task_id.clone();
        let Some(numbers) = self.by_id.get(&id).cloned() else {
            self.keep(document);
            return Vec::new();
        };
        let is_ready = document.state.is_ready();
        let mut wakers = Vec::new();
        for number in numbers {
            let Some(watch) = self.watches.get_mut(&number) else { continue };
            watch.states.push_back(document.clone());
            wakers.extend(watch.waker.take());
            if is_ready {
                watch.open.remove(&id);
            }
        }
        if is_ready {
            self.by_id.remove(&id);
        }
        wakers
    }

    fn keep(&mut self, document: ResultDocument) {
        let id = document.task_id.clone();
        self.order.push_back(id.clone());
        self.kept.entry(id).or_default().push_back(document);
        while self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(states) = self.kept.get_mut(&oldest) {
                states.pop_front();
                if states.is_empty() {
                    self.kept.remove(&oldest);
                }
            }
        }
    }

    fn forget_watch(&mut self, id: &TaskId, number: u64) {
        if let Some(numbers) = self.by_id.get_mut(id) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_id.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use apium_protocol::json::text::Json;
    use apium_protocol::result::state::State;

    use super::*;

    fn state(id: &str, state: State) -> ResultDocument {
        ResultDocument::new(id, state, Json::NULL)
    }

    fn states(replies: &ResultInbox, number: u64) -> Vec<State> {
        let mut all = Vec::new();
        while let Poll::Ready(Some(Ok(document))) = replies.poll(number, Waker::noop()) {
            all.push(document.state);
        }
        all
    }

    #[test]
    fn what_came_before_and_after_is_shown_in_order() {
        let replies = ResultInbox::default();
        replies.add(state("t", State::Started));
        let watch = replies.watch(vec!["t".into()]);
        assert_eq!(states(&replies, watch), [State::Started]);
        replies.add(state("t", State::Success));
        assert_eq!(states(&replies, watch), [State::Success]);
        assert!(matches!(replies.poll(watch, Waker::noop()), Poll::Ready(None)));
    }

    #[test]
    fn what_a_dropped_watch_has_not_shown_is_kept() {
        let replies = ResultInbox::default();
        let dropped = replies.watch(vec!["t".into()]);
        replies.add(state("t", State::Started));
        replies.add(state("t", State::Failure));
        replies.unwatch(dropped);
        let watch = replies.watch(vec!["t".into()]);
        assert_eq!(states(&replies, watch), [State::Started, State::Failure]);
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        let replies = ResultInbox::default();
        for number in 0..=MOST {
            replies.add(state(&number.to_string(), State::Success));
        }
        assert_eq!(replies.lock().kept.len(), MOST);
        let watch = replies.watch(vec!["0".into()]);
        assert!(replies.poll(watch, Waker::noop()).is_pending());
    }

    #[test]
    fn closing_ends_what_waits() {
        let replies = ResultInbox::default();
        let watch = replies.watch(vec!["t".into()]);
        assert!(replies.poll(watch, Waker::noop()).is_pending());
        replies.close();
        assert!(matches!(replies.poll(watch, Waker::noop()), Poll::Ready(Some(Err(_)))));
    }
}
