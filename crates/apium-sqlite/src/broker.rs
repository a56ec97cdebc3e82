//! The broker half: declaring, publishing, and opening of consumers.

use std::sync::Arc;

use apium_transport::address::Address;
use apium_transport::broker::broker::{Broker, BrokerCapabilities, PriorityOrder};
use apium_transport::broker::consumer::{ConsumeSpec, Consumer};
use apium_transport::broker::dead_set::DeadSet;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::queue_admin::QueueAdmin;
use apium_transport::broker::topology::Topology;
use apium_transport::error::{Error, ErrorKind, Result};
use futures_util::future::BoxFuture;

use crate::consumer::consumer::SqliteConsumer;
use crate::consumer::lease::register;
use crate::consumer::lock_file::Mark;
use crate::consumer::state::Seat;
use crate::handle::Handle;
use crate::publish::message_row::Letter;
use crate::publish::publish;
use crate::store::request::Weight;
use crate::store::topology::{declare, ensure_queue};
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

    /// How often something of another process woke this one, since the store was opened.
    pub fn wake_causes(&self) -> WakeCauses {
        self.handle.opened.store.wake.causes()
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    async fn open_consumer(&self, spec: ConsumeSpec) -> Result<SqliteConsumer> {
        self.handle.check_open("consume")?;
        let opened = &self.handle.opened;
        opened.attend().await?;
        // What a worker that was killed held is ours at once.
        opened.store.attend_marks().await;
        let names = spec.queues.clone();
        let enter = move |tx: &mut Tx<'_>| {
            let mut queues = Vec::with_capacity(names.len());
            for name in &names {
                let queue = ensure_queue(tx, name)?;
                if queues.iter().all(|other: &Arc<crate::store::topology::QueueRow>| other.id != queue.id) {
                    queues.push(queue);
                }
            }
            Ok((tx.next_consumer(), queues))
        };
        let (id, queues) = self.handle.writing("consume", Weight::durable(1), enter).await?;
        let folder = opened.store.live_folder();
        let mark = Mark::make(&folder, id).map_err(|error| {
            let context =
                format!("consume: make the file {}/{id} that shows that this consumer lives", folder.display());
            Error::new(ErrorKind::Refused, context).with_source(error)
        })?;
        let seat = Arc::new(Seat::new(id, spec, queues, mark, opened.store.clock.now()));
        let consumer = SqliteConsumer::new(self.handle.clone(), seat.clone());
        let entered = seat.clone();
        self.handle.writing("consume", Weight::passing(1), move |tx: &mut Tx<'_>| register(tx, &entered)).await?;
        opened.store.wake.seat(&seat);
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
        capabilities
    }

    fn address(&self) -> &Address {
        &self.handle.address
    }

    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let queues = topology.queues.clone();
            let weight = Weight::durable(queues.len());
            self.handle.writing("declare queues", weight, move |tx: &mut Tx<'_>| declare(tx, &queues)).await
        })
    }

    fn publish(&self, batch: Vec<Outgoing>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let letters = Letter::encode_all(batch);
            let weight = Weight::durable(letters.len());
            let work = move |tx: &mut Tx<'_>| {
                let routes = publish::routes(tx, letters.iter())?;
                publish::insert(tx, letters.iter(), &routes)
            };
            self.handle.writing("publish", weight, work).await
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

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.handle.close();
            Ok(())
        })
    }
}
