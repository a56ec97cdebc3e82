//! Lanes: completions of different stores do not wait for each other. Those of one lane are done in their order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apium_transport::backend::backend::SharedBackend;
use tokio::sync::Notify;

use crate::backends::Backends;
use crate::pipeline::completion::Completion;

/// How many completions of a lane may be pending before runs wait for them. With early ack nothing else limits them.
const MAX_PENDING: usize = 4096;
/// How many completions go into one batch.
const MAX_BATCH: usize = 1024;

/// The completions that wait for one store.
pub(crate) struct Lane {
    /// The result backend of a task's own; `None` for the broker and the app's backend.
    pub(crate) own_backend: Option<SharedBackend>,
    queue: Mutex<VecDeque<Completion>>,
    /// Wakes the lane's loop.
    pub(crate) wake: Notify,
    /// Wakes those who wait because too many completions are pending.
    has_room: Notify,
    pending: AtomicUsize,
}

impl Lane {
    fn new(own_backend: Option<SharedBackend>) -> Self {
        let (queue, wake, has_room) = (Mutex::default(), Notify::new(), Notify::new());
        Self { own_backend, queue, wake, has_room, pending: AtomicUsize::new(0) }
    }

    /// Adds completions at the end.
    pub(crate) fn push(&self, completions: impl IntoIterator<Item = Completion>) {
        let mut queue = self.lock();
        let before = queue.len();
        queue.extend(completions);
        let added = queue.len() - before;
        self.pending.fetch_add(added, Ordering::AcqRel);
        drop(queue);
        if before == 0 && added > 0 {
            self.wake.notify_one();
        }
    }

    /// Takes the next batch; empty when nothing waits.
    pub(crate) fn next_batch(&self) -> VecDeque<Completion> {
        let mut queue = self.lock();
        let count = queue.len().min(MAX_BATCH);
        queue.drain(..count).collect()
    }

    /// Takes everything that waits.
    pub(crate) fn drain(&self) -> VecDeque<Completion> {
        std::mem::take(&mut *self.lock())
    }

    /// Completions that were taken are done, or given up.
    pub(crate) fn done(&self, count: usize) {
        self.pending.fetch_sub(count, Ordering::AcqRel);
        self.has_room.notify_waiters();
    }

    /// How many completions are not done.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    /// Waits while too many completions are pending.
    pub(crate) async fn wait_for_room(&self) {
        while self.pending() >= MAX_PENDING {
            let has_room = self.has_room.notified();
            if self.pending() < MAX_PENDING {
                return;
            }
            has_room.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Completion>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lanes of a worker: one for the broker, one for the app's result backend, and one for each backend that tasks
/// have of their own.
pub(crate) struct Lanes(Vec<Lane>);

const BROKER: usize = 0;
const APP_BACKEND: usize = 1;

impl Lanes {
    pub(crate) fn new(backends: &Backends) -> Self {
        let mut lanes = vec![Lane::new(None), Lane::new(None)];
        for backend in backends.of_tasks() {
            let is_new =
                lanes.iter().filter_map(|lane| lane.own_backend.as_ref()).all(|own| !Arc::ptr_eq(own, backend));
            if is_new {
                lanes.push(Lane::new(Some(backend.clone())));
            }
        }
        Self(lanes)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.0.iter()
    }

    /// The lane of a completion. What comes after another completion of its run waits for that one before it is
    /// submitted, so the order within a run is kept although its lanes differ.
    pub(crate) fn of(&self, completion: &Completion, backends: &Backends) -> &Lane {
        let settlement = &completion.settlement;
        let own =
            completion.task.as_deref().and_then(|task| backends.own(task)).filter(|_| settlement.record.is_some());
        let lane = match own {
            Some(own) => {
                self.0.iter().find(|lane| lane.own_backend.as_ref().is_some_and(|lane| Arc::ptr_eq(lane, own)))
            }
            None => {
                let stores = settlement.record.is_some() || settlement.follow_ups.is_some();
                // Where queues and results are one store, there is one lane for both.
                self.0.get(if stores && !completion.source.is_atomic { APP_BACKEND } else { BROKER })
            }
        };
        // There is a lane for each backend, so this is found.
        lane.unwrap_or(&self.0[BROKER])
    }
}
