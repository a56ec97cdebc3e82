//! The broker: it declares queues, publishes messages and opens consumers.

use std::sync::Arc;

use apium_transport::address::Address;
use apium_transport::broker::broadcast::Broadcast;
use apium_transport::broker::broker::{Broker, BrokerCapabilities, PriorityOrder};
use apium_transport::broker::consumer::{ConsumeSpec, Consumer};
use apium_transport::broker::dead_set::DeadSet;
use apium_transport::broker::fleet::FleetRecords;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::queue_admin::QueueAdmin;
use apium_transport::broker::topology::Topology;
use apium_transport::clock::Clock;
use apium_transport::error::Result;
use apium_transport::health::Health;
use futures_util::future::BoxFuture;

use crate::consumer::consumer::AmqpConsumer;
use crate::options::broker::BrokerOptions;
use crate::shared::BrokerShared;

/// A broker on RabbitMQ, with the exchanges, queues and messages of Celery.
#[derive(Debug)]
pub struct AmqpBroker {
    shared: Arc<BrokerShared>,
    address: Address,
}

impl AmqpBroker {
    pub(crate) fn new(address: Address, options: BrokerOptions, clock: Clock) -> Result<Self> {
        Ok(Self { shared: Arc::new(BrokerShared::new(options, clock)?), address })
    }

    pub(crate) fn shared(&self) -> &Arc<BrokerShared> {
        &self.shared
    }

    async fn open_consumer(&self, spec: ConsumeSpec) -> Result<AmqpConsumer> {
        self.shared.check_open("consume")?;
        for queue in &spec.queues {
            self.shared.ensure_queue(queue).await?;
        }
        Ok(AmqpConsumer::new(self.shared.clone(), spec))
    }
}

impl Broker for AmqpBroker {
    fn capabilities(&self) -> BrokerCapabilities {
        let mut capabilities = BrokerCapabilities::NONE;
        capabilities.delays = true;
        capabilities.durable = true;
        capabilities.multi_process = true;
        capabilities.counts_crashes = true;
        capabilities.fetches_ahead = true;
        capabilities.headers_exchanges = true;
        capabilities.priority_order = PriorityOrder::LargerFirst;
        capabilities
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.shared.declare(&topology.queues))
    }

    fn publish(&self, batch: Vec<Outgoing>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.shared.publish(&batch).await })
    }

    fn publish_borrowed<'a>(&'a self, batch: &'a [Outgoing]) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.shared.publish(batch))
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>>> {
        Box::pin(async move { Ok(Box::new(self.open_consumer(spec).await?) as Box<dyn Consumer>) })
    }

    fn queues(&self) -> Option<&dyn QueueAdmin> {
        Some(self)
    }

    fn dead(&self) -> Option<&dyn DeadSet> {
        Some(self)
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        Some(self)
    }

    fn fleet(&self) -> Option<&dyn FleetRecords> {
        Some(self)
    }

    fn health(&self) -> Health {
        self.shared.health()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.shared.close().await;
            Ok(())
        })
    }
}
