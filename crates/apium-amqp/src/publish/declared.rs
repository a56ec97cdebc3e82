//! What is known to exist at the server: queues, and exchanges with their types. What was declared before a connection
//! was lost is declared again.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use apium_transport::broker::topology::{ExchangeType, Queue};

/// How an exchange routes, as far as this process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KnownExchange {
    /// This process declared it so.
    Declared(ExchangeType),
    /// It is there.
    Exists,
}

/// What is known to exist.
#[derive(Debug, Default)]
pub(crate) struct Declared(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    epoch: u64,
    /// The queues that the program named, to be declared again. They outlive a connection.
    wanted: HashMap<String, Vec<Queue>>,
    queues: HashSet<String>,
    exchanges: HashMap<String, KnownExchange>,
    /// Queues that get delayed messages.
    delayed: HashSet<String>,
    has_delays: bool,
}

impl Declared {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what the connection before this one knew.
    pub(crate) fn of_epoch(&self, epoch: u64) {
        let mut known = self.lock();
        if known.epoch != epoch {
            let wanted = std::mem::take(&mut known.wanted);
            *known = Entries { epoch, wanted, ..Entries::default() };
        }
    }

    pub(crate) fn has_queue(&self, name: &str) -> bool {
        self.lock().queues.contains(name)
    }

    pub(crate) fn add_queue(&self, name: &str) {
        self.lock().queues.insert(name.to_owned());
    }

    /// Adds a queue that the program named.
    pub(crate) fn add_wanted(&self, queue: &Queue) {
        let mut known = self.lock();
        let all = known.wanted.entry(queue.name.clone()).or_default();
        if !all.contains(queue) {
            all.push(queue.clone());
        }
    }

    /// How the program named a queue: one for each binding.
    pub(crate) fn wanted(&self, name: &str) -> Vec<Queue> {
        self.lock().wanted.get(name).cloned().unwrap_or_default()
    }

    /// All queues that the program named.
    pub(crate) fn all_wanted(&self) -> Vec<Queue> {
        self.lock().wanted.values().flatten().cloned().collect()
    }

    /// The queues that the program bound to an exchange by exactly this key.
    pub(crate) fn bound(&self, exchange: &str, key: &str) -> Vec<String> {
        let known = self.lock();
        let all = known.wanted.values().flatten();
        all.filter(|queue| queue.exchange == exchange && queue.routing_key == key).map(|q| q.name.clone()).collect()
    }

    /// A queue is gone.
    pub(crate) fn forget_queue(&self, name: &str) {
        let mut known = self.lock();
        known.queues.remove(name);
        known.delayed.remove(name);
    }

    pub(crate) fn exchange(&self, name: &str) -> Option<KnownExchange> {
        self.lock().exchanges.get(name).copied()
    }

    pub(crate) fn add_exchange(&self, name: &str, known: KnownExchange) {
        self.lock().exchanges.insert(name.to_owned(), known);
    }

    pub(crate) fn forget_exchange(&self, name: &str) {
        self.lock().exchanges.remove(name);
    }

    /// Whether the queues of delays are there.
    pub(crate) fn has_delays(&self) -> bool {
        self.lock().has_delays
    }

    pub(crate) fn set_delays(&self) {
        self.lock().has_delays = true;
    }

    /// Whether a queue gets delayed messages.
    pub(crate) fn is_delayed(&self, name: &str) -> bool {
        self.lock().delayed.contains(name)
    }

    pub(crate) fn add_delayed(&self, name: &str) {
        self.lock().delayed.insert(name.to_owned());
    }
}
