//! Opening brokers and result backends by address. Nothing is connected before it is needed.

use std::sync::Arc;

use apium_transport::address::Address;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::driver::{Driver, DriverOptions};
use apium_transport::error::Result;
use futures_util::future::BoxFuture;

use crate::backend::backend::RedisBackend;
use crate::backend::result_store::ResultStores;
use crate::broker::RedisBroker;
use crate::options::backend::BackendOptions;
use crate::options::broker::BrokerOptions;
use crate::options::target::SCHEMES;
use crate::shared::OpenedBackends;

/// Opens `redis://`, `rediss://`, `redis+socket://`, `sentinel://` and `redis+cluster://`.
#[derive(Debug, Default)]
pub struct RedisDriver {
    /// Which backends were opened, for brokers that may be the same store.
    backends: OpenedBackends,
    result_stores: ResultStores,
}

impl RedisDriver {
    /// A driver with nothing open.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a broker, by its own type.
    ///
    /// # Errors
    /// When the address or an option cannot be read. Whether the server can be reached shows at the first operation.
    pub fn open_broker(&self, address: Address, options: &DriverOptions) -> Result<RedisBroker> {
        let read = BrokerOptions::read(&address, options)?;
        Ok(RedisBroker::new(address, read, options.clock.clone(), self.backends.clone()))
    }

    /// Opens a result backend, by its own type.
    ///
    /// # Errors
    /// As [`open_broker`](Self::open_broker).
    pub fn open_backend(&self, address: Address, options: &DriverOptions) -> Result<RedisBackend> {
        let read = BackendOptions::read(&address, options)?;
        self.backends.add(address.clone(), &read);
        Ok(RedisBackend::on(address, self.result_stores.open(read, options.clock.clone())))
    }
}

impl Driver for RedisDriver {
    fn schemes(&self) -> &'static [&'static str] {
        SCHEMES
    }

    fn broker(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBroker>> {
        Box::pin(async move { Ok(Arc::new(self.open_broker(address, &options)?) as SharedBroker) })
    }

    fn backend(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBackend>> {
        Box::pin(async move { Ok(Arc::new(self.open_backend(address, &options)?) as SharedBackend) })
    }
}
