//! The broker seam: where messages are published to and consumed from. Batches are the unit.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::address::Address;
use crate::broker::broadcast::Broadcast;
use crate::broker::consumer::{ConsumeSpec, Consumer};
use crate::broker::dead_set::DeadSet;
use crate::broker::fleet::FleetRecords;
use crate::broker::outgoing::Outgoing;
use crate::broker::queue_admin::QueueAdmin;
use crate::broker::topology::Topology;
use crate::error::Result;
use crate::health::Health;

/// What a broker can do by itself. Whoever relies on one of these asks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerCapabilities {
    /// Whether messages with an eta wait in the broker, and are delivered when they are due.
    pub delays: bool,
    /// Whether messages survive the end of every process.
    pub durable: bool,
    /// Whether several processes can share one address.
    pub multi_process: bool,
    /// Whether a batch is published whole or not at all. Without it, a batch whose publishing fails may be there in
    /// part.
    pub atomic_publish: bool,
    /// Whether it counts the runs of a message whose worker died ([`Acker::mark_started`]), and says with each delivery
    /// how many there were ([`Delivery::crashes`]). It always delivers the message again: the worker judges. A broker
    /// that cannot be exact rather misses a crash than invents one.
    ///
    /// [`Acker::mark_started`]: crate::broker::settlement::Acker::mark_started
    /// [`Delivery::crashes`]: crate::broker::consumer::Delivery::crashes
    pub counts_crashes: bool,
    /// Which end of the priority scale is delivered first. Urgent and background calls take their numbers from it.
    pub priority_order: PriorityOrder,
    /// Whether a message without a priority is delivered between the first priority and the last. Otherwise it counts
    /// as one of 0, as in Celery, and calls without a priority are sent with that.
    pub orders_missing_priority: bool,
    /// Whether a consumer is sent messages before it asks for them, as far as its prefetch allows. They count as
    /// delivered: what it gives back without having handed it out comes again as redelivered.
    pub fetches_ahead: bool,
    /// Whether a queue can be bound by the headers of messages. Without it such a queue is refused.
    pub headers_exchanges: bool,
}

impl BrokerCapabilities {
    /// Of a broker that can do none of it; larger priorities are delivered first.
    pub const NONE: Self = Self {
        delays: false,
        durable: false,
        multi_process: false,
        atomic_publish: false,
        counts_crashes: false,
        priority_order: PriorityOrder::LargerFirst,
        orders_missing_priority: false,
        fetches_ahead: false,
        headers_exchanges: false,
    };

    /// As what a message without a priority counts with brokers that deliver it before those of 0.
    pub const MISSING_PRIORITY: u8 = 1;
}

/// Which end of the priority scale is delivered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriorityOrder {
    /// 9 before 0, as on RabbitMQ.
    LargerFirst,
    /// 0 before 9, as Celery does on Redis.
    SmallerFirst,
}

impl PriorityOrder {
    /// The priority that is delivered before all others.
    pub fn first(self) -> u8 {
        match self {
            // Queues take what is above their largest priority for that one.
            Self::LargerFirst => u8::MAX,
            Self::SmallerFirst => 0,
        }
    }

    /// The priority that is delivered after all others.
    pub fn last(self) -> u8 {
        match self {
            Self::LargerFirst => 0,
            // Celery knows no larger one there.
            Self::SmallerFirst => 9,
        }
    }
}

/// A message broker.
pub trait Broker: Send + Sync + 'static {
    /// What this broker can do.
    fn capabilities(&self) -> BrokerCapabilities;

    /// Its address. Printing it never shows a secret.
    fn address(&self) -> &Address;

    /// Declares the queues of `topology` with their exchanges and bindings. Idempotent. Bindings add up.
    ///
    /// # Errors
    /// [`Refused`](crate::error::ErrorKind::Refused) for an exchange that exists with another type.
    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<()>>;

    /// Publishes `batch`; returns when the messages are as safe as this broker makes them. After an error nothing was
    /// published if the broker publishes atomically ([`BrokerCapabilities::atomic_publish`]), otherwise perhaps a part.
    /// Cancelling the future leaves it open what was published.
    ///
    /// The default exchange creates the queue that the routing key names if it is missing. A topic or fanout exchange
    /// drops a message that no binding matches, as in AMQP.
    ///
    /// # Errors
    /// [`NotFound`](crate::error::ErrorKind::NotFound) for an exchange that does not exist, and for a direct exchange
    /// that no queue is bound to by that key, so that a wrong name loses no task.
    fn publish(&self, batch: Vec<Outgoing>) -> BoxFuture<'_, Result<()>>;

    /// As [`publish`](Self::publish), for a caller that keeps the batch: it may have to publish it again. A driver that
    /// only reads the messages need not copy them.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    fn publish_borrowed<'a>(&'a self, batch: &'a [Outgoing]) -> BoxFuture<'a, Result<()>> {
        self.publish(batch.to_vec())
    }

    /// Starts to consume. Creates queues that are missing.
    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>>>;

    /// Administration of its queues. `None` only if there is no broker behind it.
    fn queues(&self) -> Option<&dyn QueueAdmin>;

    /// Its dead set, if it has one.
    fn dead(&self) -> Option<&dyn DeadSet>;

    /// Messages for all who listen, for remote control and events; `None` where it has none.
    fn broadcast(&self) -> Option<&dyn Broadcast> {
        None
    }

    /// What all workers share, as revokes; `None` where it keeps nothing.
    fn fleet(&self) -> Option<&dyn FleetRecords> {
        None
    }

    /// Whether it can be reached, as far as this process knows. Does no I/O and returns at once. A broker inside the
    /// process can always be reached.
    fn health(&self) -> Health {
        Health::Green
    }

    /// Closes its connections. Idempotent. Close consumers first: later calls of other methods, and consumers that
    /// wait, return [`ErrorKind::Closed`](crate::error::ErrorKind::Closed).
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}

/// A shared broker.
pub type SharedBroker = Arc<dyn Broker>;
