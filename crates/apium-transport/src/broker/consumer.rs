//! The consuming half of the broker seam: what is consumed, and the deliveries that come. A delivery is data; only an [`Acker`]
//! settles it.

use std::sync::Arc;
use std::time::Duration;

use apium_protocol::message::message::Message;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::broker::settlement::{Acker, Receipt};
use crate::error::Result;

/// What to consume, and as whom.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConsumeSpec {
    /// Queue names.
    pub queues: Vec<String>,
    /// The node name of the worker, for listings and for the warning about a second live worker of that name.
    pub node: String,
    /// How many unsettled deliveries this consumer may hold; 0 is unlimited (Celery: concurrency × multiplier).
    pub prefetch: usize,
    /// How long a delivery of a consumer that shows no life stays reserved for it (P3; default 30 s).
    pub lease: Duration,
    /// A delivery whose runs killed their worker this often goes to the dead set instead of being delivered again
    /// (P4, `worker_max_crashes`; 0 is never).
    pub max_crashes: u32,
}

impl ConsumeSpec {
    /// These queues, for a worker of this node name: prefetch without limit, a lease of 30 s, and no quarantine of messages that
    /// kill their worker.
    pub fn new(queues: Vec<String>, node: String) -> Self {
        Self { queues, node, prefetch: 0, lease: Duration::from_secs(30), max_crashes: 0 }
    }
}

/// A message handed to a consumer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// What to give back when it is settled.
    pub receipt: Receipt,
    /// The queue it came from.
    pub queue: Arc<str>,
    /// The exchange it was published to.
    pub exchange: Arc<str>,
    /// The routing key it was published with.
    pub routing_key: Arc<str>,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// What was delivered.
    pub content: Content,
}

impl Delivery {
    /// A first delivery of something that was sent to this exchange with this routing key.
    pub fn new(receipt: Receipt, queue: Arc<str>, exchange: Arc<str>, routing_key: Arc<str>, content: Content) -> Self {
        Self { receipt, queue, exchange, routing_key, redelivered: false, content }
    }
}

/// What a delivery holds.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the one that every delivery but the broken ones is"
)]
pub enum Content {
    /// A message whose headers and properties could be read. Its body is still encoded.
    Message(Message),
    /// Bytes that are no message.
    Unreadable {
        /// The bytes as found.
        raw: Bytes,
        /// Why they cannot be read.
        reason: String,
    },
}

/// A source of deliveries. Not shared: one loop owns it.
pub trait Consumer: Send + 'static {
    /// Waits for at least one delivery and returns at most `max`. Cancel-safe: a dropped call loses nothing.
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>>>;

    /// What settles the deliveries of this consumer.
    fn acker(&self) -> Arc<dyn Acker>;

    /// Changes how many unsettled deliveries this consumer may hold.
    fn set_prefetch(&mut self, prefetch: usize) -> BoxFuture<'_, Result<()>>;

    /// Nobody will call [`next`](Self::next) for a while: from now on nothing comes to this consumer, and what was on its way and
    /// was not handed out is others' again. The next call of `next` goes on. Nothing to do for a consumer that takes messages in
    /// `next` only.
    fn pause(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Consumes from one more queue.
    fn subscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Stops consuming from a queue. What was delivered stays to be settled.
    fn unsubscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Stops delivering and gives every unsettled delivery back to its queue, in front.
    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>>;
}
