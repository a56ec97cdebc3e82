//! The result backend: it sends each state to the process that called, and keeps what comes for this one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apium_protocol::message::task_id::TaskId;
use apium_transport::address::Address;
use apium_transport::backend::backend::{
    BackendCapabilities, GroupStore, ResultBackend, ResultRecord, ResultStream, StoreResult, StoredResults,
};
use apium_transport::error::{Error, ErrorKind, Result};
use apium_transport::health::Health;
use futures_util::future::BoxFuture;
use lapin::BasicProperties;

use crate::backend::reply_queue::ReplyQueue;
use crate::backend::watch_stream::InboxStream;
use crate::driver::OpenedBrokers;
use crate::errors::{SharedError, closed};
use crate::publish::publisher::{Published, Ready};
use crate::publish::table::short;
use crate::shared::BrokerShared;

/// Where a backend sends results.
#[derive(Debug)]
pub(crate) enum RpcServer {
    /// At the server of the broker of the same app.
    OfBroker(OpenedBrokers),
    /// At a server of its own.
    Own(Arc<BrokerShared>),
}

/// The result backend `rpc://`, as Celery has it: nothing is stored. Each state is one message to the queue of the
/// process that called the task, and only that process can read it, once.
#[derive(Debug)]
pub struct RpcBackend {
    address: Address,
    server: RpcServer,
    queue: Arc<ReplyQueue>,
    persistent: bool,
    closed: AtomicBool,
}

impl RpcBackend {
    pub(crate) fn new(address: Address, server: RpcServer, queue: Arc<ReplyQueue>, persistent: bool) -> Self {
        if let RpcServer::Own(shared) = &server {
            shared.set_reply_queue(queue.clone());
        }
        Self { address, server, queue, persistent, closed: AtomicBool::new(false) }
    }

    fn shared(&self, what: &str) -> Result<Arc<BrokerShared>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed(what));
        }
        match &self.server {
            RpcServer::Own(shared) => Ok(shared.clone()),
            RpcServer::OfBroker(brokers) => brokers.last().ok_or_else(|| {
                let why = format!("{what}: {} needs a broker of RabbitMQ in the same app", self.address);
                Error::new(ErrorKind::Address, why)
            }),
        }
    }

    /// A state as a message; `None` if nobody waits for it.
    fn ready(&self, record: &ResultRecord) -> Option<Ready> {
        let reply_to = record.reply_to.as_deref().filter(|reply_to| !reply_to.is_empty())?;
        let mut properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_headers(lapin::types::FieldTable::default())
            .with_delivery_mode(if self.persistent { 2 } else { 1 })
            .with_priority(0);
        // A task id may be longer than what the property takes. The document has it too.
        if let Ok(id) = short("correlation_id", record.document.task_id.as_str()) {
            properties = properties.with_correlation_id(id);
        }
        let routing_key = short("reply_to", reply_to).ok()?;
        let body = record.document.to_json().into();
        Some(Ready { exchange: "".into(), routing_key, properties, body, mandatory: true })
    }

    async fn store_batch(&self, records: Vec<ResultRecord>) -> Result<Vec<StoreResult>> {
        let shared = self.shared("send results")?;
        // What this process sends to itself must find its queue.
        if records.iter().any(|record| record.reply_to.as_deref() == Some(&*self.queue.name)) {
            self.queue.listen(&shared).await?;
        }
        let ready: Vec<Option<Ready>> = records.iter().map(|record| self.ready(record)).collect();
        let sent: Vec<Ready> = ready.iter().flatten().cloned().collect();
        let mut published = match sent.is_empty() {
            true => Vec::new(),
            false => shared.publisher.publish(sent).await?,
        }
        .into_iter();
        let mut stored = Vec::with_capacity(ready.len());
        for message in ready {
            let outcome = if message.is_some() { published.next() } else { None };
            stored.push(match outcome {
                Some(Published::Confirmed) => StoreResult::Written,
                // Nobody waits for it, or not any more.
                None | Some(Published::Returned) => StoreResult::Refused,
                Some(Published::Failed(error)) => {
                    return Err(Error::new(error.kind(), "send a result").with_source(SharedError(error)));
                }
            });
        }
        Ok(stored)
    }
}

impl ResultBackend for RpcBackend {
    fn capabilities(&self) -> BackendCapabilities {
        let mut capabilities = BackendCapabilities::NONE;
        capabilities.every_state = true;
        capabilities
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn reply_to(&self) -> Option<Arc<str>> {
        Some(self.queue.name.clone())
    }

    fn store(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<Vec<StoreResult>>> {
        Box::pin(self.store_batch(records))
    }

    fn watch(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<ResultStream>> {
        Box::pin(async move {
            let shared = self.shared("watch results")?;
            self.queue.listen(&shared).await?;
            let number = self.queue.replies.watch(ids);
            Ok(Box::pin(InboxStream::new(self.queue.replies.clone(), number)) as ResultStream)
        })
    }

    fn stored(&self) -> Option<&dyn StoredResults> {
        None
    }

    fn groups(&self) -> Option<&dyn GroupStore> {
        None
    }

    fn health(&self) -> Health {
        match &self.server {
            RpcServer::Own(shared) => shared.health(),
            // The broker says so itself.
            RpcServer::OfBroker(_) => Health::Green,
        }
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if self.closed.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
            let shared = match &self.server {
                RpcServer::Own(shared) => Some(shared.clone()),
                RpcServer::OfBroker(brokers) => brokers.last(),
            };
            match &shared {
                Some(shared) => self.queue.close(shared).await,
                None => self.queue.replies.close(),
            }
            if let RpcServer::Own(shared) = &self.server {
                shared.close().await;
            }
            Ok(())
        })
    }
}
