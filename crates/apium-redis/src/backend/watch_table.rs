//! Which watch waits for which task, and what it has not yet been shown. No I/O.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use apium_protocol::result::document::ResultDocument;
use apium_transport::error::{Error, ErrorKind, Result};

use crate::backend::watch_state::State;

/// How many states a watch that nobody polls may fall behind before the oldest that are not ready are left out.
const LAG: usize = 1024;

/// What was read of some keys.
pub(crate) type ReadStates = HashMap<String, Option<Arc<State>>>;

/// All watches.
#[derive(Debug, Default)]
pub(crate) struct WatchTable {
    watches: HashMap<u64, Watch>,
    by_key: HashMap<String, Vec<u64>>,
    number: u64,
    /// Counts the connections for messages. What was read before the last one began may miss something.
    generation: u64,
}

#[derive(Debug, Default)]
struct Watch {
    news: VecDeque<Arc<State>>,
    /// By key, the tasks that are not ready.
    open: HashMap<String, WatchedTask>,
    waker: Option<Waker>,
    /// Whether what was stored at the beginning has been read.
    started: bool,
    /// Whether the backend handle that it came from was closed.
    handle_closed: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct WatchedTask {
    /// The state that was shown last.
    shown: Option<u64>,
    /// The messages since a reading began, until it ends.
    held_back: Option<VecDeque<Arc<State>>>,
}

/// What has to be done when the hub is not locked any more.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct AfterUnlock {
    pub(crate) wakers: Vec<Waker>,
    /// Keys that one watch needs no more, each as often as there are such watches.
    pub(crate) released: Vec<String>,
}

/// Makes room in a queue that nobody empties. The last state of a task is always kept.
fn push_bounded(states: &mut VecDeque<Arc<State>>, state: Arc<State>) {
    if states.len() >= LAG
        && let Some(oldest) = states.iter().position(|state| !state.last)
    {
        states.remove(oldest);
    }
    states.push_back(state);
}

impl Watch {
    /// Shows a state; says whether it was the last of its task.
    fn show(&mut self, key: &str, state: &Arc<State>, after: &mut AfterUnlock) -> bool {
        let Some(following) = self.open.get_mut(key) else { return true };
        following.shown = Some(state.print);
        push_bounded(&mut self.news, state.clone());
        after.wakers.extend(self.waker.take());
        if state.last {
            self.open.remove(key);
            after.released.push(key.to_owned());
        }
        state.last
    }

    /// Shows states in order up to the last; says whether it was there.
    fn show_all(&mut self, key: &str, states: impl IntoIterator<Item = Arc<State>>, after: &mut AfterUnlock) -> bool {
        states.into_iter().any(|state| self.show(key, &state, after))
    }

    /// A reading of `key` has ended: shows what it found and the messages that are newer. Says whether the task has ended.
    fn caught_up(&mut self, key: &str, found: Option<&Arc<State>>, after: &mut AfterUnlock) -> bool {
        let Some(following) = self.open.get_mut(key) else { return true };
        let Some(mut held) = following.held_back.take() else { return false };
        let shown = following.shown;
        let Some(found) = found else { return self.show_all(key, held, after) };
        if found.last {
            return self.show(key, found, after);
        }
        // All messages up to the reading have come: it is one of them, or it is older than all.
        match held.iter().position(|state| state.print == found.print) {
            Some(place) => drop(held.drain(..=place)),
            None if shown == Some(found.print) => {}
            None => return self.show(key, found, after) || self.show_all(key, held, after),
        }
        if shown != Some(found.print) && self.show(key, found, after) {
            return true;
        }
        self.show_all(key, held, after)
    }
}

impl WatchTable {
    /// Enters a watch, which holds messages back until it was [begun](Self::begin).
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

    /// What the tasks of a watch were found to be. `false` when connections changed meanwhile and it must be read again.
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

    /// Ends a watch.
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
            match watch.open.get_mut(key).map(|following| &mut following.held_back) {
                None => false,
                Some(Some(held)) => {
                    push_bounded(held, state.clone());
                    true
                }
                Some(None) => !watch.show(key, state, after),
            }
        });
        if !watchers.is_empty() {
            self.by_key.insert(key.to_owned(), watchers);
        }
    }

    /// There is a new connection for messages: everything watched must be read again. Says whether anything is to be read for
    /// watches that have begun; the others read by themselves.
    pub(crate) fn connected(&mut self, after: &mut AfterUnlock) -> bool {
        self.generation += 1;
        let mut any = false;
        let mut ended = Vec::new();
        for (number, watch) in &mut self.watches {
            let keys: Vec<String> = watch.open.keys().cloned().collect();
            for key in keys {
                // What was held is older than what will be read.
                let held = watch.open.get_mut(&key).and_then(|following| following.held_back.take());
                if watch.show_all(&key, held.into_iter().flatten(), after) {
                    ended.push((key, *number));
                } else if let Some(following) = watch.open.get_mut(&key) {
                    following.held_back = Some(VecDeque::new());
                    any |= watch.started;
                }
            }
        }
        for (key, number) in ended {
            self.forget(&key, number);
        }
        any
    }

    /// The keys that must be read for watches that have begun, and the generation.
    pub(crate) fn to_read(&self) -> (u64, Vec<String>) {
        let waits = |number: &u64, key: &String| {
            let watch = self.watches.get(number).filter(|watch| watch.started);
            watch.and_then(|watch| watch.open.get(key)).is_some_and(|following| following.held_back.is_some())
        };
        let keys = self.by_key.iter().filter(|(key, watchers)| watchers.iter().any(|number| waits(number, key)));
        (self.generation, keys.map(|(key, _)| key.clone()).collect())
    }

    /// What was found for watches that have begun. `false` when connections changed meanwhile.
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

    /// The wakers of everybody, since a handle may have been closed.
    pub(crate) fn wake_all(&mut self, after: &mut AfterUnlock) {
        after.wakers.extend(self.watches.values_mut().filter_map(|watch| watch.waker.take()));
    }

    /// The next news of a watch.
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
