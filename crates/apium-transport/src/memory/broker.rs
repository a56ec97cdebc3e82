//! The broker of the memory driver: declaring, publishing, and opening of consumers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;

use crate::address::Address;
use crate::broker::broadcast::Broadcast;
use crate::broker::broker::{Broker, BrokerCapabilities, PriorityOrder};
use crate::broker::consumer::{ConsumeSpec, Consumer};
use crate::broker::dead_set::DeadSet;
use crate::broker::fleet::FleetRecords;
use crate::broker::outgoing::Outgoing;
use crate::broker::queue_admin::QueueAdmin;
use crate::broker::topology::Topology;
use crate::error::Result;
use crate::memory::consumer::MemoryConsumer;
use crate::memory::handle::closed_error;
use crate::memory::store::after_unlock::AfterUnlock;
use crate::memory::store::consumer_state::ConsumerState;
use crate::memory::store::namespace::{RoutedMessage, SharedNamespace};

/// A broker in this process. It also has the operations of [`Broker`] as plain functions.
#[derive(Debug)]
pub struct MemoryBroker {
    pub(crate) store: Arc<SharedNamespace>,
    pub(crate) closed: Arc<AtomicBool>,
    address: Address,
}

impl MemoryBroker {
    pub(crate) fn new(store: Arc<SharedNamespace>, address: Address) -> Self {
        Self { store, address, closed: Arc::new(AtomicBool::new(false)) }
    }

    pub(crate) fn check_open(&self, what: &str) -> Result<()> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(closed_error(what)),
            false => Ok(()),
        }
    }

    /// [`Broker::publish`], called directly.
    pub fn publish_batch(&self, batch: Vec<Outgoing>) -> Result<()> {
        self.check_open("publish")?;
        let routed: Vec<RoutedMessage> = batch.into_iter().map(RoutedMessage::from).collect();
        let (now, mut after_unlock) = (self.store.clock.now(), AfterUnlock::default());
        {
            let mut namespace = self.store.lock();
            namespace.check_routes(routed.iter().map(RoutedMessage::route))?;
            namespace.publish(routed, now, &mut after_unlock)?;
        }
        after_unlock.run();
        Ok(())
    }

    /// [`Broker::consume`], called directly.
    pub fn open_consumer(&self, spec: &ConsumeSpec) -> Result<MemoryConsumer> {
        self.check_open("consume")?;
        let mut queues: Vec<Arc<str>> = Vec::with_capacity(spec.queues.len());
        for name in &spec.queues {
            if !queues.iter().any(|queue| **queue == **name) {
                queues.push(name.as_str().into());
            }
        }
        let consumer = ConsumerState::new(spec, queues, self.closed.clone());
        let wake = consumer.wake.clone();
        let id = {
            let mut namespace = self.store.lock();
            for queue in &consumer.queues {
                namespace.queues.entry(queue.clone()).or_default();
            }
            let id = namespace.number();
            namespace.consumers.insert(id, consumer);
            id
        };
        Ok(MemoryConsumer::new(self.store.clone(), self.closed.clone(), id, wake))
    }

    fn declare_all(&self, topology: &Topology) -> Result<()> {
        self.check_open("declare queues")?;
        topology.check_routes_by_key()?;
        let mut namespace = self.store.lock();
        for queue in &topology.queues {
            namespace.exchanges.check(queue)?;
        }
        for queue in &topology.queues {
            let name: Arc<str> = queue.name.as_str().into();
            namespace.queues.entry(name.clone()).or_default().max_priority = queue.max_priority;
            namespace.exchanges.bind(queue, name);
        }
        Ok(())
    }
}

impl Broker for MemoryBroker {
    fn capabilities(&self) -> BrokerCapabilities {
        BrokerCapabilities {
            delays: true,
            durable: false,
            multi_process: false,
            atomic_publish: true,
            counts_crashes: true,
            priority_order: PriorityOrder::LargerFirst,
            orders_missing_priority: true,
            fetches_ahead: false,
            headers_exchanges: false,
        }
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.declare_all(topology) })
    }

    fn publish(&self, batch: Vec<Outgoing>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.publish_batch(batch) })
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>>> {
        Box::pin(async move { Ok(Box::new(self.open_consumer(&spec)?) as Box<dyn Consumer>) })
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

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.closed.store(true, Ordering::Release);
            let mut after_unlock = AfterUnlock::default();
            self.store.lock().wake_where(|consumer| Arc::ptr_eq(&consumer.closed, &self.closed), &mut after_unlock);
            let mailboxes = self.store.lock().mailboxes.clone();
            mailboxes.iter().for_each(|mailbox| mailbox.close(&self.closed));
            after_unlock.run();
            Ok(())
        })
    }
}
