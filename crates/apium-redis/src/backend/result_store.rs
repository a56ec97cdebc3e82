//! What the result backends of one store share: the connection, the names of keys, and the watches.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use apium_transport::clock::Clock;

use crate::backend::watcher::ResultWatcher;
use crate::connection::commands::CommandConnection;
use crate::keys::result_keys::ResultKeys;
use crate::options::backend::BackendOptions;

/// An open result store. Its connections end when nobody holds it.
#[derive(Debug)]
pub(crate) struct ResultStore {
    pub(crate) connection: CommandConnection,
    pub(crate) keys: ResultKeys,
    pub(crate) chord_ordered: bool,
    pub(crate) watcher: Arc<ResultWatcher>,
}

impl ResultStore {
    /// Nothing is sent before it is needed.
    pub(crate) fn new(options: BackendOptions, clock: Clock) -> Self {
        let link = CommandConnection::new(options.target, clock);
        let watches = ResultWatcher::new(link.clone());
        Self { connection: link, keys: options.keys, chord_ordered: options.chord_ordered, watcher: watches }
    }

    /// Whether these options mean this store, and its connections.
    fn is(&self, options: &BackendOptions) -> bool {
        self.keys == options.keys
            && self.chord_ordered == options.chord_ordered
            && *self.connection.target() == options.target
    }
}

/// The open result stores of a driver. Backends of one store share its connections.
#[derive(Debug, Default)]
pub(crate) struct ResultStores(Mutex<Vec<Weak<ResultStore>>>);

impl ResultStores {
    /// The store that `options` mean.
    pub(crate) fn open(&self, options: BackendOptions, clock: Clock) -> Arc<ResultStore> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|opened| opened.strong_count() > 0);
        if let Some(opened) = all.iter().filter_map(Weak::upgrade).find(|opened| opened.is(&options)) {
            return opened;
        }
        let opened = Arc::new(ResultStore::new(options, clock));
        all.push(Arc::downgrade(&opened));
        opened
    }
}
