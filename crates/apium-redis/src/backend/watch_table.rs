//! The watch table: which watch waits for which task, and the states that it has not delivered yet. No I/O.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use apium_protocol::result::document::ResultDocument;
use apium_transport::error::{Error, ErrorKind, Result};

use crate::backend::watch_state::State;

/// How many states a watch keeps that nobody polls. Then the oldest states that are not the last of a task are dropped.
const LAG: usize = 1024;

/// What was read, by key.
pub(crate) type ReadStates = HashMap<String, Option<Arc<State>>>;

/// All watches.
#[derive(Debug, Default)]
pub(crate) struct WatchTable {
    watches: HashMap<u64, Watch>,
    by_key: HashMap<String, Vec<u64>>,
    number: u64,
    /// The number of the last connection for messages. What was read before it may miss a state.
    generation: u64,
}

#[derive(Debug, Default)]
struct Watch {
    news: VecDeque<Arc<State>>,
    /// By key, the tasks that are not ready.
    open: HashMap<String, WatchedTask>,
    waker: Option<Waker>,
    /// Whether the states that were stored at its beginning have been read.
    started: bool,
    /// Whether the backend handle that opened it was closed.
    handle_closed: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct WatchedTask {
    /// The hash of the state that was shown last.
    shown: Option<u64>,
    /// The messages that came since a read began. `None` while no read is running.
    held_back: Option<VecDeque<Arc<State>>>,
}

/// What has to be done after the table is unlocked.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct AfterUnlock {
    pub(crate) wakers: Vec<Waker>,
    /// Keys that a watch needs no more, once for each such watch.
    pub(crate) released: Vec<String>,
}

/// Adds a state, and drops the oldest if there are too many. The last state of a task is never dropped.
fn push_bounded(states: &mut VecDeque<Arc<State>>, state: Arc<State>) {
    if states.len() >= LAG
        && let Some(oldest) = states.iter().position(|state| !state.last)
    {
        states.remove(oldest);
    }
    states.push_back(state);
}

impl Watch {
    /// Shows a state. Returns whether it was the last of its task.
    fn show(&mut self, key: &str, state: &Arc<State>, after: &mut AfterUnlock) -> bool {
        let Some(watched) = self.open.get_mut(key) else { return true };
        watched.shown = Some(state.print);
        push_bounded(&mut self.news, state.clone());
        after.wakers.extend(self.waker.take());
        if state.last {
            self.open.remove(key);
            after.released.push(key.to_owned());
        }
        state.last
    }

    /// Shows states in order, up to the last one of the task. Returns whether that was among them.
    fn show_all(&mut self, key: &str, states: impl IntoIterator<Item = Arc<State>>, after: &mut AfterUnlock) -> bool {
        states.into_iter().any(|state| self.show(key, &state, after))
    }

    /// A read of `key` has ended: shows what it found, and the messages that are newer. Returns whether the task is
    /// ready.
    fn caught_up(&mut self, key: &str, found: Option<&Arc<State>>, after: &mut AfterUnlock) -> bool {
        let Some(watched) = self.open.get_mut(key) else { return true };
        let Some(mut held_back) = watched.held_back.take() else { return false };
        let shown = watched.shown;
        let Some(found) = found else { return self.show_all(key, held_back, after) };
        if found.last {
            return self.show(key, found, after);
        }
        // All messages up to the read have come, so what it found is one of them, or is older than all.
        match held_back.iter().position(|state| state.print == found.print) {
            Some(position) => drop(held_back.drain(..=position)),
            None if shown == Some(found.print) => {}
            None => return self.show(key, found, after) || self.show_all(key, held_back, after),
        }
        if shown != Some(found.print) && self.show(key, found, after) {
            return true;
        }
        self.show_all(key, held_back, after)
    }
}

impl WatchTable {
    /// Adds a watch. It holds messages back until it has [begun](Self::begin).
    pub(crate) fn add(&mut self, keys: Vec<String>, handle_closed: Arc<AtomicBool>) -> u64 {
        self.number += 1;
        let number = self.number;
        let mut watch = Watch { handle_closed, ..Watch::default() };
        for key in keys {
            self.by_key.entry(key.clone()).or_default().push(number);
            watch.open.insert(key, WatchedTask { shown: None, held_back: Some(VecDeque::new()) });
        }
        self.watches.insert(number, watch);
        number
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Begins a watch with the states that were read. Returns false if there was another connection meanwhile: then
    /// they must be read once more.
    pub(crate) fn begin(&mut self, number: u64, generation: u64, found: &ReadStates, after: &mut AfterUnlock) -> bool {
        if generation != self.generation {
            return false;
        }
        let Some(mut watch) = self.watches.remove(&number) else { return true };
        for (key, found) in found {
            if watch.caught_up(key, found.as_ref(), after) {
                self.forget(key, number);
            }
        }
        watch.started = true;
        self.watches.insert(number, watch);
        true
    }

    /// Removes a watch.
    pub(crate) fn remove(&mut self, number: u64, after: &mut AfterUnlock) {
        let Some(watch) = self.watches.remove(&number) else { return };
        for key in watch.open.into_keys() {
            self.forget(&key, number);
            after.released.push(key);
        }
    }

    /// A watch waits for `key` no more.
    fn forget(&mut self, key: &str, number: u64) {
        if let Some(watchers) = self.by_key.get_mut(key) {
            watchers.retain(|watcher| *watcher != number);
            if watchers.is_empty() {
                self.by_key.remove(key);
            }
        }
    }

    /// Whether anybody waits for `key`.
    pub(crate) fn is_watched(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    /// Shows the state that a message brought.
    pub(crate) fn on_message(&mut self, key: &str, state: &Arc<State>, after: &mut AfterUnlock) {
        let Some(mut watchers) = self.by_key.remove(key) else { return };
        watchers.retain(|number| {
            let Some(watch) = self.watches.get_mut(number) else { return false };
            match watch.open.get_mut(key).map(|watched| &mut watched.held_back) {
                None => false,
                Some(Some(held_back)) => {
                    push_bounded(held_back, state.clone());
                    true
                }
                Some(None) => !watch.show(key, state, after),
            }
        });
        if !watchers.is_empty() {
            self.by_key.insert(key.to_owned(), watchers);
        }
    }

    /// There is a new connection for messages: all that is watched must be read again. Returns whether there is
    /// anything to read for watches that have begun. The others read by themselves.
    pub(crate) fn connected(&mut self, after: &mut AfterUnlock) -> bool {
        self.generation += 1;
        let mut any = false;
        let mut ready = Vec::new();
        for (number, watch) in &mut self.watches {
            let keys: Vec<String> = watch.open.keys().cloned().collect();
            for key in keys {
                // Messages that were held back are older than what will be read.
                let held_back = watch.open.get_mut(&key).and_then(|watched| watched.held_back.take());
                if watch.show_all(&key, held_back.into_iter().flatten(), after) {
                    ready.push((key, *number));
                } else if let Some(watched) = watch.open.get_mut(&key) {
                    watched.held_back = Some(VecDeque::new());
                    any |= watch.started;
                }
            }
        }
        for (key, number) in ready {
            self.forget(&key, number);
        }
        any
    }

    /// The number of the connection, and the keys that must be read for watches that have begun.
    pub(crate) fn to_read(&self) -> (u64, Vec<String>) {
        let waits = |number: &u64, key: &String| {
            let watch = self.watches.get(number).filter(|watch| watch.started);
            watch.and_then(|watch| watch.open.get(key)).is_some_and(|watched| watched.held_back.is_some())
        };
        let keys = self.by_key.iter().filter(|(key, watchers)| watchers.iter().any(|number| waits(number, key)));
        (self.generation, keys.map(|(key, _)| key.clone()).collect())
    }

    /// Shows what was read for watches that have begun. Returns false if there was another connection meanwhile.
    pub(crate) fn read_again(&mut self, generation: u64, found: &ReadStates, after: &mut AfterUnlock) -> bool {
        if generation != self.generation {
            return false;
        }
        for (key, found) in found {
            let Some(mut watchers) = self.by_key.remove(key) else { continue };
            watchers.retain(|number| {
                let Some(watch) = self.watches.get_mut(number) else { return false };
                !watch.started || !watch.caught_up(key, found.as_ref(), after)
            });
            if !watchers.is_empty() {
                self.by_key.insert(key.clone(), watchers);
            }
        }
        true
    }

    /// Wakes every watch, since a handle may have been closed.
    pub(crate) fn wake_all(&mut self, after: &mut AfterUnlock) {
        after.wakers.extend(self.watches.values_mut().filter_map(|watch| watch.waker.take()));
    }

    /// The next state of a watch.
    pub(crate) fn poll(
        &mut self,
        number: u64,
        waker: &Waker,
        after: &mut AfterUnlock,
    ) -> Poll<Option<Result<ResultDocument>>> {
        let Some(watch) = self.watches.get_mut(&number) else { return Poll::Ready(None) };
        if let Some(state) = watch.news.pop_front() {
            return Poll::Ready(Some(state.document()));
        }
        if watch.started && watch.open.is_empty() {
            return Poll::Ready(None);
        }
        if watch.handle_closed.load(Ordering::Acquire) {
            self.remove(number, after);
            return Poll::Ready(Some(Err(Error::new(ErrorKind::Closed, "watch results: the handle was closed"))));
        }
        watch.waker = Some(waker.clone());
        Poll::Pending
    }
}
