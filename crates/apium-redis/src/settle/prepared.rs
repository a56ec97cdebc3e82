//! A settlement that is ready to be written: its results are encoded, the targets of its messages are known, and each
//! acknowledgement becomes operations of the script.

use std::sync::Arc;

use apium_protocol::message::envelope::{mark_redelivered, unmark_redelivered};
use apium_transport::broker::dead_set::DeadReason;
use apium_transport::broker::settlement::{Acknowledgement, Disposition, Receipt, Settlement};
use apium_transport::error::Result;
use redis::Cmd;

use crate::consumer::in_flight::{InFlight, server_tag};
use crate::dead_letter::StoredDeadLetter;
use crate::keys::score::due_score;
use crate::scripts::operation::{MAX_DELIVERIES, Operation, PublishTarget, write};
use crate::scripts::result_args::RecordArgs;
use crate::scripts::script::SETTLE;
use crate::settle::follow_ups::{PreparedFollowUps, RecountMessage};
use crate::shared::BrokerShared;

/// A settlement that is ready to be written.
#[derive(Debug, Default)]
pub(crate) struct PreparedSettlement {
    pub(crate) record: Option<RecordArgs>,
    pub(crate) targets: Vec<PublishTarget>,
    pub(crate) delivery: Option<(Receipt, Acknowledgement)>,
    /// Few have any, so they are boxed.
    pub(crate) follow_ups: Option<Box<PreparedFollowUps>>,
    /// The messages that recount its parts, in their order, where there is no delivery. They are made after the script
    /// skipped the settlement because a part of it may be the last one of its chord. Empty if the parts have no such
    /// message.
    pub(crate) recounts: Option<Vec<RecountMessage>>,
}

impl PreparedSettlement {
    /// An acknowledgement without a result and follow-ups.
    pub(crate) fn of_delivery(receipt: Receipt, how: Acknowledgement) -> Self {
        Self { delivery: Some((receipt, how)), ..Self::default() }
    }
}

/// Prepares settlements. The queues of their messages are bound at once.
pub(crate) async fn prepare(shared: &Arc<BrokerShared>, batch: Vec<Settlement>) -> Result<Vec<PreparedSettlement>> {
    let mut prepared = Vec::with_capacity(batch.len());
    for settlement in batch {
        let Settlement { record, publish, delivery, follow_ups, .. } = settlement;
        let record = match record {
            Some(record) => Some(RecordArgs::new(&shared.needed_result_keys()?, *record)),
            None => None,
        };
        let targets = match publish.is_empty() {
            true => Vec::new(),
            false => shared.bound_targets(publish).await?,
        };
        let follow_ups = match follow_ups.filter(|follow_ups| !follow_ups.is_empty()) {
            Some(follow_ups) => Some(Box::new(PreparedFollowUps::prepare(shared, *follow_ups).await?)),
            None => None,
        };
        prepared.push(PreparedSettlement { record, targets, delivery, follow_ups, recounts: None });
    }
    Ok(prepared)
}

/// Adds the operations of an acknowledgement.
pub(crate) fn acknowledge<'a>(
    shared: &BrokerShared,
    in_flight: &'a InFlight,
    how: &Acknowledgement,
    operations: &mut Vec<Operation<'a>>,
) -> Result<()> {
    let list = in_flight.queue_list.key.as_str();
    // Only a message that was delivered before can have crashes.
    let forget = in_flight.redelivered.then_some(Operation::ForgetCrashes(&in_flight.tag));
    match how {
        Acknowledgement::Ack | Acknowledgement::Reject(Disposition::Discard) => operations.extend(forget),
        Acknowledgement::Reject(Disposition::Requeue) => {
            let requeued = requeued_envelope(in_flight);
            // A run that started and asks for another one goes behind the others, as in Celery. What never ran goes
            // back to the front, where it was.
            operations.push(match in_flight.started {
                true => Operation::PushBack(list, requeued),
                false => Operation::PushFront(list, requeued),
            });
        }
        Acknowledgement::Reject(Disposition::Delay(due)) => {
            operations.push(Operation::Delay(list, due_score(*due), in_flight.raw.to_vec()));
        }
        Acknowledgement::Reject(Disposition::Dead(reason)) => {
            operations.push(Operation::AddDeadLetter(dead_letter_text(shared, in_flight, reason)?));
            operations.extend(forget);
        }
    }
    Ok(())
}

/// A delivery as a document of the dead set.
fn dead_letter_text(shared: &BrokerShared, in_flight: &InFlight, reason: &DeadReason) -> Result<String> {
    let raw = unmark_redelivered(&in_flight.raw).unwrap_or_else(|_| in_flight.raw.to_vec());
    let now = shared.connection.clock().now();
    StoredDeadLetter::new(&in_flight.queue_list, &in_flight.tag, &raw, reason, now).to_json()
}

/// The envelope of a delivery that goes back to its list.
fn requeued_envelope(in_flight: &InFlight) -> Vec<u8> {
    mark_redelivered(&in_flight.raw).unwrap_or_else(|_| in_flight.raw.to_vec())
}

/// Requeues deliveries of the consumer `id` at the front of their lists, in their order.
pub(crate) async fn requeue(shared: &BrokerShared, id: &str, mut deliveries: Vec<(u64, InFlight)>) -> Result<()> {
    // The one that came first is pushed last, and so ends in front.
    deliveries.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    for batch in deliveries.chunks(MAX_DELIVERIES) {
        let tags: Vec<String> = batch.iter().map(|(number, _)| server_tag(id, *number)).collect();
        let mut operations = Vec::with_capacity(batch.len() * 2);
        for (position, (_, in_flight)) in batch.iter().enumerate() {
            let push = Operation::PushFront(&in_flight.queue_list.key, requeued_envelope(in_flight));
            operations.extend([Operation::ForDelivery(position + 1), push]);
        }
        let fill = |command: &mut Cmd| {
            let tags = (tags.iter().map(String::as_str), tags.len());
            write(&shared.keys, shared.connection.server_now(), command, tags, &operations);
        };
        shared.connection.script("requeue deliveries", &SETTLE, fill).await?;
    }
    Ok(())
}
