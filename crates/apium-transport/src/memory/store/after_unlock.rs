//! Work that a batch leaves for the moment after the lock was given up.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::memory::store::queue::Entry;

/// What is done after the lock was given up.
#[derive(Debug, Default)]
pub(crate) struct AfterUnlock {
    pub(crate) wakes: Vec<Arc<Notify>>,
    /// Kept to be dropped outside.
    pub(crate) dropped: Vec<Entry>,
    /// Of watchers of results.
    pub(crate) wakers: Vec<std::task::Waker>,
}

impl AfterUnlock {
    /// Wakes whom it says. Call it without the lock.
    pub(crate) fn run(self) {
        for wake in self.wakes {
            wake.notify_one();
        }
        for waker in self.wakers {
            waker.wake();
        }
    }
}
