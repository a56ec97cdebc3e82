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
use apium_transport::error::Result;
use apium_transport::health::Health;
use futures_util::future::BoxFuture;

use crate::connection::commands::CommandConnection;
use crate::consumer::consumer::RedisConsumer;
use crate::consumer::maintenance::Maintenance;
use crate::consumer::state::ConsumerState;
use crate::options::broker::{BrokerOptions, EtaStrategy};
use crate::shared::{BrokerShared, OpenedBackends};

/// A broker on a Redis server, on the keys of kombu, so that Celery and Apium share its queues.
#[derive(Debug)]
pub struct RedisBroker {
    shared: Arc<BrokerShared>,
    address: Address,
}

impl RedisBroker {
    pub(crate) fn new(
        address: Address,
        options: BrokerOptions,
        connection: CommandConnection,
        backends: OpenedBackends,
    ) -> Self {
        Self { shared: Arc::new(BrokerShared::new(connection, options, backends)), address }
    }

    pub(crate) fn shared(&self) -> &Arc<BrokerShared> {
        &self.shared
    }

    async fn open_consumer(&self, spec: ConsumeSpec) -> Result<RedisConsumer> {
        self.shared.check_open("consume")?;
        let mut queues: Vec<Arc<str>> = Vec::new();
        for queue in &spec.queues {
            if queues.iter().all(|other| **other != **queue) {
                queues.push(queue.as_str().into());
            }
        }
        let mut bindings = redis::pipe();
        let added = self.shared.bind_new(&mut bindings, queues.iter().map(|queue| &**queue));
        if !added.is_empty() {
            self.shared.connection.pipeline("consume", &bindings).await?;
            self.shared.declared.add_bound(added);
        }
        let state = Arc::new(ConsumerState::new(spec));
        self.shared.subscribe_fanout(&queues);
        state.set_queues(queues);
        let maintenance = Maintenance::start(self.shared.clone(), state.clone()).await?;
        Ok(RedisConsumer::new(self.shared.clone(), state, maintenance))
    }
}

impl Broker for RedisBroker {
    fn capabilities(&self) -> BrokerCapabilities {
        let mut capabilities = BrokerCapabilities::NONE;
        capabilities.delays = self.shared.options.eta_strategy != EtaStrategy::Hold;
        capabilities.durable = true;
        capabilities.multi_process = true;
        capabilities.atomic_publish = true;
        capabilities.counts_crashes = true;
        capabilities.priority_order = PriorityOrder::SmallerFirst;
        capabilities
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            topology.check_routes_by_key()?;
            self.shared.declare(&topology.queues).await
        })
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
        self.shared.connection.health()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.shared.close_replies().await;
            self.shared.connection.close();
            self.shared.channels.close();
            Ok(())
        })
    }
}
