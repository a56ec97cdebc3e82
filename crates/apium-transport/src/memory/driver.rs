//! The memory driver: opens brokers and result backends, which share one store for each address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::address::Address;
use crate::backend::backend::SharedBackend;
use crate::broker::broker::SharedBroker;
use crate::driver::{Driver, DriverOptions};
use crate::error::Result;
use crate::memory::backend::MemoryBackend;
use crate::memory::broker::MemoryBroker;
use crate::memory::handle::{SCHEME, namespace};
use crate::memory::store::after_unlock::AfterUnlock;
use crate::memory::store::namespace::SharedNamespace;

/// Keeps everything in this process, under the scheme `memory`.
///
/// `memory://` and `memory://name` are namespaces. The brokers and result backends of one namespace share one store,
/// which lives as long as its driver. Two drivers share nothing. A store has the clock it was first opened with.
#[derive(Debug, Default)]
pub struct MemoryDriver {
    stores: Mutex<HashMap<String, Arc<SharedNamespace>>>,
}

impl MemoryDriver {
    /// A driver with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    fn store(&self, address: &Address, options: &DriverOptions) -> Arc<SharedNamespace> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let name = namespace(address);
        let new = || Arc::new(SharedNamespace::new(name.to_owned(), options.clock.clone()));
        stores.entry(name.to_owned()).or_insert_with(new).clone()
    }

    /// [`Driver::broker`], called directly.
    pub fn open_broker(&self, address: Address, options: &DriverOptions) -> MemoryBroker {
        MemoryBroker::new(self.store(&address, options), address)
    }

    /// [`Driver::backend`], called directly.
    pub fn open_backend(&self, address: Address, options: &DriverOptions) -> MemoryBackend {
        MemoryBackend::new(self.store(&address, options), address)
    }

    /// Puts bytes that are not a message on a queue, as another program may do with a real broker. For tests.
    pub fn insert_unreadable(&self, address: &Address, options: &DriverOptions, queue: &str, raw: Bytes, reason: &str) {
        let store = self.store(address, options);
        let (now, mut after_unlock) = (store.clock.now(), AfterUnlock::default());
        store.lock().insert_unreadable(queue, raw, reason, now, &mut after_unlock);
        after_unlock.run();
    }
}

impl Driver for MemoryDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &[SCHEME]
    }

    fn broker(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBroker>> {
        Box::pin(async move { Ok(Arc::new(self.open_broker(address, &options)) as SharedBroker) })
    }

    fn backend(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBackend>> {
        Box::pin(async move { Ok(Arc::new(self.open_backend(address, &options)) as SharedBackend) })
    }
}
