//! What a broker and its consumers share: the connection, the names of keys, and which queues and backends are known.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use apium_protocol::error::with_causes;
use apium_transport::address::Address;
use apium_transport::error::{Error, ErrorKind, Result};

use crate::connection::commands::CommandConnection;
use crate::keys::broker_keys::Keys;
use crate::keys::result_keys::ResultKeys;
use crate::options::backend::BackendOptions;
use crate::options::broker::BrokerOptions;
use crate::options::target::Target;
use crate::publish::declared::Declared;
use crate::publish::reply_lists::ReplyLists;
use crate::pubsub::broker_channels::BrokerChannels;

/// The result backends that a driver has opened. A broker looks here for those in its own store.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenedBackends(Arc<Mutex<Vec<OpenedBackend>>>);

#[derive(Debug, Clone)]
struct OpenedBackend {
    address: Address,
    target: Target,
    keys: ResultKeys,
    chord_ordered: bool,
}

impl OpenedBackends {
    /// Adds a backend that was opened.
    pub(crate) fn add(&self, address: Address, options: &BackendOptions) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.iter().all(|other| other.address != address) {
            let BackendOptions { target, keys, chord_ordered } = options.clone();
            all.push(OpenedBackend { address, target, keys, chord_ordered });
        }
    }

    fn find(&self, fits: impl Fn(&OpenedBackend) -> bool) -> Option<OpenedBackend> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|backend| fits(backend)).cloned()
    }
}

/// What a broker and its consumers share.
#[derive(Debug)]
pub(crate) struct BrokerShared {
    pub(crate) connection: CommandConnection,
    pub(crate) keys: Keys,
    pub(crate) options: BrokerOptions,
    pub(crate) declared: Arc<Declared>,
    /// The number of the connection by which the bindings were written that are taken for written.
    pub(crate) bound_by: AtomicU64,
    /// What the consumers subscribe to. It connects with the first consumer.
    pub(crate) channels: Arc<BrokerChannels>,
    /// The mailboxes for replies.
    pub(crate) replies: Arc<ReplyLists>,
    /// Whether the server is believed to say when lists change.
    pub(crate) has_tracking: AtomicBool,
    backends: OpenedBackends,
}

impl BrokerShared {
    pub(crate) fn new(connection: CommandConnection, options: BrokerOptions, backends: OpenedBackends) -> Self {
        Self {
            connection,
            keys: options.keys.clone(),
            has_tracking: AtomicBool::new(options.client_tracking),
            declared: Arc::default(),
            bound_by: AtomicU64::new(0),
            channels: Arc::new(BrokerChannels::new(options.keys.eta_channel())),
            replies: Arc::default(),
            options,
            backends,
        }
    }

    /// The same broker with another connection, for another runtime.
    pub(crate) fn with_another_connection(&self) -> Self {
        Self {
            connection: self.connection.another(),
            keys: self.keys.clone(),
            options: self.options.clone(),
            declared: self.declared.clone(),
            bound_by: AtomicU64::new(0),
            channels: self.channels.clone(),
            replies: self.replies.clone(),
            has_tracking: AtomicBool::new(false),
            backends: self.backends.clone(),
        }
    }

    /// The server does not say when lists change. From now on each wait has a connection of its own.
    pub(crate) fn do_without_tracking(&self, reason: &Error) {
        if self.has_tracking.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                error = %with_causes(reason),
                "the server does not track lists (CLIENT TRACKING) for this user: each consumer has one connection for \
                 each queue and priority step"
            );
        }
    }

    /// The keys of the results in the broker's own store, if a backend is opened there.
    pub(crate) fn result_keys(&self) -> Option<ResultKeys> {
        self.backends.find(|backend| backend.target.is_same_store(self.connection.target())).map(|backend| backend.keys)
    }

    /// Like [`result_keys`](Self::result_keys), with an error if there are none, for a settlement that needs them.
    pub(crate) fn needed_result_keys(&self) -> Result<ResultKeys> {
        let none = || Error::new(ErrorKind::Other, "settle: no result backend shares this broker's store");
        self.result_keys().ok_or_else(none)
    }

    /// Whether the chords in the broker's own store are ordered.
    pub(crate) fn chord_ordered(&self) -> bool {
        let found = self.backends.find(|backend| backend.target.is_same_store(self.connection.target()));
        found.is_none_or(|backend| backend.chord_ordered)
    }

    /// Whether the result backend at `address` is in the broker's own store: then a result and its delivery are settled
    /// in one atomic step.
    pub(crate) fn shares_store_with(&self, address: &Address) -> bool {
        let found = self.backends.find(|backend| backend.address == *address);
        found.is_some_and(|backend| {
            backend.target.is_same_store(self.connection.target()) && self.result_keys() == Some(backend.keys)
        })
    }

    /// Refuses if the broker was closed.
    pub(crate) fn check_open(&self, what: &str) -> Result<()> {
        self.connection.check_open(what)
    }
}
