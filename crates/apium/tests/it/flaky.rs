//! A driver around a real one whose first publishes fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use apium::config::Topology;
use apium::driver::{
    Address, Broker, BrokerCapabilities, ConsumeSpec, Consumer, DeadSet, Driver, DriverOptions, Error, ErrorKind,
    Outgoing, QueueAdmin, Result, SharedBackend, SharedBroker, SharedDriver,
};
use futures_util::future::BoxFuture;

/// A driver for `flaky+…` addresses around the driver for `…`.
pub(crate) struct FlakyDriver {
    inner: SharedDriver,
    failures: u32,
    tries: Arc<AtomicU32>,
}

impl FlakyDriver {
    /// A driver whose first `failures` publishes fail, and the count of all attempts.
    pub(crate) fn around(inner: SharedDriver, failures: u32) -> (Self, Arc<AtomicU32>) {
        let tries = Arc::<AtomicU32>::default();
        (Self { inner, failures, tries: tries.clone() }, tries)
    }
}

fn inner_address(address: &Address) -> Result<Address> {
    Address::parse(address.secret_text().trim_start_matches("flaky+"))
}

impl Driver for FlakyDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &["flaky+memory", "flaky+sqlite", "flaky+redis"]
    }

    fn broker(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBroker>> {
        Box::pin(async move {
            let broker = self.inner.broker(inner_address(&address)?, options).await?;
            Ok(Arc::new(FlakyBroker { broker, failures: self.failures, tries: self.tries.clone() }) as SharedBroker)
        })
    }

    fn backend(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBackend>> {
        Box::pin(async move { self.inner.backend(inner_address(&address)?, options).await })
    }
}

struct FlakyBroker {
    broker: SharedBroker,
    failures: u32,
    tries: Arc<AtomicU32>,
}

impl Broker for FlakyBroker {
    fn capabilities(&self) -> BrokerCapabilities {
        self.broker.capabilities()
    }

    fn address(&self) -> &Address {
        self.broker.address()
    }

    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<()>> {
        self.broker.declare(topology)
    }

    fn publish(&self, batch: Vec<Outgoing>) -> BoxFuture<'_, Result<()>> {
        if self.tries.fetch_add(1, Ordering::SeqCst) < self.failures {
            let refused = Error::new(ErrorKind::Connection, "connect: refused for the test");
            return Box::pin(async { Err(refused) });
        }
        self.broker.publish(batch)
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>>> {
        self.broker.consume(spec)
    }

    fn queues(&self) -> Option<&dyn QueueAdmin> {
        self.broker.queues()
    }

    fn dead(&self) -> Option<&dyn DeadSet> {
        self.broker.dead()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.broker.close()
    }
}
