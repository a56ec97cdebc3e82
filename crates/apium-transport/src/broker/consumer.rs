//! The consuming half of the broker seam: what to consume, and the deliveries that come. A delivery is data; only an
//! [`Acker`] settles it.

use std::sync::Arc;
use std::time::Duration;

use apium_protocol::message::message::Message;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::broker::demand::Demand;
use crate::broker::settlement::{Acker, Receipt};
use crate::error::Result;

/// What to consume, and as whom.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConsumeSpec {
    /// Names of queues.
    pub queues: Vec<String>,
    /// The node name of the worker, for lists of consumers and for the warning about a second worker with this name.
    pub node: String,
    /// How many deliveries this consumer may have in flight; 0 is unlimited (Celery: concurrency × multiplier).
    pub prefetch: usize,
    /// How long the deliveries of this consumer stay reserved for it after its last heartbeat (`worker_lease`).
    pub lease: Duration,
}

impl ConsumeSpec {
    /// These queues, for a worker of this node name: prefetch without limit, and a lease of 30 s.
    pub fn new(queues: Vec<String>, node: String) -> Self {
        Self { queues, node, prefetch: 0, lease: Duration::from_secs(30) }
    }
}

/// A message handed to a consumer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// Names the delivery when it is settled.
    pub receipt: Receipt,
    /// The queue it came from.
    pub queue: Arc<str>,
    /// The exchange it was published to.
    pub exchange: Arc<str>,
    /// The routing key it was published with.
    pub routing_key: Arc<str>,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// How many of its runs had [started](Acker::mark_started) when their worker died. A broker that does not count
    /// them says 0.
    pub crashes: u32,
    /// Whether it was marked as [started](Acker::mark_started) when it was claimed. Its run begins at once, or the mark
    /// is [taken back](Acker::unmark_started).
    pub started: bool,
    /// What was delivered.
    pub content: Content,
}

impl Delivery {
    /// A first delivery of something that was sent to this exchange with this routing key.
    pub fn new(receipt: Receipt, queue: Arc<str>, exchange: Arc<str>, routing_key: Arc<str>, content: Content) -> Self {
        Self { receipt, queue, exchange, routing_key, redelivered: false, crashes: 0, started: false, content }
    }
}

/// What a delivery contains.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the one that every delivery but the broken ones is"
)]
pub enum Content {
    /// A message with headers and properties that could be read. Its body is still encoded.
    Message(Message),
    /// Bytes that are not a message.
    Unreadable {
        /// The bytes as they were found.
        raw: Bytes,
        /// Why they cannot be read.
        reason: String,
    },
}

/// A source of deliveries. Not shared: one loop owns it. Dropping it is like the death of its process: its deliveries
/// come again when its lease is over.
pub trait Consumer: Send + 'static {
    /// Waits for at least one delivery and returns at most `max`. Cancel-safe: dropping the future loses no delivery.
    ///
    /// # Errors
    /// [`Closed`](crate::error::ErrorKind::Closed) when it can never be used again. After any other error it can: it
    /// still holds its deliveries in flight, and whatever it needs for the next call it makes again itself.
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>>>;

    /// The acker of this consumer's deliveries.
    fn acker(&self) -> Arc<dyn Acker>;

    /// Says whom to ask what is wanted, so that the driver can claim it beside something else: in the step that settles
    /// a delivery, it takes what a claim after that step would take. Does nothing by default.
    fn set_demand(&mut self, demand: Arc<dyn Demand>) {
        let _ = demand;
    }

    /// Changes how many deliveries this consumer may have in flight; 0 is unlimited.
    fn set_prefetch(&mut self, prefetch: usize) -> BoxFuture<'_, Result<()>>;

    /// Says that nobody will call [`next`](Self::next) for a while. Messages that the consumer fetched ahead, or for a
    /// call that was dropped, and has not handed out go back to their queues, and it fetches no more until the next
    /// call of `next`. Does nothing for a consumer that has no such messages.
    fn pause(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Consumes from one more queue.
    fn subscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Stops consuming from a queue. Deliveries from it can still be settled.
    fn unsubscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Stops consuming and returns every delivery in flight to the front of its queue.
    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>>;
}
