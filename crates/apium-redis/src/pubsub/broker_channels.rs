//! What a broker's consumers listen to: news of parked messages, and the fanout exchanges of their queues. `hear` says what becomes
//! of it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::watch;

use crate::connection::background::Background;
use crate::pubsub::subscriber::Subscriber;

/// The first instant, in microseconds, at which something parked is due; 0 when it must be looked up.
pub(crate) type NextEta = Option<f64>;

/// Listens for all consumers of a broker; connected when the first one asks.
#[derive(Debug)]
pub(crate) struct BrokerChannels {
    pub(crate) next_eta: watch::Sender<NextEta>,
    pub(crate) open: OnceLock<OpenChannels>,
    fanouts: Mutex<BTreeSet<(String, String)>>,
}

/// The connection, and what works behind it.
#[derive(Debug)]
pub(crate) struct OpenChannels {
    pub(crate) subscriber: Subscriber,
    pub(crate) _storing: Background,
}

impl BrokerChannels {
    pub(crate) fn new() -> Self {
        Self { next_eta: watch::Sender::new(None), open: OnceLock::new(), fanouts: Mutex::default() }
    }

    /// Exchange and queue of those that are listened for.
    pub(crate) fn fanouts(&self) -> MutexGuard<'_, BTreeSet<(String, String)>> {
        self.fanouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops listening.
    pub(crate) fn close(&self) {
        if let Some(open) = self.open.get() {
            open.subscriber.close();
        }
    }
}
