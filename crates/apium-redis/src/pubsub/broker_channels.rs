//! The channels to which the consumers of a broker subscribe. `publish/fanout` says what becomes of the messages.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::watch;

use crate::connection::background::Background;
use crate::pubsub::subscriber::Subscriber;

/// The instant in microseconds at which the first delayed message is due; 0 if it must be looked up.
pub(crate) type NextEta = Option<f64>;

/// The subscriptions for all consumers of a broker. The first consumer opens them.
#[derive(Debug)]
pub(crate) struct BrokerChannels {
    pub(crate) next_eta: watch::Sender<NextEta>,
    pub(crate) open: OnceLock<OpenChannels>,
    /// Exchange and queue.
    fanouts: Mutex<BTreeSet<(String, String)>>,
}

/// The connection, and the task that stores what it brings.
#[derive(Debug)]
pub(crate) struct OpenChannels {
    pub(crate) subscriber: Subscriber,
    pub(crate) _storing: Background,
}

impl BrokerChannels {
    pub(crate) fn new() -> Self {
        Self { next_eta: watch::Sender::new(None), open: OnceLock::new(), fanouts: Mutex::default() }
    }

    /// Exchange and queue of the subscribed fanout exchanges.
    pub(crate) fn fanouts(&self) -> MutexGuard<'_, BTreeSet<(String, String)>> {
        self.fanouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the subscriptions.
    pub(crate) fn close(&self) {
        if let Some(open) = self.open.get() {
            open.subscriber.close();
        }
    }
}
