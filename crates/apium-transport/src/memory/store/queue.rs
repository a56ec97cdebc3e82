//! One queue: what is ready, by priority and in order, and what waits for its time.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use crate::broker::consumer::Content;

/// What was published, shared by all queues it was routed to.
#[derive(Debug)]
pub(crate) struct StoredMessage {
    pub(crate) exchange: Arc<str>,
    pub(crate) routing_key: Arc<str>,
    pub(crate) content: Content,
}

/// A message in one queue.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Names the message for ever; the number in its receipts.
    pub(crate) id: u64,
    /// Its place among those of the same priority.
    pub(crate) order: u64,
    /// How often it was handed out.
    pub(crate) fence: u64,
    /// As the queue tells it apart.
    pub(crate) priority: u8,
    pub(crate) redelivered: bool,
    /// Runs that began and whose consumer died.
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

/// A message that waits for its time; the heap's greatest is the one that is due first.
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

/// A queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Largest priority first. Lanes are few and stay once made.
    lanes: Vec<Lane>,
    parked: BinaryHeap<DelayedEntry>,
    ready: usize,
    /// The largest priority told apart, where declared.
    pub(crate) max_priority: Option<u8>,
}

impl Queue {
    /// How many messages can be delivered now (as far as [`ripen`](Self::ripen) was called).
    pub(crate) fn ready(&self) -> usize {
        self.ready
    }

    /// How many wait for their time.
    pub(crate) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// When the next parked message is due.
    pub(crate) fn earliest(&self) -> Option<Timestamp> {
        self.parked.peek().map(|parked| parked.due)
    }

    /// Puts a message at its place.
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
        // New ones belong to the back, and what is given back almost always to the front.
        if entries.back().is_none_or(|last| last.order < entry.order) {
            entries.push_back(entry);
        } else {
            let place = entries.partition_point(|other| other.order < entry.order);
            entries.insert(place, entry);
        }
    }

    /// Takes the next message.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let entry = self.lanes.iter_mut().find_map(|lane| lane.entries.pop_front())?;
        self.ready -= 1;
        Some(entry)
    }

    /// Keeps a message back until `due`. Says whether it is due before all the others.
    pub(crate) fn delay(&mut self, due: Timestamp, entry: Entry) -> bool {
        let first = self.earliest().is_none_or(|earliest| due < earliest);
        self.parked.push(DelayedEntry { due, entry });
        first
    }

    /// Makes ready what is due at `now`, behind what is ready already. `next` counts places.
    pub(crate) fn promote_due(&mut self, now: Timestamp, next: &mut u64) {
        while self.earliest().is_some_and(|due| due <= now) {
            let Some(DelayedEntry { mut entry, .. }) = self.parked.pop() else { return };
            entry.order = *next;
            *next += 1;
            self.push(entry);
        }
    }

    /// The first `limit` ready messages in order of delivery.
    pub(crate) fn peek(&self, limit: usize) -> impl Iterator<Item = &Entry> {
        self.lanes.iter().flat_map(|lane| lane.entries.iter()).take(limit)
    }

    /// Empties the queue and returns what was in it, to be dropped by the caller when it holds no lock.
    pub(crate) fn clear(&mut self) -> Vec<Entry> {
        self.ready = 0;
        let ready = self.lanes.drain(..).flat_map(|lane| lane.entries);
        ready.chain(std::mem::take(&mut self.parked).into_iter().map(|parked| parked.entry)).collect()
    }
}
