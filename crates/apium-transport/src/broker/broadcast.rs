//! Broadcasts: messages for everybody who listens now, and for nobody later. Remote control and events travel so.
//!
//! A listener has a mailbox: a queue of its own on an exchange, which goes with its owner (AMQP: exclusive,
//! auto-delete, `x-expires`). A fanout or topic exchange brings a message to every mailbox whose binding matches; a
//! direct exchange to the one that a reply is for.

use std::sync::Arc;
use std::time::Duration;

use apium_protocol::message::message::Message;
use futures_util::future::BoxFuture;

use crate::broker::outgoing::Outgoing;
use crate::broker::topology::ExchangeType;
use crate::error::Result;

/// The exchange of a broadcast.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BroadcastExchange {
    /// Its name, such as `celery.pidbox`.
    pub name: Arc<str>,
    /// How it routes: to all, by a pattern, or to the mailbox that is bound by the same key. Mailboxes are not bound by
    /// headers.
    pub kind: ExchangeType,
    /// Whether it survives a restart of the broker (AMQP).
    pub durable: bool,
}

impl BroadcastExchange {
    /// An exchange that does not survive a restart of its broker.
    pub fn new(name: impl Into<Arc<str>>, kind: ExchangeType) -> Self {
        Self { name: name.into(), kind, durable: false }
    }

    /// One that survives a restart.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }
}

/// A mailbox to be opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MailboxSpec {
    /// The exchange that it listens to.
    pub exchange: BroadcastExchange,
    /// The name of its queue, unique among all listeners (Celery: `<node>.celery.pidbox`, `celeryev.<uuid>`).
    pub queue: Arc<str>,
    /// The routing key, for a topic exchange a pattern (`worker.#`). A fanout exchange does not look at it.
    pub binding: Arc<str>,
    /// How long a message waits for its listener before it is dropped.
    pub message_ttl: Duration,
    /// How long the queue outlives its owner.
    pub expires: Duration,
    /// How many messages may wait in the process of the listener. When there are more, the oldest go and the listener
    /// is [told](Received::missed).
    pub capacity: usize,
}

impl MailboxSpec {
    /// A mailbox that keeps 10,000 messages at most, each for 300 s, and goes 10 s after its owner (Celery:
    /// `control_queue_ttl`, `control_queue_expires`).
    pub fn new(exchange: BroadcastExchange, queue: impl Into<Arc<str>>, binding: impl Into<Arc<str>>) -> Self {
        Self {
            exchange,
            queue: queue.into(),
            binding: binding.into(),
            message_ttl: Duration::from_secs(300),
            expires: Duration::from_secs(10),
            capacity: 10_000,
        }
    }
}

/// A message that came into a mailbox.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Broadcasted {
    /// The routing key it was sent with.
    pub routing_key: Arc<str>,
    /// The message. Its body is still encoded.
    pub message: Message,
}

impl Broadcasted {
    /// A message with the routing key it was sent with.
    pub fn new(routing_key: Arc<str>, message: Message) -> Self {
        Self { routing_key, message }
    }
}

/// What a mailbox gives at once.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Received {
    /// The messages, in order.
    pub messages: Vec<Broadcasted>,
    /// Whether messages before these may be missing: the connection was gone for a while, or too many waited.
    pub missed: bool,
}

impl Received {
    /// These messages, and whether some before them may be missing.
    pub fn new(messages: Vec<Broadcasted>, missed: bool) -> Self {
        Self { messages, missed }
    }
}

/// A mailbox. Dropping it ends the listening.
pub trait Mailbox: Send + 'static {
    /// Waits for messages. Cancel-safe: dropping the future loses none. While the broker is away it waits; what was
    /// sent meanwhile may be [missed](Received::missed). What cannot be read as a message is logged and left out.
    ///
    /// # Errors
    /// [`Closed`](crate::error::ErrorKind::Closed) when it can never be used again.
    fn next(&mut self) -> BoxFuture<'_, Result<Received>>;
}

/// The ability of a broker to send to all who listen.
pub trait Broadcast: Send + Sync {
    /// Sends a batch on one exchange to everybody who listens now. The exchanges that the messages name are not looked
    /// at. That nobody listens is no error. Returns when the broker has them.
    fn send<'a>(&'a self, exchange: &'a BroadcastExchange, batch: Vec<Outgoing>) -> BoxFuture<'a, Result<()>>;

    /// As [`send`](Self::send), and says how many listeners the last message reached; `None` where the broker cannot
    /// tell. A worker whose heartbeats reach nobody sends few of them.
    fn send_counted<'a>(
        &'a self,
        exchange: &'a BroadcastExchange,
        batch: Vec<Outgoing>,
    ) -> BoxFuture<'a, Result<Option<usize>>> {
        Box::pin(async move { self.send(exchange, batch).await.map(|()| None) })
    }

    /// Opens a mailbox. What is sent after this has returned comes into it.
    fn listen(&self, spec: MailboxSpec) -> BoxFuture<'_, Result<Box<dyn Mailbox>>>;
}
