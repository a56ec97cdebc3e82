//! Runs that wait for a time: for their eta, or for their turn under a rate limit.

use jiff::Timestamp;

use crate::limits::delayed_runs::DelayedRuns;
use crate::limits::rate_limit::RateLimited;

/// Runs that may not start yet.
#[derive(Debug)]
pub(crate) struct WaitingRuns<R> {
    pub(crate) delayed: DelayedRuns<R>,
    pub(crate) limited: RateLimited<R>,
}

impl<R> Default for WaitingRuns<R> {
    fn default() -> Self {
        Self { delayed: DelayedRuns::default(), limited: RateLimited::default() }
    }
}

impl<R> WaitingRuns<R> {
    /// The earliest instant at which one of the runs may start.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        [self.limited.next_start(), self.delayed.next_due()].into_iter().flatten().min()
    }

    /// How many runs wait for a later instant than `now`. Where one run of a kind is due, none of that kind counts.
    pub(crate) fn not_due(&self, now: Timestamp) -> usize {
        let is_later = |due: Option<Timestamp>| due.is_some_and(|due| due > now);
        let limited = if is_later(self.limited.next_start()) { self.limited.len() } else { 0 };
        let delayed = if is_later(self.delayed.next_due()) { self.delayed.len() } else { 0 };
        limited + delayed
    }

    /// Takes all runs.
    pub(crate) fn drain(&mut self) -> Vec<R> {
        let mut runs = self.limited.drain();
        runs.extend(self.delayed.drain());
        runs
    }
}
