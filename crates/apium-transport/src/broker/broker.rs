//! The broker seam: where messages are published to and consumed from. Batches are the unit.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::address::Address;
use crate::broker::consumer::{ConsumeSpec, Consumer};
use crate::broker::dead_set::DeadSet;
use crate::broker::outgoing::Outgoing;
use crate::broker::topology::Topology;
use crate::error::Result;
use crate::health::Health;

/// What a broker can do by itself. A caller asks before it relies on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerCapabilities {
    /// Messages with an eta wait in the broker and are delivered when due (P7).
    pub delays: bool,
    /// Messages survive the death of every process.
    pub durable: bool,
    /// Several processes can share one address.
    pub multi_process: bool,
    /// Which end of the priority scale is delivered first.
    pub priority_order: PriorityOrder,
}

impl BrokerCapabilities {
    /// The capabilities of a broker kept in one process: nothing parked, nothing durable, larger priorities first.
    pub const NONE: Self =
        Self { delays: false, durable: false, multi_process: false, priority_order: PriorityOrder::LargerFirst };
}

/// Which end of the priority scale is delivered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriorityOrder {
    /// 9 before 0, as on RabbitMQ.
    LargerFirst,
    /// 0 before 9, as Celery does on Redis.
    SmallerFirst,
}

/// A message broker.
pub trait Broker: Send + Sync + 'static {
    /// What this broker can do.
    fn capabilities(&self) -> BrokerCapabilities;

    /// Where it is; printing it never shows a secret.
    fn address(&self) -> &Address;

    /// Makes the queues (and exchanges, and bindings) of `topology` exist. Idempotent; bindings add up. An exchange that exists
    /// with another type is [`Refused`](crate::error::ErrorKind::Refused).
    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<()>>;

    /// Publishes all of `batch` or none; returns when the messages are as safe as this broker makes them.
    /// Cancelling the future leaves it open whether the batch was published.
    ///
    /// The default exchange makes the queue named by the routing key when it is missing. An exchange that does not exist, and a
    /// direct exchange without a queue bound by that key, are errors of [`NotFound`](crate::error::ErrorKind::NotFound), so that
    /// no task gets lost by a wrong name; a topic or fanout exchange with nobody listening drops the message, as in AMQP.
    fn publish(&self, batch: Vec<Outgoing>) -> BoxFuture<'_, Result<()>>;

    /// Starts to consume; makes queues that are missing.
    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>>>;

    /// Counting, peeking, purging and deleting of queues, where the broker has it.
    fn queues(&self) -> Option<&dyn QueueAdmin>;

    /// Messages that could not be handled and are kept, where the broker has such a place.
    fn dead(&self) -> Option<&dyn DeadSet>;

    /// Whether it can be reached, as far as this process knows; asks nobody and returns at once. A broker inside the process is
    /// always there.
    fn health(&self) -> Health {
        Health::Green
    }

    /// Closes connections. Idempotent; later calls of other methods, and consumers that wait, return
    /// [`ErrorKind::Closed`](crate::error::ErrorKind::Closed). Close consumers first.
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}

/// A shared broker.
pub type SharedBroker = Arc<dyn Broker>;

/// How many messages a queue holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueueStats {
    /// The queue's name.
    pub queue: String,
    /// Messages that can be delivered now.
    pub ready: u64,
    /// Messages delivered and not yet settled.
    pub unacked: u64,
    /// Messages that wait for their eta.
    pub delayed: u64,
    /// Live consumers of the queue.
    pub consumers: u64,
}

impl QueueStats {
    /// An empty queue without consumers.
    pub fn new(queue: String) -> Self {
        Self { queue, ..Self::default() }
    }
}

/// Administration of queues. A queue that is missing counts as an empty one.
pub trait QueueAdmin: Send + Sync {
    /// The known queues with their counts, sorted by name.
    fn stats(&self) -> BoxFuture<'_, Result<Vec<QueueStats>>>;

    /// Up to `limit` waiting messages of `queue` in delivery order, left where they are.
    fn peek<'a>(&'a self, queue: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Outgoing>>>;

    /// Deletes every waiting and parked message of `queue` (not the delivered ones) and returns their number.
    fn purge<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64>>;

    /// Deletes the queue with its waiting messages and its bindings. A missing queue is not an error.
    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<()>>;

    /// How many consumers of this node name live, in this process and in others. A worker that finds more than its own warns
    /// of a second worker with its name; those of a worker that was killed do not count.
    fn consumers_named<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<u64>>;
}
