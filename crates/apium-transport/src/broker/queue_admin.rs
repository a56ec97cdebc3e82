//! Administration of queues: what every broker can do, and what only some can, each ability with a trait of its own.

use futures_util::future::BoxFuture;

use crate::broker::outgoing::Outgoing;
use crate::error::Result;

/// Administration of queues. A missing queue counts as an empty one.
///
/// What only some brokers can do is an optional ability: [`messages`](Self::messages), [`counts`](Self::counts) and
/// [`consumers`](Self::consumers).
pub trait QueueAdmin: Send + Sync {
    /// How many messages of `queue` can be delivered now (AMQP: `message-count`).
    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64>>;

    /// Deletes the messages of `queue` that can be delivered and those that are [delayed](Self::purges_delayed), not
    /// those in flight; returns how many there were.
    fn purge<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64>>;

    /// Whether [`purge`](Self::purge) deletes what is delayed too. On RabbitMQ such messages wait in queues that all
    /// share.
    fn purges_delayed(&self) -> bool {
        true
    }

    /// Deletes `queue` with its messages and its bindings.
    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Reading of messages that stay in their queue, if the broker can do that.
    fn messages(&self) -> Option<&dyn QueuePeek>;

    /// The list of queues with all their counts, if the broker has it.
    fn counts(&self) -> Option<&dyn QueueCounts>;

    /// The number of consumers by node name, if the broker knows node names.
    fn consumers(&self) -> Option<&dyn ConsumerCounts>;
}

/// Reads messages and leaves them where they are.
pub trait QueuePeek: Send + Sync {
    /// Up to `limit` messages of `queue` that can be delivered now, in the order of delivery.
    fn peek<'a>(&'a self, queue: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Outgoing>>>;

    /// Up to `limit` messages of `queue` that wait for their eta, the soonest first, each with its eta. None where the
    /// broker delays no messages.
    fn peek_delayed<'a>(&'a self, queue: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Outgoing>>>;
}

/// Lists queues and counts what they hold.
pub trait QueueCounts: Send + Sync {
    /// All queues with their counts, sorted by name.
    fn stats(&self) -> BoxFuture<'_, Result<Vec<QueueStats>>>;

    /// Whether every worker is among the consumers that are counted. Those of Celery are not: who shares a broker with
    /// them cannot tell that nobody runs a task.
    fn sees_every_worker(&self) -> bool;
}

/// How many messages and consumers a queue has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueueStats {
    /// The queue's name.
    pub queue: String,
    /// Messages that can be delivered now, as [`QueueAdmin::depth`] counts them.
    pub ready: u64,
    /// Messages in flight: delivered and not settled.
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

/// Counts consumers by the node name that they gave.
pub trait ConsumerCounts: Send + Sync {
    /// How many live consumers, of all processes, have the node name `node`. Those of a worker that was killed do not
    /// count. A worker that finds more than its own warns that another one has its name.
    fn consumers_named<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<u64>>;
}
