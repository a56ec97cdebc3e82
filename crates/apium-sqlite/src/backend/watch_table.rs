//! The watch table of one store behind its lock, and up to which write it has looked. The `seq` of a result tells which
//! of two states is the newer one.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apium_protocol::message::task_id::TaskId;
use apium_transport::backend::watch_state::{StateVersion, WatchedState};
use apium_transport::backend::watch_table::{WatchChanges, WatchTable};

use crate::backend::results::FoundResult;
use crate::store::result_row::ResultRow;

/// All watches of one store in this process.
#[derive(Debug, Default)]
pub(crate) struct LockedWatchTable {
    inner: Mutex<Inner>,
    /// How many tasks are watched, to be read without the lock.
    watched: AtomicUsize,
}

#[derive(Debug, Default)]
struct Inner {
    table: WatchTable<TaskId>,
    /// The results of other processes were looked at up to this `seq`.
    seen: i64,
}

impl LockedWatchTable {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `change` with the lock. After unlocking, wakes whoever is to be woken.
    fn change<T>(&self, change: impl FnOnce(&mut Inner, &mut WatchChanges<TaskId>) -> T) -> T {
        let mut changes = WatchChanges::default();
        let mut inner = self.lock();
        let changed = change(&mut inner, &mut changes);
        self.watched.store(inner.table.watched_ids().len(), Ordering::Release);
        drop(inner);
        changes.wake();
        changed
    }

    /// Changes the table under its lock. After unlocking, wakes whoever is to be woken.
    pub(crate) fn change_watches<T>(
        &self,
        change: impl FnOnce(&mut WatchTable<TaskId>, &mut WatchChanges<TaskId>) -> T,
    ) -> T {
        self.change(|inner, changes| change(&mut inner.table, changes))
    }

    /// Whether anybody watches.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire) > 0
    }

    /// Adds a watch. `last_seq` is the last `seq` of the store, read before.
    pub(crate) fn add(&self, ids: Vec<TaskId>, last_seq: i64, handle_closed: Arc<AtomicBool>) -> u64 {
        self.change(|inner, changes| {
            if inner.table.watched_ids().len() == 0 {
                inner.seen = inner.seen.max(last_seq);
            }
            inner.table.add(ids, handle_closed, changes)
        })
    }

    /// Reports results that this process has committed, in order.
    pub(crate) fn notify(&self, written: &[(i64, Arc<ResultRow>)]) {
        if !self.is_watched() {
            return;
        }
        self.change(|inner, changes| {
            for (seq, row) in written {
                let document = &row.record.document;
                if inner.table.is_watched(&document.task_id) {
                    let state = WatchedState::new(StateVersion::Sequence(*seq), Ok(Arc::new(document.clone())));
                    inner.table.notify(&document.task_id, &state, changes);
                }
            }
        });
    }

    /// Reports results that were read from the store. If these are all up to a `seq`, that is `seen`.
    pub(crate) fn notify_found(&self, found: Vec<(TaskId, FoundResult)>, seen: Option<i64>) {
        let found = as_states(found);
        self.change(|inner, changes| {
            for (id, state) in &found {
                inner.table.notify(id, state, changes);
            }
            if let Some(seen) = seen {
                inner.seen = inner.seen.max(seen);
            }
        });
    }

    /// The watched tasks, if they are at most `max`; and the `seq` up to which the results were looked at.
    pub(crate) fn wanted(&self, max: usize) -> (Option<Vec<TaskId>>, i64) {
        let inner = self.lock();
        let ids = inner.table.watched_ids();
        ((ids.len() <= max).then(|| ids.cloned().collect()), inner.seen)
    }

    /// All watched tasks.
    pub(crate) fn watched_ids(&self) -> HashSet<TaskId> {
        self.lock().table.watched_ids().cloned().collect()
    }

    /// Has every watch polled again, because a handle was closed.
    pub(crate) fn wake_all(&self) {
        self.change_watches(WatchTable::wake_all);
    }
}

/// States whose version is their `seq`.
pub(crate) fn as_states(found: Vec<(TaskId, FoundResult)>) -> Vec<(TaskId, WatchedState)> {
    let state = |(seq, document): FoundResult| WatchedState::new(StateVersion::Sequence(seq), document.map(Arc::new));
    found.into_iter().map(|(id, result)| (id, state(result))).collect()
}
