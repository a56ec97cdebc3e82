//! What the store knows about one consumer: its queues, what it holds, and whether it waits.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::Notify;

use crate::consumer::ConsumeSpec;
use crate::memory::queue::Entry;

/// A consumer's place in the store.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) node: String,
    pub(super) queues: Vec<Arc<str>>,
    /// Whose turn among `queues` it is.
    pub(super) turn: usize,
    /// 0 is unlimited.
    pub(super) prefetch: usize,
    pub(super) max_crashes: u32,
    pub(super) held: HashMap<u64, Held, BuildHasherDefault<NumberHasher>>,
    /// Whether it waits for a wake that nobody promised yet.
    pub(super) waiting: bool,
    pub(super) wake: Arc<Notify>,
    /// Whether the broker handle it came from was closed; also names that handle.
    pub(super) closed: Arc<AtomicBool>,
}

/// A delivery that is not settled.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) entry: Entry,
    /// Whether a run of it began (P4).
    pub(super) begun: bool,
}

impl Seat {
    pub(super) fn new(spec: &ConsumeSpec, queues: Vec<Arc<str>>, closed: Arc<AtomicBool>) -> Self {
        Self {
            node: spec.node.clone(),
            queues,
            turn: 0,
            prefetch: spec.prefetch,
            max_crashes: spec.max_crashes,
            held: HashMap::default(),
            waiting: false,
            wake: Arc::new(Notify::new()),
            closed,
        }
    }

    /// How many more deliveries it may hold.
    pub(super) fn room(&self) -> usize {
        match self.prefetch {
            0 => usize::MAX,
            prefetch => prefetch.saturating_sub(self.held.len()),
        }
    }

    /// Whether it consumes from `queue`.
    pub(super) fn reads(&self, queue: &str) -> bool {
        self.queues.iter().any(|own| &**own == queue)
    }
}

/// Hashes the store's own numbers, which nobody outside chooses: one multiplication.
#[derive(Debug, Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
