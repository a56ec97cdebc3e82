//! The parts that a run adds to its chord. From the moment when the chord waits for one, until it is sent, the run owes
//! it: where the run ends before, its worker counts the part as failed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use apium_protocol::message::task_id::TaskId;

/// What a run has added to its chord.
#[derive(Debug, Default)]
pub(crate) struct Additions(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    count: u64,
    unsent: Vec<TaskId>,
}

impl Additions {
    /// The place of the next part among all that this run adds.
    pub(crate) fn next_place(&self) -> u64 {
        let mut list = self.lock();
        list.count += 1;
        list.count
    }

    /// The chord may wait for this part from now on.
    pub(crate) fn begin(&self, added: &TaskId) {
        self.lock().unsent.push(added.clone());
    }

    /// The part is sent.
    pub(crate) fn sent(&self, added: &TaskId) {
        self.lock().unsent.retain(|unsent| unsent != added);
    }

    /// The parts that are not sent.
    pub(crate) fn unsent(&self) -> Vec<TaskId> {
        self.lock().unsent.clone()
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
