//! Runs that wait in the worker until their eta. They exist only with brokers that do not delay messages themselves.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use jiff::Timestamp;

/// Runs, the one with the earliest eta first.
#[derive(Debug)]
pub(crate) struct DelayedRuns<R> {
    heap: BinaryHeap<Reverse<Entry<R>>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<R> {
    due: Timestamp,
    // Runs of one eta keep the order in which they came.
    number: u64,
    task_run: R,
}

impl<R> Entry<R> {
    fn key(&self) -> (Timestamp, u64) {
        (self.due, self.number)
    }
}

impl<R> PartialEq for Entry<R> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<R> Eq for Entry<R> {}

impl<R> PartialOrd for Entry<R> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> Ord for Entry<R> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<R> Default for DelayedRuns<R> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), next: 0 }
    }
}

impl<R> DelayedRuns<R> {
    /// Adds a run that is due at `due`.
    pub(crate) fn push(&mut self, due: Timestamp, task_run: R) {
        self.heap.push(Reverse(Entry { due, number: self.next, task_run }));
        self.next += 1;
    }

    /// Takes the first run that is due at `now`.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<R> {
        self.heap.peek().filter(|first| first.0.due <= now)?;
        self.heap.pop().map(|first| first.0.task_run)
    }

    /// The earliest eta.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.heap.peek().map(|first| first.0.due)
    }

    /// The runs with their etas, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Timestamp, &R)> {
        self.heap.iter().map(|entry| (entry.0.due, &entry.0.task_run))
    }

    /// How many runs wait.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Takes all runs.
    pub(crate) fn drain(&mut self) -> Vec<R> {
        self.heap.drain().map(|entry| entry.0.task_run).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_run_comes_first_and_none_before_its_eta() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut runs = DelayedRuns::default();
        for (due, task_run) in [(3, "c"), (1, "a"), (2, "b1"), (2, "b2")] {
            runs.push(at(due), task_run);
        }
        assert_eq!(runs.next_due(), Some(at(1)));
        assert_eq!(runs.pop(at(0)), None);
        assert_eq!(runs.pop(at(2)), Some("a"));
        assert_eq!(runs.pop(at(2)), Some("b1"));
        assert_eq!(runs.pop(at(2)), Some("b2"));
        assert_eq!(runs.pop(at(2)), None);
        assert_eq!(runs.len(), 1);
        assert_eq!(runs.drain(), ["c"]);
    }
}
