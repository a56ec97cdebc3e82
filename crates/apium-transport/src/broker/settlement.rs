//! How deliveries end: the [`Acker`] that settles them, what becomes of a rejected one, and the settlement of one run.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::address::Address;
use crate::backend::backend::ResultRecord;
use crate::broker::dead_set::DeadReason;
use crate::broker::follow_ups::FollowUps;
use crate::broker::outgoing::Outgoing;
use crate::error::{Error, ErrorKind, Result};

/// Names one delivery of one message to one consumer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Receipt {
    /// The driver's tag for the message.
    pub tag: Tag,
    /// Counts up with each delivery of the same message, so that a late ack of an earlier one is noticed (fencing).
    pub fence: u64,
}

impl Receipt {
    /// The delivery of the message with this tag that has this fence.
    pub fn new(tag: Tag, fence: u64) -> Self {
        Self { tag, fence }
    }
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
#[non_exhaustive]
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

impl Settlement {
    /// With this result to store.
    #[must_use]
    pub fn storing(mut self, record: Option<ResultRecord>) -> Self {
        self.record = record;
        self
    }

    /// With these messages to publish.
    #[must_use]
    pub fn publishing(mut self, messages: Vec<Outgoing>) -> Self {
        self.publish = messages;
        self
    }

    /// With this delivery, and what becomes of it.
    #[must_use]
    pub fn ending(mut self, delivery: Option<(Receipt, Acknowledgement)>) -> Self {
        self.delivery = delivery;
        self
    }

    /// With this for the workflow around it.
    #[must_use]
    pub fn following_up(mut self, follow_ups: Option<Box<FollowUps>>) -> Self {
        self.follow_ups = follow_ups;
        self
    }
}

/// How a delivery ends.
#[derive(Debug, Clone)]
pub enum Acknowledgement {
    /// Done.
    Ack,
    /// Not done.
    Reject(Disposition),
}
