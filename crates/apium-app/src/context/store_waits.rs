//! Which runs wait for a broker or a store that is away. A worker that stops does not wait for such runs for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the runs of one worker that wait for a broker or a store. Clones are the same counter.
#[derive(Debug, Clone, Default)]
pub struct StoreWaits(Arc<AtomicUsize>);

/// A run that waits, until this is dropped.
#[derive(Debug)]
pub(crate) struct StoreWait(Arc<AtomicUsize>);

impl StoreWaits {
    /// How many runs wait.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// Counts a run until what this returns is dropped.
    pub(crate) fn begin(&self) -> StoreWait {
        self.0.fetch_add(1, Ordering::AcqRel);
        StoreWait(self.0.clone())
    }
}

impl Drop for StoreWait {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
