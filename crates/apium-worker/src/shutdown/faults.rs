//! What is wrong with a worker itself, beside its broker and its result backends. A fault makes the worker unhealthy;
//! one that it cannot mend stops it in order, so that a new process can take its place.

use std::collections::BTreeMap;

use apium_transport::clock::Clock;
use apium_transport::health::Health;
use tokio::sync::watch;

/// The faults of a worker. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    clock: Clock,
    all: watch::Sender<BTreeMap<String, Fault>>,
}

#[derive(Debug, Clone)]
struct Fault {
    health: Health,
    is_fatal: bool,
}

impl Faults {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, all: watch::Sender::default() }
    }

    /// Says that something is wrong, and why. `name` names it for [`clear`](Self::clear).
    pub(crate) fn set(&self, name: &str, reason: String) {
        self.add(name, reason, false);
    }

    /// Says that something is wrong that this worker cannot mend: it stops.
    pub(crate) fn set_fatal(&self, name: &str, reason: String) {
        tracing::error!("the worker stops: {reason}");
        self.add(name, reason, true);
    }

    fn add(&self, name: &str, reason: String, is_fatal: bool) {
        self.all.send_modify(|all| {
            // A new reason does not change since when it is wrong.
            let since = match all.get(name).map(|fault| &fault.health) {
                Some(Health::Red { since, .. }) => *since,
                _ => self.clock.now(),
            };
            all.insert(name.to_owned(), Fault { health: Health::Red { since, reason }, is_fatal });
        });
    }

    /// It is not wrong any more.
    pub(crate) fn clear(&self, name: &str) {
        self.all.send_if_modified(|all| all.remove(name).is_some());
    }

    /// Red with the first fault, a fatal one before others; green without any.
    pub(crate) fn health(&self) -> Health {
        let all = self.all.borrow();
        let first = all.values().find(|fault| fault.is_fatal).or(all.values().next());
        first.map_or(Health::Green, |fault| fault.health.clone())
    }

    /// Waits for a fault that stops the worker. Cancel-safe.
    pub(crate) async fn fatal(&self) {
        let mut changes = self.all.subscribe();
        // `self` holds the sender, so this does not end with an error.
        let _ = changes.wait_for(|all| all.values().any(|fault| fault.is_fatal)).await;
    }
}
