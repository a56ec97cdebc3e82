//! Opens brokers and result backends by address. A connection is made when it is first needed.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use apium_transport::address::Address;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::driver::{Driver, DriverOptions};
use apium_transport::error::Result;
use futures_util::future::BoxFuture;

use crate::backend::backend::{RpcBackend, RpcServer};
use crate::backend::reply_queue::ReplyQueue;
use crate::broker::AmqpBroker;
use crate::options::backend::BackendOptions;
use crate::options::broker::BrokerOptions;
use crate::shared::BrokerShared;

/// The schemes of this driver: those of brokers, and that of the result backend.
const SCHEMES: &[&str] = &["amqp", "amqps", "pyamqp", "rpc"];

/// The brokers that a driver has opened: `rpc://` is at the server of one of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenedBrokers(Arc<Mutex<Opened>>);

#[derive(Debug, Default)]
struct Opened {
    brokers: Vec<Weak<BrokerShared>>,
    /// The queues of results of the backends without a server of their own.
    queues: Vec<Arc<ReplyQueue>>,
}

impl OpenedBrokers {
    fn add(&self, broker: &Arc<BrokerShared>) {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        opened.brokers.retain(|broker| broker.strong_count() > 0);
        opened.brokers.push(Arc::downgrade(broker));
        for queue in &opened.queues {
            broker.set_reply_queue(queue.clone());
        }
    }

    fn add_queue(&self, queue: &Arc<ReplyQueue>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).queues.push(queue.clone());
        if let Some(broker) = self.last() {
            broker.set_reply_queue(queue.clone());
        }
    }

    /// The broker that was opened last.
    pub(crate) fn last(&self) -> Option<Arc<BrokerShared>> {
        let opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        opened.brokers.iter().rev().find_map(Weak::upgrade)
    }
}

/// The driver of RabbitMQ: it opens brokers at `amqp://`, `amqps://` and `pyamqp://`, and the result backend `rpc://`.
#[derive(Debug, Default)]
pub struct AmqpDriver {
    brokers: OpenedBrokers,
}

impl AmqpDriver {
    /// A driver with nothing open.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a broker as its own type, for what only this driver can do. It does not connect yet.
    ///
    /// # Errors
    /// If the address or an option is invalid. A server that cannot be reached is an error of the first operation.
    pub fn open_broker(&self, address: Address, options: &DriverOptions) -> Result<AmqpBroker> {
        let read = BrokerOptions::read(&address, options)?;
        let broker = AmqpBroker::new(address, read, options.clock.clone())?;
        self.brokers.add(broker.shared());
        Ok(broker)
    }

    /// Opens a result backend as its own type. `rpc://` alone is at the server of the broker that was opened last.
    ///
    /// # Errors
    /// As for [`open_broker`](Self::open_broker).
    pub fn open_backend(&self, address: Address, options: &DriverOptions) -> Result<RpcBackend> {
        let read = BackendOptions::read(&address, options)?;
        let name = read.reply_queue.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let queue = Arc::new(ReplyQueue::new(name.into()));
        let server = match read.target {
            None => {
                self.brokers.add_queue(&queue);
                RpcServer::OfBroker(self.brokers.clone())
            }
            Some(target) => {
                let options_of_broker = BrokerOptions::of_target(target);
                RpcServer::Own(Arc::new(BrokerShared::new(options_of_broker, options.clock.clone())?))
            }
        };
        Ok(RpcBackend::new(address, server, queue, read.persistent))
    }
}

impl Driver for AmqpDriver {
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
