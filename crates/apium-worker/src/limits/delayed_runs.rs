//! Works that wait in the worker for their eta, for brokers that do not park them (P7: the others never hand them out early).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use jiff::Timestamp;

/// What waits, in order of its eta.
#[derive(Debug)]
pub(crate) struct DelayedRuns<W> {
    heap: BinaryHeap<Reverse<Entry<W>>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<W> {
    due: Timestamp,
    // Works of one eta keep the order in which they came.
    number: u64,
    task_run: W,
}

impl<W> Entry<W> {
    fn key(&self) -> (Timestamp, u64) {
        (self.due, self.number)
    }
}

impl<W> PartialEq for Entry<W> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<W> Eq for Entry<W> {}

impl<W> PartialOrd for Entry<W> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<W> Ord for Entry<W> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<W> Default for DelayedRuns<W> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), next: 0 }
    }
}

impl<W> DelayedRuns<W> {
    /// Lets `work` wait until `due`.
    pub(crate) fn push(&mut self, due: Timestamp, task_run: W) {
        self.heap.push(Reverse(Entry { due, number: self.next, task_run }));
        self.next += 1;
    }

    /// The first that is due at `now`.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<W> {
        self.heap.peek().filter(|first| first.0.due <= now)?;
        self.heap.pop().map(|first| first.0.task_run)
    }

    /// The earliest eta.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.heap.peek().map(|first| first.0.due)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Takes everything that waits.
    pub(crate) fn drain(&mut self) -> Vec<W> {
        self.heap.drain().map(|entry| entry.0.task_run).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_none_before_its_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut waiting = DelayedRuns::default();
        for (due, task_run) in [(3, "c"), (1, "a"), (2, "b1"), (2, "b2")] {
            waiting.push(at(due), task_run);
        }
        assert_eq!(waiting.next_due(), Some(at(1)));
        assert_eq!(waiting.pop(at(0)), None);
        assert_eq!(waiting.pop(at(2)), Some("a"));
        assert_eq!(waiting.pop(at(2)), Some("b1"));
        assert_eq!(waiting.pop(at(2)), Some("b2"));
        assert_eq!(waiting.pop(at(2)), None);
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting.drain(), ["c"]);
    }
}
