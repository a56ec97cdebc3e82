//! The consuming half of the broker seam: deliveries are data, only an [`Acker`] settles them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use apium_protocol::message::message::Message;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::address::Address;
use crate::backend::backend::ResultRecord;
use crate::broker::dead_set::DeadReason;
use crate::broker::follow_ups::FollowUps;
use crate::broker::outgoing::Outgoing;
use crate::error::{Error, ErrorKind, Result};

/// What to consume, and as whom.
#[derive(Debug, Clone)]
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

/// Names one delivery of one message to one consumer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The driver's tag for the message.
    pub tag: Tag,
    /// Counts up with each delivery of the same message, so that a late ack of an earlier one is noticed (fencing).
    pub fence: u64,
}

/// A driver's name for a message that is out for delivery.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Tag {
    /// A number (AMQP, SQLite, PostgreSQL, memory).
    Number(u64),
    /// A text (Redis).
    Text(Arc<str>),
}

impl fmt::Display for Receipt {
    /// `tag/fence`, for logs and errors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tag {
            Tag::Number(tag) => write!(f, "{tag}/{}", self.fence),
            Tag::Text(tag) => write!(f, "{tag}/{}", self.fence),
        }
    }
}

/// The error of an operation on deliveries that were settled before or given to another consumer: names each of `lost`,
/// out of `all` that the batch held. `what` is the verb. [`lost_receipts`] reads them back.
pub fn lease_lost(what: &str, lost: &[Receipt], all: usize) -> Error {
    let text = format!("{what} {} of {all} deliveries, already settled or given to another consumer", lost.len());
    Error::new(ErrorKind::LeaseLost, text).with_source(LostReceipts(lost.to_vec()))
}

/// The receipts that an error made by [`lease_lost`] names; none for any other error.
pub fn lost_receipts(error: &Error) -> &[Receipt] {
    let source = std::error::Error::source(error);
    source.and_then(|source| source.downcast_ref::<LostReceipts>()).map_or(&[], |lost| &lost.0)
}

/// Receipts whose lease was lost, as the cause of an error.
#[derive(Debug)]
struct LostReceipts(Vec<Receipt>);

impl fmt::Display for LostReceipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, receipt) in self.0.iter().enumerate() {
            let gap = if place == 0 { "" } else { " " };
            write!(f, "{gap}{receipt}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LostReceipts {}

/// A message handed to a consumer.
#[derive(Debug, Clone)]
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

/// What becomes of a rejected delivery.
#[derive(Debug, Clone)]
pub enum Disposition {
    /// Back to its queue, to be delivered again as redelivered.
    Requeue,
    /// Back to its queue, not before this instant; not counted as a redelivery (an eta found by a worker).
    Delay(Timestamp),
    /// Away (Celery: reject without requeue).
    Discard,
    /// Into the dead set, with the reason, to be looked at and replayed.
    Dead(DeadReason),
}

/// Settles deliveries. Cheap to share; lives on after its consumer, whose close or death makes every receipt a lost one.
/// Settling a receipt twice, or one whose lease was lost, is an error of kind
/// [`LeaseLost`](crate::error::ErrorKind::LeaseLost) that names it (see [`lease_lost`]); the other receipts of the batch are
/// settled all the same.
pub trait Acker: Send + Sync + 'static {
    /// The messages are done with.
    fn ack(&self, receipts: Vec<Receipt>) -> BoxFuture<'_, Result<()>>;

    /// The messages are not done, and what becomes of them.
    fn reject(&self, receipts: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>>;

    /// Notes that runs of these begin now. Should this process die before they are settled, each counts one crash (P4).
    /// Called in batches before a run with late ack; cheap.
    fn mark_started<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<()>>;

    /// Settlement in one atomic step, where broker and result backend are one store.
    fn atomic(&self) -> Option<&dyn AtomicSettle>;
}

/// Store results, publish follow-ups and settle deliveries in one atomic step.
pub trait AtomicSettle: Send + Sync {
    /// Whether the result backend at `backend` is the same store.
    fn shares_store_with(&self, backend: &Address) -> bool;

    /// All of it or nothing. A record that the overwrite rule refuses is left out silently; a lost receipt drops what belongs
    /// to it (its record and messages too) and is reported as
    /// [`LeaseLost`](crate::error::ErrorKind::LeaseLost) after the others were settled.
    ///
    /// A part that is the last of its chord takes with it what its [`ChordContinuation`](crate::broker::follow_ups::ChordContinuation) makes, which may hold further
    /// parts, and ends the chord. Where that goes nowhere the chord is failed. Should this process die on the way, nothing is done but that parts are counted: a delivery that
    /// is not acked comes again and finds its part counted and the claim free.
    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Result<()>>;
}

/// What belongs to the end of one run.
#[derive(Debug, Clone, Default)]
pub struct Settlement {
    /// The result to store, if any.
    pub record: Option<ResultRecord>,
    /// Follow-up messages to publish (a retry, links, the next step of a chain).
    pub publish: Vec<Outgoing>,
    /// The delivery and what becomes of it; `None` when it was acked before the run.
    pub delivery: Option<(Receipt, Acknowledgement)>,
    /// What it does to the workflow around it, which few have. Its messages come behind `publish`.
    pub follow_ups: Option<Box<FollowUps>>,
}

/// How a delivery ends.
#[derive(Debug, Clone)]
pub enum Acknowledgement {
    /// Done.
    Ack,
    /// Not done.
    Reject(Disposition),
}
