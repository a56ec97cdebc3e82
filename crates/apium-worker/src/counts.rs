//! Counters of what a worker did since it started. The stop report and the prefetch are computed from them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::limits::prefetch_window::Totals;
use crate::pipeline::verdict::Verdict;

/// Counters of one worker.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    finished: AtomicU64,
    /// How long the finished runs took in all, in nanoseconds of their slots' time.
    busy: AtomicU64,
    cancelled: AtomicU64,
    requeued: AtomicU64,
}

impl Counts {
    /// Counts a run that ended: as cancelled, or as finished.
    pub(crate) fn add_run(&self, verdict: &Verdict, took: Duration) {
        match verdict {
            // It runs again.
            Verdict::Unavailable(_) => {}
            Verdict::Cancelled { .. } => _ = self.cancelled.fetch_add(1, Ordering::Relaxed),
            _ => {
                self.busy.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
                self.finished.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts messages that were fetched and requeued before they ran.
    pub(crate) fn add_requeued(&self, count: u64) {
        self.requeued.fetch_add(count, Ordering::Relaxed);
    }

    /// Runs that ended in any state and were not cancelled, tasks that had expired included.
    pub(crate) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    /// Runs that a cold stop cancelled.
    pub(crate) fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Messages that were fetched and requeued before they ran.
    pub(crate) fn requeued(&self) -> u64 {
        self.requeued.load(Ordering::Relaxed)
    }

    /// What the prefetch window is computed from.
    pub(crate) fn totals(&self) -> Totals {
        Totals { finished: self.finished(), busy: Duration::from_nanos(self.busy.load(Ordering::Relaxed)) }
    }
}
