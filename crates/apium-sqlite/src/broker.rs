//! The broker: declares queues, publishes messages and opens consumers.

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
use apium_transport::error::{Error, Result};
use apium_transport::health::Health;
use futures_util::future::BoxFuture;

use crate::consumer::consumer::SqliteConsumer;
use crate::consumer::lock_file::LockFile;
use crate::consumer::registration::register;
use crate::consumer::state::ConsumerState;
use crate::errors::kind_of_file_error;
use crate::handle::Handle;
use crate::publish::message_row::EncodedMessage;
use crate::publish::publish;
use crate::store::request::RequestCost;
use crate::store::topology::{QueueRow, declare, ensure_queue};
use crate::store::transaction::Tx;
use crate::wake::waker::WakeCauses;

/// A broker in one SQLite file. Several processes of one machine may open the same file.
#[derive(Debug)]
pub struct SqliteBroker {
    handle: Handle,
}

impl SqliteBroker {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// How often another process woke this one since the store was opened, by cause.
    pub fn wake_causes(&self) -> WakeCauses {
        self.handle.file.store.waker.causes()
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    async fn open_consumer(&self, spec: ConsumeSpec) -> Result<SqliteConsumer> {
        self.handle.check_open("consume")?;
        let file = &self.handle.file;
        file.start_maintenance().await?;
        // What a killed worker had in flight can be claimed at once.
        file.store.check_lock_files().await;
        let names = spec.queues.clone();
        let ensure_queues = move |tx: &mut Tx<'_>| {
            let mut queues = Vec::with_capacity(names.len());
            for name in &names {
                let queue = ensure_queue(tx, name)?;
                if queues.iter().all(|other: &Arc<QueueRow>| other.id != queue.id) {
                    queues.push(queue);
                }
            }
            Ok((tx.next_consumer(), queues))
        };
        let (id, queues) = self.handle.write("consume", RequestCost::durable(1), ensure_queues).await?;
        let folder = file.store.live_folder();
        let lock_file = LockFile::create(&folder, id).map_err(|error| {
            let context = format!("consume: create the lock file {}/{id} of the consumer", folder.display());
            Error::new(kind_of_file_error(&error), context).with_source(error)
        })?;
        let state = Arc::new(ConsumerState::new(id, spec, queues, lock_file, file.store.clock.moment()));
        let consumer = SqliteConsumer::new(self.handle.clone(), state.clone());
        let registering = state.clone();
        self.handle
            .write("consume", RequestCost::volatile(1), move |tx: &mut Tx<'_>| register(tx, &registering))
            .await?;
        file.store.waker.add_consumer(&state);
        Ok(consumer)
    }
}

impl Broker for SqliteBroker {
    fn capabilities(&self) -> BrokerCapabilities {
        let mut capabilities = BrokerCapabilities::NONE;
        capabilities.delays = true;
        capabilities.durable = true;
        capabilities.multi_process = true;
        capabilities.atomic_publish = true;
        capabilities.counts_crashes = true;
        capabilities.priority_order = PriorityOrder::LargerFirst;
        capabilities.orders_missing_priority = true;
        capabilities
    }

    fn address(&self) -> &Address {
        &self.handle.address
    }

    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            topology.check_routes_by_key()?;
            let queues = topology.queues.clone();
            let cost = RequestCost::durable(queues.len());
            self.handle.write("declare queues", cost, move |tx: &mut Tx<'_>| declare(tx, &queues)).await
        })
    }

    fn publish(&self, batch: Vec<Outgoing>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let messages = EncodedMessage::encode_all(batch);
            let cost = RequestCost::durable(messages.len());
            let operation = move |tx: &mut Tx<'_>| {
                let routes = publish::routes(tx, messages.iter())?;
                publish::insert(tx, messages.iter(), &routes)
            };
            self.handle.write("publish", cost, operation).await
        })
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
        self.handle.file.store.condition.health()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.handle.close();
            Ok(())
        })
    }
}
