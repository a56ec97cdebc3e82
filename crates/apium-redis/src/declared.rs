//! What this process has declared, so that it need not be written again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use apium_transport::broker::topology::ExchangeType;

/// What this process has declared, which need not be written again.
#[derive(Debug, Default)]
pub(crate) struct Declared(Mutex<DeclaredNames>);

/// The names.
#[derive(Debug, Default)]
pub(crate) struct DeclaredNames {
    /// Queues whose binding to the exchange of their own name is written, for the default exchange.
    pub(crate) queues: HashSet<Arc<str>>,
    /// The exchanges that queues were declared with.
    pub(crate) exchanges: HashMap<String, ExchangeType>,
    /// Fanout exchanges of queues.
    pub(crate) fanouts: HashMap<String, String>,
    /// Queues by exchange and routing key.
    pub(crate) bindings: HashMap<(String, String), String>,
}

impl Declared {
    /// Reads or changes it.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut DeclaredNames) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets a queue.
    pub(crate) fn forget(&self, queue: &str) {
        self.with(|names| {
            names.queues.remove(queue);
            names.fanouts.remove(queue);
        });
    }

    /// Forgets every queue: the server may have lost them.
    pub(crate) fn forget_all(&self) {
        self.with(|names| names.queues.clear());
    }

    /// A queue that was declared with this exchange and routing key.
    pub(crate) fn queue_of(&self, exchange: &str, key: &str) -> Option<String> {
        self.with(|names| names.bindings.get(&(exchange.to_owned(), key.to_owned())).cloned())
    }

    /// The fanout exchange that a queue listens to.
    pub(crate) fn fanout_of(&self, queue: &str) -> Option<String> {
        self.with(|names| names.fanouts.get(queue).cloned())
    }
}
