//! What the result backends of one store share: the connection, the names of keys, and the watches.

use std::sync::Arc;

use crate::link::Link;
use crate::options::backend::BackendOptions;
use crate::result_keys::ResultKeys;
use crate::watch::watches::Watches;

/// An open result store. Its connections end when nobody holds it.
#[derive(Debug)]
pub(crate) struct OpenedResults {
    pub(crate) link: Link,
    pub(crate) keys: ResultKeys,
    pub(crate) watches: Arc<Watches>,
}

impl OpenedResults {
    /// Uses `link`, which leads to the server of `options`. Nothing is sent before it is needed.
    pub(crate) fn new(options: BackendOptions, link: Link) -> Self {
        let watches = Watches::new(link.clone());
        Self { link, keys: options.keys, watches }
    }

    /// Whether these options mean this store.
    pub(crate) fn is(&self, options: &BackendOptions) -> bool {
        self.keys == options.keys && self.link.target().is_same_store(&options.target)
    }
}
