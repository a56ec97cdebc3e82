//! The broker of an app without a broker: each of its errors says how to name one.

use apium_transport::address::Address;
use apium_transport::broker::broker::{Broker, BrokerCapabilities};
use apium_transport::broker::consumer::{ConsumeSpec, Consumer};
use apium_transport::broker::dead_set::DeadSet;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::queue_admin::QueueAdmin;
use apium_transport::broker::topology::Topology;
use apium_transport::error::{Error, ErrorKind, Result};
use futures_util::future::BoxFuture;

/// The broker of an app without a broker. An app whose calls are all eager needs none.
#[derive(Debug)]
pub struct NoBroker {
    address: Address,
}

impl NoBroker {
    /// The broker of an app without a broker.
    ///
    /// # Errors
    /// It returns none, since its address is valid.
    pub fn new() -> Result<Self> {
        Ok(Self { address: Address::parse("none://")? })
    }
}

/// What is said where a broker is needed.
pub const NO_BROKER: &str =
    "no broker is configured; name one with .broker(…), APIUM_BROKER_URL or broker_url in apium.toml";

/// Whether an app with this broker has none.
pub fn is_none(broker: &dyn Broker) -> bool {
    broker.address().scheme() == "none"
}

fn refused<T: Send + 'static>(what: &str) -> BoxFuture<'static, Result<T>> {
    let text = format!("{what}: {NO_BROKER}");
    Box::pin(async move { Err(Error::new(ErrorKind::Address, text)) })
}

impl Broker for NoBroker {
    fn capabilities(&self) -> BrokerCapabilities {
        BrokerCapabilities::NONE
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn declare<'a>(&'a self, _topology: &'a Topology) -> BoxFuture<'a, Result<()>> {
        refused("declare queues")
    }

    fn publish(&self, _batch: Vec<Outgoing>) -> BoxFuture<'_, Result<()>> {
        refused("publish")
    }

    fn consume(&self, _spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>>> {
        refused("consume")
    }

    fn queues(&self) -> Option<&dyn QueueAdmin> {
        None
    }

    fn dead(&self) -> Option<&dyn DeadSet> {
        None
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}
