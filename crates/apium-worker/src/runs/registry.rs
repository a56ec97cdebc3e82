//! The registry of runs: the slots of a worker, and through them everything that runs. Cold stops, terminations, the
//! watchdog and listings go through it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apium_protocol::message::task_id::TaskId;
use tokio::sync::watch;

use crate::runs::slot::{ActiveRun, Slot};
use crate::runs::terminate_signal::TerminateSignal;

/// The slots of a worker, and what runs in them.
#[derive(Debug)]
pub(crate) struct Runs {
    state: Mutex<State>,
    /// Cancels what runs beside the slots: errbacks. It holds no run.
    beside: Arc<Slot>,
    /// How many slots there are to be.
    wanted: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Arc<Slot>>,
    is_stopped: bool,
    /// How many runs of each task began in slots that are gone.
    begun: BTreeMap<Arc<str>, u64>,
}

impl Runs {
    /// A registry that is to have so many slots.
    pub(crate) fn new(slots: usize) -> Self {
        Self { state: Mutex::default(), beside: Arc::default(), wanted: watch::Sender::new(slots) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a slot.
    pub(crate) fn add_slot(&self) -> Arc<Slot> {
        let slot = Arc::new(Slot::default());
        let mut state = self.lock();
        if state.is_stopped {
            slot.cancel.stop();
        }
        state.slots.push(slot.clone());
        slot
    }

    /// Removes a slot that has ended.
    pub(crate) fn remove_slot(&self, slot: &Arc<Slot>) {
        let mut state = self.lock();
        state.slots.retain(|present| !Arc::ptr_eq(present, slot));
        for (task, count) in slot.begun() {
            *state.begun.entry(task).or_default() += count;
        }
    }

    /// What cancels code that runs in no slot.
    pub(crate) fn beside(&self) -> &Arc<Slot> {
        &self.beside
    }

    /// Calls `look` with each slot.
    pub(crate) fn each_slot(&self, look: impl FnMut(&Arc<Slot>)) {
        self.lock().slots.iter().for_each(look);
    }

    /// What runs now.
    pub(crate) fn active(&self) -> Vec<ActiveRun> {
        self.lock().slots.iter().filter_map(|slot| slot.run()).collect()
    }

    /// How many runs of each task began since the worker started.
    pub(crate) fn begun(&self) -> BTreeMap<Arc<str>, u64> {
        let state = self.lock();
        let mut begun = state.begun.clone();
        for (task, count) in state.slots.iter().flat_map(|slot| slot.begun()) {
            *begun.entry(task).or_default() += count;
        }
        begun
    }

    /// How many runs began in each slot.
    pub(crate) fn begun_by_slot(&self) -> Vec<u64> {
        self.lock().slots.iter().map(|slot| slot.begun().iter().map(|(_, count)| count).sum()).collect()
    }

    /// Terminates the bodies of the runs that are meant. Returns the ids of their tasks.
    pub(crate) fn terminate(&self, is_meant: impl Fn(&ActiveRun) -> bool, signal: TerminateSignal) -> Vec<TaskId> {
        self.lock().slots.iter().filter_map(|slot| slot.terminate(&is_meant, signal)).collect()
    }

    /// Cancels everything that runs, and what begins after this: the worker stops cold.
    pub(crate) fn cancel_all(&self) {
        let mut state = self.lock();
        state.is_stopped = true;
        state.slots.iter().chain([&self.beside]).for_each(|slot| slot.cancel.stop());
    }

    /// How many slots there are to be.
    pub(crate) fn wanted_slots(&self) -> usize {
        *self.wanted.borrow()
    }

    /// Changes how many slots there are to be, 1 at least. Returns how many that are.
    pub(crate) fn resize(&self, change: impl FnOnce(usize) -> usize) -> usize {
        self.wanted.send_modify(|wanted| *wanted = change(*wanted).max(1));
        self.wanted_slots()
    }

    /// Changes whenever another number of slots is wanted.
    pub(crate) fn wanted_changes(&self) -> watch::Receiver<usize> {
        self.wanted.subscribe()
    }
}
