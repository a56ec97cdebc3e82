//! The state of one consumer: its queues, what it has in flight, and whether it waits.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::Notify;

use crate::broker::consumer::ConsumeSpec;
use crate::memory::store::queue::Entry;

/// What the namespace knows of a consumer.
#[derive(Debug)]
pub(crate) struct ConsumerState {
    pub(crate) node: String,
    pub(crate) queues: Vec<Arc<str>>,
    /// Which of `queues` is asked next.
    pub(crate) turn: usize,
    /// 0 is unlimited.
    pub(crate) prefetch: usize,
    pub(crate) in_flight: HashMap<u64, InFlight, BuildHasherDefault<NumberHasher>>,
    /// Whether it waits and was not woken yet.
    pub(crate) waiting: bool,
    pub(crate) wake: Arc<Notify>,
    /// Whether its broker handle was closed. Shared by the consumers of one handle.
    pub(crate) closed: Arc<AtomicBool>,
}

/// A delivery that is not settled.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) entry: Entry,
    /// Whether it was marked as started.
    pub(crate) started: bool,
}

impl ConsumerState {
    pub(crate) fn new(spec: &ConsumeSpec, queues: Vec<Arc<str>>, closed: Arc<AtomicBool>) -> Self {
        Self {
            node: spec.node.clone(),
            queues,
            turn: 0,
            prefetch: spec.prefetch,
            in_flight: HashMap::default(),
            waiting: false,
            wake: Arc::new(Notify::new()),
            closed,
        }
    }

    /// How many more deliveries it may have in flight.
    pub(crate) fn free_prefetch(&self) -> usize {
        match self.prefetch {
            0 => usize::MAX,
            prefetch => prefetch.saturating_sub(self.in_flight.len()),
        }
    }

    /// Whether it consumes from `queue`.
    pub(crate) fn reads(&self, queue: &str) -> bool {
        self.queues.iter().any(|own| &**own == queue)
    }
}

/// Hashes the namespace's own numbers. No outsider chooses them, so one multiplication is enough.
#[derive(Debug, Default)]
pub(crate) struct NumberHasher(u64);

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
