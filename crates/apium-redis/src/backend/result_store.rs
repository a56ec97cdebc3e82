//! What the result backends of one store share: the connection, the names of keys, and the watcher.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::backend::watcher::ResultWatcher;
use crate::connection::commands::CommandConnection;
use crate::keys::result_keys::ResultKeys;
use crate::options::backend::BackendOptions;
use crate::options::target::Target;

/// An open result store. Its connections end with its last handle.
#[derive(Debug)]
pub(crate) struct ResultStore {
    pub(crate) connection: CommandConnection,
    pub(crate) keys: ResultKeys,
    pub(crate) chord_ordered: bool,
    pub(crate) watcher: Arc<ResultWatcher>,
}

impl ResultStore {
    /// A store that is not connected yet.
    pub(crate) fn new(options: BackendOptions, connection: CommandConnection) -> Self {
        let watcher = ResultWatcher::new(connection.clone());
        Self { connection, keys: options.keys, chord_ordered: options.chord_ordered, watcher }
    }

    /// Whether these options mean this store, with connections of the same kind.
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
    /// The store that `options` mean: an open one, or a new one.
    pub(crate) fn open(
        &self,
        options: BackendOptions,
        connect: impl FnOnce(Target) -> CommandConnection,
    ) -> Arc<ResultStore> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|store| store.strong_count() > 0);
        if let Some(store) = all.iter().filter_map(Weak::upgrade).find(|store| store.is(&options)) {
            return store;
        }
        let connection = connect(options.target.clone());
        let store = Arc::new(ResultStore::new(options, connection));
        all.push(Arc::downgrade(&store));
        store
    }
}
