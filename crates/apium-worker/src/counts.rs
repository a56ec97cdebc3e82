//! What a worker did since it started: for its stop report, and for the size of the prefetch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::limits::prefetch_window::Totals;
use crate::pipeline::verdict::Verdict;

/// Counters of one worker.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    finished: AtomicU64,
    /// How long the finished runs took in all, in nanoseconds.
    busy: AtomicU64,
    cancelled: AtomicU64,
    requeued: AtomicU64,
}

impl Counts {
    /// A run ended.
    pub(crate) fn ended(&self, verdict: &Verdict, took: Duration) {
        match verdict {
            Verdict::Cancelled { .. } => _ = self.cancelled.fetch_add(1, Ordering::Relaxed),
            _ => {
                self.busy.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
                self.finished.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// So many messages were fetched and given back before they ran.
    pub(crate) fn add_requeued(&self, count: u64) {
        self.requeued.fetch_add(count, Ordering::Relaxed);
    }

    /// Runs that ended, whatever their state.
    pub(crate) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    /// Runs that a cold stop gave up.
    pub(crate) fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Messages that were fetched and given back before they ran.
    pub(crate) fn requeued(&self) -> u64 {
        self.requeued.load(Ordering::Relaxed)
    }

    /// What the size of the prefetch is computed from.
    pub(crate) fn totals(&self) -> Totals {
        Totals { finished: self.finished(), busy: Duration::from_nanos(self.busy.load(Ordering::Relaxed)) }
    }
}
