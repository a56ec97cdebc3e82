//! One queue: ready messages by priority and order, and delayed ones.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use crate::broker::consumer::Content;

/// A published message, shared by all queues it was routed to.
#[derive(Debug)]
pub(crate) struct StoredMessage {
    pub(crate) exchange: Arc<str>,
    pub(crate) routing_key: Arc<str>,
    pub(crate) content: Content,
}

/// A message in one queue.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The number in its receipts; stays the same in all its deliveries.
    pub(crate) id: u64,
    /// Orders the messages of one priority.
    pub(crate) order: u64,
    /// How often it was delivered.
    pub(crate) fence: u64,
    /// Its priority, at most the largest of the queue.
    pub(crate) priority: u8,
    pub(crate) redelivered: bool,
    /// Started runs whose consumer died.
    pub(crate) crashes: u32,
    pub(crate) queue: Arc<str>,
    pub(crate) message: Arc<StoredMessage>,
}

/// The ready messages of one priority, by `order`.
#[derive(Debug)]
struct Lane {
    priority: u8,
    entries: VecDeque<Entry>,
}

/// A delayed message. The heap's greatest is the one that is due first.
#[derive(Debug)]
struct DelayedEntry {
    due: Timestamp,
    entry: Entry,
}

impl DelayedEntry {
    fn rank(&self) -> (Timestamp, u64) {
        (self.due, self.entry.order)
    }
}

impl Ord for DelayedEntry {
    fn cmp(&self, other: &Self) -> Ordering {
        other.rank().cmp(&self.rank())
    }
}

impl PartialOrd for DelayedEntry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for DelayedEntry {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for DelayedEntry {}

/// The messages of a queue.
#[derive(Debug, Default)]
pub(crate) struct StoredQueue {
    /// Largest priority first. A lane stays when it is empty, since there are few.
    lanes: Vec<Lane>,
    delayed: BinaryHeap<DelayedEntry>,
    ready: usize,
    /// The largest priority, if one was declared.
    pub(crate) max_priority: Option<u8>,
}

impl StoredQueue {
    /// How many messages can be delivered, as of the last call of [`promote_due`](Self::promote_due).
    pub(crate) fn ready(&self) -> usize {
        self.ready
    }

    /// How many messages are delayed.
    pub(crate) fn delayed(&self) -> usize {
        self.delayed.len()
    }

    /// When the next delayed message is due.
    pub(crate) fn earliest(&self) -> Option<Timestamp> {
        self.delayed.peek().map(|delayed| delayed.due)
    }

    /// Makes a message ready, at the position that its priority and order give.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.ready += 1;
        let priority = entry.priority;
        let at = match self.lanes.binary_search_by(|lane| priority.cmp(&lane.priority)) {
            Ok(at) => at,
            Err(at) => {
                self.lanes.insert(at, Lane { priority, entries: VecDeque::new() });
                at
            }
        };
        let entries = &mut self.lanes[at].entries;
        // New messages go to the back. What is requeued almost always goes to the front.
        if entries.back().is_none_or(|last| last.order < entry.order) {
            entries.push_back(entry);
        } else {
            let index = entries.partition_point(|other| other.order < entry.order);
            entries.insert(index, entry);
        }
    }

    /// Removes and returns the next message.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let entry = self.lanes.iter_mut().find_map(|lane| lane.entries.pop_front())?;
        self.ready -= 1;
        Some(entry)
    }

    /// Delays a message until `due`; returns whether it is due before all others.
    pub(crate) fn delay(&mut self, due: Timestamp, entry: Entry) -> bool {
        let first = self.earliest().is_none_or(|earliest| due < earliest);
        self.delayed.push(DelayedEntry { due, entry });
        first
    }

    /// Makes ready what is due at `now`, after what is ready already. `next` is the next order.
    pub(crate) fn promote_due(&mut self, now: Timestamp, next: &mut u64) {
        while self.earliest().is_some_and(|due| due <= now) {
            let Some(DelayedEntry { mut entry, .. }) = self.delayed.pop() else { return };
            entry.order = *next;
            *next += 1;
            self.push(entry);
        }
    }

    /// The first `limit` ready messages in the order of delivery.
    pub(crate) fn peek(&self, limit: usize) -> impl Iterator<Item = &Entry> {
        self.lanes.iter().flat_map(|lane| lane.entries.iter()).take(limit)
    }

    /// The `limit` delayed messages that are due first, with their etas.
    pub(crate) fn peek_delayed(&self, limit: usize) -> Vec<(Timestamp, &Entry)> {
        let mut delayed: Vec<_> = self.delayed.iter().collect();
        delayed.sort_by_key(|delayed| delayed.rank());
        delayed.into_iter().take(limit).map(|delayed| (delayed.due, &delayed.entry)).collect()
    }

    /// Empties the queue and returns its messages, to be dropped without the lock.
    pub(crate) fn clear(&mut self) -> Vec<Entry> {
        self.ready = 0;
        let ready = self.lanes.drain(..).flat_map(|lane| lane.entries);
        ready.chain(std::mem::take(&mut self.delayed).into_iter().map(|delayed| delayed.entry)).collect()
    }
}
