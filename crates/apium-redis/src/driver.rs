//! Opens brokers and result backends by address. A connection is made when it is first needed.

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
use crate::connection::opened::OpenedConnections;
use crate::options::backend::BackendOptions;
use crate::options::broker::BrokerOptions;
use crate::options::target::SCHEMES;
use crate::shared::OpenedBackends;

/// The driver of Redis: it opens `redis://`, `rediss://`, `redis+socket://`, `sentinel://`, `redis+cluster://`,
/// `rediss+cluster://`, `valkey://` and `valkeys://`.
#[derive(Debug, Default)]
pub struct RedisDriver {
    /// The backends that were opened: a broker on the same store can settle results together with deliveries.
    backends: OpenedBackends,
    result_stores: ResultStores,
    connections: OpenedConnections,
}

impl RedisDriver {
    /// A driver with nothing open.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a broker as its own type, for what only this driver can do. It does not connect yet.
    ///
    /// # Errors
    /// If the address or an option is invalid. A server that cannot be reached is an error of the first operation.
    pub fn open_broker(&self, address: Address, options: &DriverOptions) -> Result<RedisBroker> {
        let read = BrokerOptions::read(&address, options)?;
        read.target.check_build()?;
        let connection = self.connections.open(read.target.clone(), options.clock.clone());
        Ok(RedisBroker::new(address, read, connection, self.backends.clone()))
    }

    /// Opens a result backend as its own type, for what only this driver can do. It does not connect yet.
    ///
    /// # Errors
    /// As for [`open_broker`](Self::open_broker).
    pub fn open_backend(&self, address: Address, options: &DriverOptions) -> Result<RedisBackend> {
        let read = BackendOptions::read(&address, options)?;
        read.target.check_build()?;
        self.backends.add(address.clone(), &read);
        let connect = |target| self.connections.open(target, options.clock.clone());
        Ok(RedisBackend::on(address, self.result_stores.open(read, connect)))
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
