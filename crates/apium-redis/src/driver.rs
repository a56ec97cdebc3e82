//! Opening brokers and result backends by address. Nothing is connected before it is needed.

use std::sync::Arc;

use apium_transport::address::Address;
use apium_transport::backend::SharedBackend;
use apium_transport::broker::SharedBroker;
use apium_transport::driver::{Driver, DriverOptions};
use apium_transport::error::Result;
use futures_util::future::BoxFuture;

use crate::broker::RedisBroker;
use crate::core::OpenedBackends;
use crate::options::backend::BackendOptions;
use crate::options::broker::BrokerOptions;
use crate::options::target::SCHEMES;

/// Opens `redis://`, `rediss://`, `redis+socket://`, `sentinel://` and `redis+cluster://`.
#[derive(Debug, Default)]
pub struct RedisDriver {
    backends: OpenedBackends,
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

}

impl Driver for RedisDriver {
    fn schemes(&self) -> &'static [&'static str] {
        SCHEMES
    }

    fn broker(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBroker>> {
        Box::pin(async move { Ok(Arc::new(self.open_broker(address, &options)?) as SharedBroker) })
    }

    fn backend(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBackend>> {
        Box::pin(async move { { let read = BackendOptions::read(&address, &options)?; self.backends.add(address, read.target, read.keys); Err(apium_transport::error::Error::new(apium_transport::error::ErrorKind::Other, "not yet")) } })
    }
}
