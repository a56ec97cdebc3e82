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
    /// Counts up with each delivery of the message, so that the late ack of an earlier delivery is noticed (a fencing
    /// token).
    pub fence: u64,
}

impl Receipt {
    /// The delivery of the message with this tag that has this fence.
    pub fn new(tag: Tag, fence: u64) -> Self {
        Self { tag, fence }
    }
}

/// A driver's name for a message in flight.
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

/// The error of an operation that found `lost` among the `all` receipts of its batch: deliveries that were settled
/// before, or given to another consumer. `what` is the operation as a verb. [`lost_receipts`] reads the receipts back.
pub fn lease_lost(what: &str, lost: &[Receipt], all: usize) -> Error {
    let text = format!("{what} {} of {all} deliveries, already settled or given to another consumer", lost.len());
    Error::new(ErrorKind::LeaseLost, text).with_source(LostReceipts(lost.to_vec()))
}

/// The receipts in an error made by [`lease_lost`]; none for any other error.
pub fn lost_receipts(error: &Error) -> &[Receipt] {
    let source = std::error::Error::source(error);
    source.and_then(|source| source.downcast_ref::<LostReceipts>()).map_or(&[], |lost| &lost.0)
}

/// The cause of a [`lease_lost`] error.
#[derive(Debug)]
struct LostReceipts(Vec<Receipt>);

impl fmt::Display for LostReceipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, receipt) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(f, "{gap}{receipt}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LostReceipts {}

/// What becomes of a rejected delivery.
#[derive(Debug, Clone)]
pub enum Disposition {
    /// Back to its queue, to be delivered again, as redelivered.
    Requeue,
    /// Back to its queue, not to be delivered before this instant, and not as redelivered: for an eta that a worker
    /// found.
    Delay(Timestamp),
    /// Dropped (Celery: reject without requeue).
    Discard,
    /// Into the dead set, with the reason.
    Dead(DeadReason),
}

/// Settles the deliveries of one consumer. Cheap to share. It outlives its consumer, but when the consumer closes or
/// dies, all its receipts are lost.
///
/// # Errors
/// Each method fails with [`LeaseLost`](crate::error::ErrorKind::LeaseLost) for receipts that were settled before or
/// whose lease was lost, and names them (see [`lease_lost`]). It settles the other receipts of the batch all the same.
pub trait Acker: Send + Sync + 'static {
    /// Acknowledges deliveries: their messages are done with and deleted.
    fn ack(&self, receipts: Vec<Receipt>) -> BoxFuture<'_, Result<()>>;

    /// Rejects deliveries, each with what becomes of it.
    fn reject(&self, receipts: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>>;

    /// Marks runs as started. If this process dies before such a delivery is settled, its message counts one crash. A
    /// worker calls it before runs that are acked late, for several at once; it should be cheap.
    ///
    /// Does nothing by default: a broker with
    /// [`counts_crashes`](crate::broker::broker::BrokerCapabilities::counts_crashes) has it, and nobody else is asked.
    fn mark_started<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
        let _ = receipts;
        Box::pin(async { Ok(()) })
    }

    /// Marks one run as started and takes back the marks of all other deliveries of this consumer: if this process dies
    /// now, that message alone counts one crash. For a run that is suspected of killing its worker, and begins beside
    /// others.
    fn mark_suspect<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<()>> {
        self.mark_started(std::slice::from_ref(receipt))
    }

    /// Takes back the marks of deliveries whose runs do not begin after all. Returns at once; the broker learns it soon
    /// after. Whoever got a delivery that came [marked](crate::broker::consumer::Delivery::started) and does not begin
    /// its run at once calls this, before it rejects the delivery or marks it later. Does nothing by default.
    fn unmark_started(&self, receipts: &[Receipt]) {
        let _ = receipts;
    }

    /// Settlement in one atomic step, if broker and result backend can be one store.
    fn atomic(&self) -> Option<&dyn AtomicSettle>;
}

/// Stores results, publishes follow-ups and settles deliveries in one atomic step.
pub trait AtomicSettle: Send + Sync {
    /// Whether the result backend at `backend` is the store of this broker.
    fn shares_store_with(&self, backend: &Address) -> bool;

    /// Carries out the whole batch or nothing. Two things do not stop the batch: a record that the overwrite rule
    /// refuses is left out, and a lost receipt drops all of its own settlement, with record, messages and follow-ups.
    ///
    /// The settlement of the last part of a chord also does what its [`ChordContinuation`] makes, which may contain
    /// further parts, and ends the chord. If that cannot be done, the chord is failed. If this process dies meanwhile,
    /// nothing is done except that parts may be counted: the delivery comes again, finds its part counted, and the
    /// claim on the body is free.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::error::ErrorKind::LeaseLost) for lost receipts, after the others were settled.
    ///
    /// [`ChordContinuation`]: crate::broker::follow_ups::ChordContinuation
    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Result<()>>;
}

/// The end of one run.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Settlement {
    /// The result to store. In a box, since a settlement is moved often and most of its size is this.
    pub record: Option<Box<ResultRecord>>,
    /// Messages to publish: the message of a retry. Those of a workflow are in `follow_ups`.
    pub publish: Vec<Outgoing>,
    /// The delivery and how it ends; `None` when it was acked before the run.
    pub delivery: Option<(Receipt, Acknowledgement)>,
    /// What it does to the workflow around the run, if anything. Its messages are published after `publish`.
    pub follow_ups: Option<Box<FollowUps>>,
}

impl Settlement {
    /// With this result to store.
    #[must_use]
    pub fn storing(mut self, record: Option<ResultRecord>) -> Self {
        self.record = record.map(Box::new);
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
    /// It is acked.
    Ack,
    /// It is rejected.
    Reject(Disposition),
}
