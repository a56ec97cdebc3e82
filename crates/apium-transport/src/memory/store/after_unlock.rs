//! What a batch leaves to be done after it has released the lock.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::memory::store::queue::Entry;

/// What is to be done after the lock was released.
#[derive(Debug, Default)]
pub(crate) struct AfterUnlock {
    pub(crate) wakes: Vec<Arc<Notify>>,
    /// Kept only to be dropped without the lock.
    pub(crate) dropped: Vec<Entry>,
    /// Wakers of those who watch results.
    pub(crate) wakers: Vec<std::task::Waker>,
}

impl AfterUnlock {
    /// Wakes them. To be called without the lock.
    pub(crate) fn run(self) {
        for wake in self.wakes {
            wake.notify_one();
        }
        for waker in self.wakers {
            waker.wake();
        }
    }
}
