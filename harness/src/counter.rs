//! Counts executions by number, so that lost and repeated ones are found.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Which of the numbers below an expected count were executed, and when.
#[derive(Debug)]
pub struct Counter {
    seen: Vec<AtomicU8>,
    done: AtomicU64,
    started: Instant,
    /// Nanoseconds from `started` to the first execution, and to the latest.
    first: AtomicU64,
    last: AtomicU64,
    complete: Notify,
}

impl Counter {
    /// A counter for the numbers below `expected`.
    pub fn new(expected: usize) -> Self {
        Self {
            seen: std::iter::repeat_with(AtomicU8::default).take(expected).collect(),
            done: AtomicU64::new(0),
            started: Instant::now(),
            first: AtomicU64::new(u64::MAX),
            last: AtomicU64::new(0),
            complete: Notify::new(),
        }
    }

    /// Counts an execution of `number`.
    pub fn record(&self, number: u64) {
        let at = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.first.fetch_min(at, Ordering::Relaxed);
        self.last.fetch_max(at, Ordering::Relaxed);
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(seen) = self.seen.get(index) else { return };
        if seen.fetch_add(1, Ordering::Relaxed) == 0
            && self.done.fetch_add(1, Ordering::AcqRel) + 1 == self.seen.len() as u64
        {
            self.complete.notify_one();
        }
    }

    /// Waits until every number was executed. Gives up when nothing is executed for `patience`.
    pub async fn wait(&self, patience: Duration) {
        let mut before = self.done.load(Ordering::Acquire);
        while tokio::time::timeout(patience, self.complete.notified()).await.is_err() {
            let now = self.done.load(Ordering::Acquire);
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// Executions in a second, from the first to the last.
    pub fn rate(&self) -> f64 {
        let span = self.last.load(Ordering::Relaxed).saturating_sub(self.first.load(Ordering::Relaxed));
        (self.done.load(Ordering::Relaxed).saturating_sub(1)) as f64 / Duration::from_nanos(span).as_secs_f64()
    }

    /// How many numbers were never executed.
    pub fn lost(&self) -> usize {
        self.seen.iter().filter(|seen| seen.load(Ordering::Relaxed) == 0).count()
    }

    /// How many executions there were beyond the first of each number.
    pub fn repeated(&self) -> usize {
        self.seen.iter().map(|seen| usize::from(seen.load(Ordering::Relaxed)).saturating_sub(1)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lost_and_repeated_numbers_show() {
        let counter = Counter::new(3);
        counter.record(0);
        counter.record(0);
        counter.record(2);
        counter.record(7);
        counter.wait(Duration::from_secs(1)).await;
        assert_eq!((counter.lost(), counter.repeated()), (1, 1));
        counter.record(1);
        counter.wait(Duration::from_secs(1)).await;
        assert_eq!((counter.lost(), counter.repeated()), (0, 1));
        assert!(counter.rate() > 0.0);
    }
}
