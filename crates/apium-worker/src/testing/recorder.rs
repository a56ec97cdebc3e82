//! What was sent, and when it becomes due.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use apium_transport::broker::outgoing::Outgoing;
use jiff::Timestamp;

/// Records everything that was published.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    sent: Vec<Outgoing>,
    dues: BTreeSet<Timestamp>,
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn record<'a>(&self, batch: impl IntoIterator<Item = &'a Outgoing>) {
        let mut recorded = self.lock();
        for outgoing in batch {
            recorded.dues.extend(outgoing.eta);
            recorded.sent.push(outgoing.clone());
        }
    }

    pub(crate) fn record_due(&self, due: Timestamp) {
        self.lock().dues.insert(due);
    }

    /// The next instant after `now` at which something becomes due.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let mut recorded = self.lock();
        // Instants before `now` are past, and are not needed again.
        recorded.dues = recorded.dues.split_off(&now);
        recorded.dues.iter().find(|due| **due > now).copied()
    }

    /// What was published for the tasks whose name is wanted.
    pub(crate) fn sent(&self, wanted: impl Fn(&str) -> bool) -> Vec<Outgoing> {
        let of_task = |outgoing: &&Outgoing| outgoing.message.headers.task.as_deref().is_some_and(&wanted);
        self.lock().sent.iter().filter(of_task).cloned().collect()
    }
}
