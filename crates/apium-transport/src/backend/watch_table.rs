//! Who waits for which task's states, and what each of them has not read yet. No I/O and no lock: a driver keeps its
//! table behind a lock of its own, reports the states to it, and carries out the [`WatchChanges`].
//!
//! A watch is added first and reads what is stored second, so that it misses no state. Until
//! [`start`](WatchTable::start) tells it what was read, it holds reported states back; then it drops those that what
//! was read makes out of date. Where reports come in order a last state is shown at once, as if it had been read.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use apium_protocol::result::document::ResultDocument;

use crate::backend::watch_state::{StateVersion, WatchedState};
use crate::error::{Error, ErrorKind, Result};

/// How many states a watch may fall behind that nobody polls. With more, the oldest one is left out that is not the
/// last of its task. A watch of more tasks may fall behind by one state for each of them.
pub const MAX_LAG: usize = 1024;

/// The watches of one store in this process. `K` names a task.
#[derive(Debug)]
pub struct WatchTable<K> {
    watches: HashMap<u64, Watch<K>>,
    /// The watches that wait for a task.
    by_id: HashMap<K, Vec<u64>>,
    last_number: u64,
}

#[derive(Debug)]
struct Watch<K> {
    /// What the stream has not yielded yet.
    states: VecDeque<WatchedState>,
    /// How many states there may be, but for last ones.
    limit: usize,
    /// The tasks whose last state was not shown yet.
    open: HashMap<K, WatchedTask>,
    waker: Option<Waker>,
    /// Whether it was told what is stored.
    started: bool,
    /// Whether the backend handle that it came from was closed.
    handle_closed: Arc<AtomicBool>,
}

#[derive(Debug)]
struct WatchedTask {
    /// The version of the state that was shown last.
    shown: Option<StateVersion>,
    /// The states that were reported while what is stored is being read.
    held_back: Option<VecDeque<WatchedState>>,
}

/// What is to be done after a change.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct WatchChanges<K> {
    /// To be woken after unlocking the table.
    pub wakers: Vec<Waker>,
    /// Tasks for which nobody waited before. Whoever subscribes to tasks does that before it unlocks the table: then
    /// the subscriptions are in the order of the changes, and a second watch of a task can rely on that of the first.
    pub watched: Vec<K>,
    /// Tasks for which nobody waits any more, also to be used before unlocking.
    pub unwatched: Vec<K>,
}

impl<K> WatchChanges<K> {
    /// Wakes whoever is to be woken.
    pub fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

impl<K> Default for WatchChanges<K> {
    fn default() -> Self {
        Self { wakers: Vec::new(), watched: Vec::new(), unwatched: Vec::new() }
    }
}

impl<K> Default for WatchTable<K> {
    fn default() -> Self {
        Self { watches: HashMap::new(), by_id: HashMap::new(), last_number: 0 }
    }
}

/// Appends a state. When there are `limit` of them, leaves out the oldest one that is not the last of its task.
fn push_bounded(states: &mut VecDeque<WatchedState>, state: WatchedState, limit: usize) {
    if states.len() >= limit
        && let Some(oldest) = states.iter().position(|state| !state.is_last())
    {
        states.remove(oldest);
    }
    states.push_back(state);
}

impl<K: Eq + Hash> Watch<K> {
    /// Takes a reported state. Returns whether its task has ended for this watch.
    fn report(&mut self, id: &K, state: &WatchedState, wakers: &mut Vec<Waker>) -> bool {
        let Some(task) = self.open.get_mut(id) else { return true };
        let Some(held_back) = &mut task.held_back else { return self.show(id, state, wakers) };
        if state.is_last() && state.version.is_reported_in_order() {
            // As if it had been read.
            task.held_back = None;
            return self.show(id, state, wakers);
        }
        push_bounded(held_back, state.clone(), self.limit);
        false
    }

    /// Shows a state, unless it is older than what was shown. Returns whether the task has ended for this watch.
    fn show(&mut self, id: &K, state: &WatchedState, wakers: &mut Vec<Waker>) -> bool {
        let Some(task) = self.open.get_mut(id) else { return true };
        if task.shown.is_some_and(|shown| state.version.is_stale_after(shown)) {
            return false;
        }
        task.shown = Some(state.version);
        push_bounded(&mut self.states, state.clone(), self.limit);
        wakers.extend(self.waker.take());
        let last = state.is_last();
        if last {
            self.open.remove(id);
        }
        last
    }

    /// Shows states in order, up to the last of the task. Returns whether the task has ended for this watch.
    fn show_all(&mut self, id: &K, states: VecDeque<WatchedState>, wakers: &mut Vec<Waker>) -> bool {
        states.iter().any(|state| self.show(id, state, wakers))
    }

    /// Ends the holding back of a task: shows the state that was read, and those of the reported ones that are newer.
    /// Returns whether the task has ended for this watch.
    fn catch_up(&mut self, id: &K, read: Option<&WatchedState>, wakers: &mut Vec<Waker>) -> bool {
        let Some(task) = self.open.get_mut(id) else { return true };
        let Some(mut held_back) = task.held_back.take() else { return false };
        let Some(read) = read else { return self.show_all(id, held_back, wakers) };
        if read.is_last() {
            return self.show(id, read, wakers);
        }
        // All states that were written before the reading have been reported. So the one that was read is one of them,
        // or it is older than all.
        if let Some(same) = held_back.iter().position(|state| state.version.is_not_newer_than(read.version)) {
            held_back.drain(..=same);
        }
        let is_shown = task.shown.is_some_and(|shown| read.version.is_not_newer_than(shown));
        (!is_shown && self.show(id, read, wakers)) || self.show_all(id, held_back, wakers)
    }

    /// The tasks that hold states back.
    fn held_back(&self) -> impl Iterator<Item = &K> {
        self.open.iter().filter(|(_, task)| task.held_back.is_some()).map(|(id, _)| id)
    }
}

impl<K: Clone + Eq + Hash> WatchTable<K> {
    /// Adds a watch of `ids` and returns its number. It holds reported states back until [`start`](Self::start). When
    /// `handle_closed` is set, and [`wake_all`](Self::wake_all) was called after that, it ends with an error.
    pub fn add(
        &mut self,
        ids: impl IntoIterator<Item = K>,
        handle_closed: Arc<AtomicBool>,
        changes: &mut WatchChanges<K>,
    ) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        let mut open = HashMap::new();
        for id in ids {
            let Entry::Vacant(place) = open.entry(id.clone()) else { continue };
            place.insert(WatchedTask { shown: None, held_back: Some(VecDeque::new()) });
            let watchers = self.by_id.entry(id.clone()).or_default();
            if watchers.is_empty() {
                changes.watched.push(id);
            }
            watchers.push(number);
        }
        let limit = MAX_LAG.max(open.len());
        let watch = Watch { states: VecDeque::new(), limit, open, waker: None, started: false, handle_closed };
        self.watches.insert(number, watch);
        number
    }

    /// Tells a watch what was read after it was added. A task that is not among them has no state.
    ///
    /// Every state that was written before the reading must have been reported, or be older than all reported ones.
    pub fn start(&mut self, number: u64, read: &[(K, WatchedState)], changes: &mut WatchChanges<K>) {
        let Some(watch) = self.watches.get_mut(&number) else { return };
        watch.started = true;
        let mut ended = Vec::new();
        for (id, state) in read {
            if watch.catch_up(id, Some(state), &mut changes.wakers) {
                ended.push(id.clone());
            }
        }
        let unread: Vec<K> = watch.held_back().cloned().collect();
        for id in unread {
            if watch.catch_up(&id, None, &mut changes.wakers) {
                ended.push(id);
            }
        }
        for id in ended {
            self.forget(&id, number, changes);
        }
    }

    /// Ready once a watch has started, or all its tasks have ended, which starts it. Until then it keeps the waker.
    pub fn poll_ended(&mut self, number: u64, waker: &Waker) -> Poll<()> {
        let Some(watch) = self.watches.get_mut(&number) else { return Poll::Ready(()) };
        watch.started |= watch.open.is_empty();
        watch.waker = (!watch.started).then(|| waker.clone());
        if watch.started { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Reports a state to the watches of its task.
    pub fn notify(&mut self, id: &K, state: &WatchedState, changes: &mut WatchChanges<K>) {
        self.for_watches_of(id, changes, |watch, wakers| watch.report(id, state, wakers));
    }

    /// Ends a watch.
    pub fn remove(&mut self, number: u64, changes: &mut WatchChanges<K>) {
        let Some(watch) = self.watches.remove(&number) else { return };
        for id in watch.open.keys() {
            self.forget(id, number, changes);
        }
    }

    /// Has every started watch hold states back until [`resume`](Self::resume), because reports may have been lost:
    /// what is stored must be read again. Returns whether anything is to be read; watches that are not started read by
    /// themselves, and must not start with what they had read before.
    #[must_use]
    pub fn hold_back(&mut self, changes: &mut WatchChanges<K>) -> bool {
        let mut must_read = false;
        let mut ended = Vec::new();
        for (number, watch) in &mut self.watches {
            let ids: Vec<K> = watch.open.keys().cloned().collect();
            for id in ids {
                // What is held back is older than what will be read.
                let held_back = watch.open.get_mut(&id).and_then(|task| task.held_back.take());
                if watch.show_all(&id, held_back.unwrap_or_default(), &mut changes.wakers) {
                    ended.push((id, *number));
                } else if let Some(task) = watch.open.get_mut(&id) {
                    task.held_back = Some(VecDeque::new());
                    must_read |= watch.started;
                }
            }
        }
        for (id, number) in ended {
            self.forget(&id, number, changes);
        }
        must_read
    }

    /// The tasks that must be read for [`resume`](Self::resume).
    pub fn held_back_ids(&self) -> Vec<K> {
        let held_back = self.watches.values().filter(|watch| watch.started).flat_map(Watch::held_back);
        held_back.collect::<std::collections::HashSet<_>>().into_iter().cloned().collect()
    }

    /// Tells all started watches what was read after [`hold_back`](Self::hold_back). A task that is not among them has
    /// no state.
    pub fn resume(&mut self, read: &[(K, WatchedState)], changes: &mut WatchChanges<K>) {
        for (id, state) in read {
            self.for_watches_of(id, changes, |watch, wakers| watch.started && watch.catch_up(id, Some(state), wakers));
        }
        for id in self.held_back_ids() {
            self.for_watches_of(&id, changes, |watch, wakers| watch.started && watch.catch_up(&id, None, wakers));
        }
    }

    /// Has every watch polled again, because a handle was closed.
    pub fn wake_all(&mut self, changes: &mut WatchChanges<K>) {
        changes.wakers.extend(self.watches.values_mut().filter_map(|watch| watch.waker.take()));
    }

    /// The next state of a watch. `None` after the last state of its last task, [`ErrorKind::Closed`] when its handle
    /// was closed. Keeps the waker when there is nothing yet.
    pub fn poll(
        &mut self,
        number: u64,
        waker: &Waker,
        changes: &mut WatchChanges<K>,
    ) -> Poll<Option<Result<ResultDocument>>> {
        let Some(watch) = self.watches.get_mut(&number) else { return Poll::Ready(None) };
        if let Some(state) = watch.states.pop_front() {
            return Poll::Ready(Some(state.into_document()));
        }
        if watch.started && watch.open.is_empty() {
            return Poll::Ready(None);
        }
        if watch.handle_closed.load(Ordering::Acquire) {
            self.remove(number, changes);
            return Poll::Ready(Some(Err(Error::new(ErrorKind::Closed, "watch results: the handle was closed"))));
        }
        watch.waker = Some(waker.clone());
        Poll::Pending
    }

    /// Whether anybody waits for a task.
    pub fn is_watched(&self, id: &K) -> bool {
        self.by_id.contains_key(id)
    }

    /// The tasks for which anybody waits.
    pub fn watched_ids(&self) -> impl ExactSizeIterator<Item = &K> {
        self.by_id.keys()
    }

    /// Calls `change` with each watch that waits for a task, and forgets those for which it returns that the task has
    /// ended.
    fn for_watches_of(
        &mut self,
        id: &K,
        changes: &mut WatchChanges<K>,
        mut change: impl FnMut(&mut Watch<K>, &mut Vec<Waker>) -> bool,
    ) {
        let Some(watchers) = self.by_id.get_mut(id) else { return };
        watchers.retain(|number| match self.watches.get_mut(number) {
            Some(watch) => !change(watch, &mut changes.wakers),
            None => false,
        });
        if watchers.is_empty() {
            self.by_id.remove(id);
            changes.unwatched.push(id.clone());
        }
    }

    /// A watch no longer waits for a task.
    fn forget(&mut self, id: &K, number: u64, changes: &mut WatchChanges<K>) {
        if let Some(watchers) = self.by_id.get_mut(id) {
            watchers.retain(|watcher| *watcher != number);
            if watchers.is_empty() {
                self.by_id.remove(id);
                changes.unwatched.push(id.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use apium_protocol::json::text::Json;
    use apium_protocol::result::state::State;

    use super::StateVersion::{Fingerprint, InOrder, Sequence};
    use super::*;

    type Table = WatchTable<&'static str>;
    type Changes = WatchChanges<&'static str>;

    fn state(version: StateVersion, state: &str) -> WatchedState {
        WatchedState::new(version, Ok(Arc::new(ResultDocument::new("t", State::from(state), Json::NULL))))
    }

    /// What happened to which tasks since the last call.
    fn watched(changes: &mut Changes) -> (Vec<&'static str>, Vec<&'static str>) {
        let mut all = std::mem::take(changes);
        all.watched.sort_unstable();
        all.unwatched.sort_unstable();
        (all.watched, all.unwatched)
    }

    /// The states that a watch has not yielded yet.
    fn drain(table: &mut Table, number: u64) -> Vec<String> {
        let mut changes = Changes::default();
        std::iter::from_fn(|| match table.poll(number, Waker::noop(), &mut changes) {
            Poll::Ready(Some(document)) => Some(document.unwrap().state.as_str().to_owned()),
            Poll::Ready(None) | Poll::Pending => None,
        })
        .collect()
    }

    fn is_ended(table: &mut Table, number: u64) -> bool {
        matches!(table.poll(number, Waker::noop(), &mut Changes::default()), Poll::Ready(None))
    }

    /// A table with a watch of `ids` that has started.
    fn started(ids: &[&'static str], read: &[(&'static str, WatchedState)]) -> (Table, u64, Changes) {
        let (mut table, mut changes) = (Table::default(), Changes::default());
        let number = table.add(ids.iter().copied(), Arc::default(), &mut changes);
        table.start(number, read, &mut changes);
        (table, number, changes)
    }

    #[test]
    fn states_come_in_order_and_the_watch_ends_after_the_last_task() {
        let read = [("a", state(InOrder, "SUCCESS")), ("b", state(InOrder, "STARTED"))];
        let (mut table, number, mut changes) = started(&["a", "b", "c", "b"], &read);
        for name in ["PROGRESS", "RETRY", "STARTED"] {
            table.notify(&"b", &state(InOrder, name), &mut changes);
            table.notify(&"other", &state(InOrder, name), &mut changes);
        }
        assert_eq!(drain(&mut table, number), ["SUCCESS", "STARTED", "PROGRESS", "RETRY", "STARTED"]);
        table.notify(&"b", &state(InOrder, "FAILURE"), &mut changes);
        table.notify(&"b", &state(InOrder, "SUCCESS"), &mut changes);
        assert_eq!(drain(&mut table, number), ["FAILURE"], "nothing follows the last state of a task");
        assert!(!is_ended(&mut table, number));
        table.notify(&"c", &state(InOrder, "REVOKED"), &mut changes);
        assert_eq!(drain(&mut table, number), ["REVOKED"]);
        assert!(is_ended(&mut table, number));
    }

    #[test]
    fn a_watch_that_nobody_polls_keeps_a_bounded_number_of_states() {
        let (mut table, number, mut changes) = started(&["done", "busy"], &[]);
        table.notify(&"done", &state(InOrder, "SUCCESS"), &mut changes);
        for n in 0..MAX_LAG * 2 {
            table.notify(&"busy", &state(InOrder, &n.to_string()), &mut changes);
        }
        table.notify(&"busy", &state(InOrder, "FAILURE"), &mut changes);
        let seen = drain(&mut table, number);
        assert_eq!(seen.len(), MAX_LAG);
        assert_eq!(seen[0], "SUCCESS", "the last state of a task is never left out");
        assert_eq!(seen[MAX_LAG - 2], (MAX_LAG * 2 - 1).to_string());
        assert_eq!(seen[MAX_LAG - 1], "FAILURE");
    }

    #[test]
    fn what_is_held_back_is_bounded_too() {
        let (mut table, mut changes) = (Table::default(), Changes::default());
        let number = table.add(["t"], Arc::default(), &mut changes);
        for n in 0..MAX_LAG * 2 {
            table.notify(&"t", &state(InOrder, &n.to_string()), &mut changes);
        }
        table.start(number, &[], &mut changes);
        assert_eq!(drain(&mut table, number).len(), MAX_LAG);
    }

    #[test]
    fn a_watch_of_many_tasks_shows_the_state_of_each() {
        let ids: Vec<&'static str> = (0..MAX_LAG * 2).map(|n| &*Box::leak(n.to_string().into_boxed_str())).collect();
        let read: Vec<_> = ids.iter().map(|id| (*id, state(InOrder, "STARTED"))).collect();
        let (mut table, number, _) = started(&ids, &read);
        assert_eq!(drain(&mut table, number).len(), ids.len());
    }

    #[test]
    fn the_first_and_the_last_watch_of_a_task_are_told_and_nothing_is_left_behind() {
        let (mut table, mut changes) = (Table::default(), Changes::default());
        let first = table.add(["a", "b", "b"], Arc::default(), &mut changes);
        assert_eq!(watched(&mut changes), (vec!["a", "b"], vec![]));
        let second = table.add(["b", "c"], Arc::default(), &mut changes);
        assert_eq!(watched(&mut changes), (vec!["c"], vec![]));
        table.start(first, &[("a", state(InOrder, "SUCCESS"))], &mut changes);
        assert_eq!(watched(&mut changes), (vec![], vec!["a"]));
        table.start(second, &[], &mut changes);
        table.remove(first, &mut changes);
        assert_eq!(watched(&mut changes), (vec![], vec![]));
        assert!(table.is_watched(&"b") && !table.is_watched(&"a"));
        table.notify(&"b", &state(InOrder, "FAILURE"), &mut changes);
        assert_eq!(watched(&mut changes), (vec![], vec!["b"]));
        table.remove(second, &mut changes);
        table.remove(second, &mut changes);
        assert_eq!(watched(&mut changes), (vec![], vec!["c"]));
        assert!(table.by_id.is_empty() && table.watches.is_empty() && table.watched_ids().len() == 0);
    }

    #[test]
    fn older_states_of_a_sequence_are_dropped() {
        let (mut table, mut changes) = (Table::default(), Changes::default());
        let number = table.add(["t"], Arc::default(), &mut changes);
        for (sequence, name) in [(3, "RETRY"), (5, "STARTED"), (6, "PROGRESS")] {
            table.notify(&"t", &state(Sequence(sequence), name), &mut changes);
        }
        assert_eq!(drain(&mut table, number), [""; 0], "states are held back until what is stored was read");
        table.start(number, &[("t", state(Sequence(5), "STARTED"))], &mut changes);
        table.notify(&"t", &state(Sequence(6), "PROGRESS"), &mut changes);
        assert_eq!(drain(&mut table, number), ["STARTED", "PROGRESS"]);
        // The end of a run before this one comes late. The task is still watched.
        table.notify(&"t", &state(Sequence(4), "FAILURE"), &mut changes);
        assert_eq!(drain(&mut table, number), [""; 0]);
        table.notify(&"t", &state(Sequence(7), "SUCCESS"), &mut changes);
        assert_eq!(drain(&mut table, number), ["SUCCESS"]);
        assert!(is_ended(&mut table, number));
    }

    #[test]
    fn a_state_that_was_reported_and_read_is_shown_once() {
        for (reported, read, wanted) in [
            (vec![1, 2, 3], Some(2), vec!["2", "3"]),
            (vec![2, 3], Some(1), vec!["1", "2", "3"]),
            (vec![1, 2], Some(2), vec!["2"]),
            (vec![1, 2], None, vec!["1", "2"]),
            (vec![1, 2, 1], Some(1), vec!["1", "2", "1"]),
        ] {
            let (mut table, mut changes) = (Table::default(), Changes::default());
            let number = table.add(["t"], Arc::default(), &mut changes);
            let named = |print: u64| state(Fingerprint(print), &print.to_string());
            reported.iter().for_each(|print| table.notify(&"t", &named(*print), &mut changes));
            let found: Vec<_> = read.map(|print| ("t", named(print))).into_iter().collect();
            table.start(number, &found, &mut changes);
            assert_eq!(drain(&mut table, number), wanted, "{reported:?} and {read:?}");
        }
    }

    #[test]
    fn a_last_state_needs_no_reading_where_reports_come_in_order() {
        let (mut table, mut changes) = (Table::default(), Changes::default());
        let number = table.add(["t", "u"], Arc::default(), &mut changes);
        let is_ended = |table: &mut Table| table.poll_ended(number, Waker::noop()).is_ready();
        table.notify(&"t", &state(Fingerprint(1), "STARTED"), &mut changes);
        assert_eq!(drain(&mut table, number), [""; 0], "it may be older than what is read");
        table.notify(&"t", &state(Fingerprint(2), "SUCCESS"), &mut changes);
        assert!(!is_ended(&mut table), "the other task has not ended");
        table.notify(&"u", &state(Fingerprint(3), "FAILURE"), &mut changes);
        assert!(is_ended(&mut table));
        assert_eq!(drain(&mut table, number), ["SUCCESS", "FAILURE"]);
        let number = table.add(["t"], Arc::default(), &mut changes);
        table.notify(&"t", &state(Sequence(1), "FAILURE"), &mut changes);
        assert!(table.poll_ended(number, Waker::noop()).is_pending());
        table.start(number, &[("t", state(Sequence(2), "STARTED"))], &mut changes);
        assert_eq!(drain(&mut table, number), ["STARTED"]);
    }

    #[test]
    fn after_a_loss_what_is_stored_is_read_again() {
        let named = |print: u64| state(Fingerprint(print), &print.to_string());
        let (mut table, number, mut changes) = started(&["a", "b", "c"], &[("a", named(1)), ("b", named(1))]);
        assert!(table.hold_back(&mut changes), "a started watch is to be told again");
        table.notify(&"a", &named(2), &mut changes);
        table.notify(&"c", &named(9), &mut changes);
        assert_eq!(drain(&mut table, number), ["1", "1"]);
        let mut ids = table.held_back_ids();
        ids.sort_unstable();
        assert_eq!(ids, ["a", "b", "c"]);
        // `a` was read before its report, `b` has its state of before, `c` had none yet.
        table.resume(&[("a", named(1)), ("b", named(1))], &mut changes);
        assert_eq!(drain(&mut table, number), ["2", "9"]);
        assert!(table.held_back_ids().is_empty());
        // A second loss before the reading of the first: what was held back is older than what will be read.
        assert!(table.hold_back(&mut changes));
        table.notify(&"a", &named(3), &mut changes);
        table.notify(&"b", &state(Fingerprint(8), "SUCCESS"), &mut changes);
        assert!(table.hold_back(&mut changes));
        assert_eq!(watched(&mut changes).1, ["b"]);
        table.resume(&[("a", state(Fingerprint(7), "FAILURE")), ("c", named(9))], &mut changes);
        let mut seen = drain(&mut table, number);
        seen.sort_unstable();
        assert_eq!(seen, ["3", "FAILURE", "SUCCESS"]);
    }

    #[test]
    fn a_watch_that_has_not_started_reads_by_itself() {
        let (mut table, mut changes) = (Table::default(), Changes::default());
        let number = table.add(["t"], Arc::default(), &mut changes);
        table.notify(&"t", &state(Fingerprint(1), "STARTED"), &mut changes);
        assert!(!table.hold_back(&mut changes), "there is nothing to be read for others");
        assert!(table.held_back_ids().is_empty());
        table.resume(&[("t", state(Fingerprint(2), "SUCCESS"))], &mut changes);
        table.start(number, &[("t", state(Fingerprint(1), "STARTED"))], &mut changes);
        assert_eq!(drain(&mut table, number), ["STARTED"]);
    }

    #[test]
    fn a_closed_handle_ends_its_watches_with_an_error_and_no_other() {
        let (mut table, mut changes) = (Table::default(), Changes::default());
        let closed = Arc::new(AtomicBool::new(false));
        let own = table.add(["t"], closed.clone(), &mut changes);
        let other = table.add(["t"], Arc::default(), &mut changes);
        table.start(own, &[("t", state(InOrder, "STARTED"))], &mut changes);
        closed.store(true, Ordering::Release);
        assert_eq!(drain(&mut table, other), [""; 0]);
        let mut poll = || table.poll(own, Waker::noop(), &mut changes);
        assert!(matches!(poll(), Poll::Ready(Some(Ok(_)))), "what was reported before comes first");
        assert!(matches!(poll(), Poll::Ready(Some(Err(error))) if error.kind() == ErrorKind::Closed));
        assert!(matches!(poll(), Poll::Ready(None)));
        assert!(matches!(table.poll(other, Waker::noop(), &mut changes), Poll::Pending));
    }

    #[test]
    fn whoever_waits_is_woken_once() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (mut table, number, mut changes) = started(&["t"], &[]);
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let woken = |changes: &mut Changes| {
            changes.wake();
            count.0.load(Ordering::Relaxed)
        };
        assert!(table.poll(number, &waker, &mut changes).is_pending());
        table.notify(&"other", &state(InOrder, "STARTED"), &mut changes);
        assert_eq!(woken(&mut changes), 0);
        table.notify(&"t", &state(InOrder, "STARTED"), &mut changes);
        table.notify(&"t", &state(InOrder, "PROGRESS"), &mut changes);
        assert_eq!(woken(&mut changes), 1);
        drain(&mut table, number);
        assert!(table.poll(number, &waker, &mut changes).is_pending());
        table.wake_all(&mut changes);
        assert_eq!(woken(&mut changes), 2);
    }
}
