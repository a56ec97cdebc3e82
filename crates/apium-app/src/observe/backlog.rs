//! A bounded list of what somebody is to be told: when he is too slow or away, the oldest goes.

use std::collections::VecDeque;

/// How many items wait at most.
const MOST_ITEMS: usize = 10_000;
/// How many bytes they may have together, as far as they say.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// What waits to be told, in order. At most 10,000 items with 32 MiB in all; when there are more, the oldest go and are
/// counted.
#[derive(Debug)]
pub struct Backlog<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    dropped: u64,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), bytes: 0, dropped: 0 }
    }
}

impl<T> Backlog<T> {
    /// Adds an item of about so many bytes. The newest item stays, however large it is.
    pub fn push(&mut self, item: T, bytes: usize) {
        self.items.push_back((item, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        while self.items.len() > 1 && (self.items.len() > MOST_ITEMS || self.bytes > MOST_BYTES) {
            self.pop();
            self.dropped += 1;
        }
    }

    /// Takes the oldest item.
    pub fn pop(&mut self) -> Option<T> {
        let (item, bytes) = self.items.pop_front()?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(item)
    }

    /// Takes at most `most` of the oldest items.
    pub fn take(&mut self, most: usize) -> Vec<T> {
        let mut taken = Vec::with_capacity(most.min(self.items.len()));
        while taken.len() < most
            && let Some(item) = self.pop()
        {
            taken.push(item);
        }
        taken
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many items were dropped since this was asked last.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::{Backlog, MOST_BYTES, MOST_ITEMS};

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut backlog = Backlog::default();
        (0..MOST_ITEMS + 3).for_each(|item| backlog.push(item, 1));
        assert_eq!((backlog.len(), backlog.take_dropped(), backlog.take_dropped()), (MOST_ITEMS, 3, 0));
        assert_eq!(backlog.take(2), [3, 4]);
    }

    #[test]
    fn the_oldest_go_when_they_are_too_large_and_the_newest_stays() {
        let mut backlog = Backlog::default();
        backlog.push("small", 10);
        backlog.push("half", MOST_BYTES - 10);
        backlog.push("one more", 1);
        assert_eq!((backlog.pop(), backlog.take_dropped()), (Some("half"), 1));
        backlog.push("huge", MOST_BYTES * 2);
        assert_eq!((backlog.take(9), backlog.take_dropped()), (vec!["huge"], 1));
        assert!(backlog.is_empty() && backlog.pop().is_none());
        backlog.push("small", 10);
        assert_eq!(backlog.len(), 1, "what was taken does not count any more");
    }
}
