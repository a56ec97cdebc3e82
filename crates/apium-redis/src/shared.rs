//! What a broker and its consumers share: the link, the names of keys, and what is known of queues and result backends.

use std::sync::{Arc, Mutex, PoisonError};

use apium_transport::address::Address;
use apium_transport::error::{Error, ErrorKind, Result};

use crate::connection::commands::CommandConnection;
use crate::declared::Declared;
use crate::keys::broker_keys::Keys;
use crate::keys::result_keys::ResultKeys;
use crate::options::backend::BackendOptions;
use crate::options::broker::BrokerOptions;
use crate::options::target::Target;
use crate::pubsub::broker_channels::BrokerChannels;

/// The result backends that a driver has opened, so that a broker knows which of them are its own store.
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
    /// Notes a backend that was opened.
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
    pub(crate) declared: Declared,
    /// What others tell on channels; connected when there is a consumer.
    pub(crate) channels: BrokerChannels,
    backends: OpenedBackends,
}

impl BrokerShared {
    pub(crate) fn new(link: CommandConnection, options: BrokerOptions, backends: OpenedBackends) -> Self {
        Self {
            connection: link,
            keys: options.keys.clone(),
            options,
            declared: Declared::default(),
            channels: BrokerChannels::new(),
            backends,
        }
    }

    /// The names of the results in this very store.
    pub(crate) fn result_keys(&self) -> Option<ResultKeys> {
        self.backends.find(|backend| backend.target.is_same_store(self.connection.target())).map(|backend| backend.keys)
    }

    /// The same, for a settlement that needs them.
    pub(crate) fn needed_result_keys(&self) -> Result<ResultKeys> {
        let none = || Error::new(ErrorKind::Other, "settle: no result backend shares this broker's store");
        self.result_keys().ok_or_else(none)
    }

    /// Whether the chords of the results in this very store are ordered.
    pub(crate) fn chord_ordered(&self) -> bool {
        let found = self.backends.find(|backend| backend.target.is_same_store(self.connection.target()));
        found.is_none_or(|backend| backend.chord_ordered)
    }

    /// Whether the result backend at `address` is this very store, so that results and deliveries can be settled in one step.
    pub(crate) fn shares_store_with(&self, address: &Address) -> bool {
        let found = self.backends.find(|backend| backend.address == *address);
        found.is_some_and(|backend| {
            backend.target.is_same_store(self.connection.target()) && self.result_keys() == Some(backend.keys)
        })
    }

    /// Refuses when the broker was closed.
    pub(crate) fn check_open(&self, what: &str) -> Result<()> {
        self.connection.check_open(what)
    }
}
