//! The end of deliveries: acks, rejections, results and follow-ups become the operations of one script, which is one atomic step.

use std::sync::Arc;

use apium_protocol::message::envelope::{mark_redelivered, unmark_redelivered};
use apium_transport::broker::dead_set::DeadReason;
use apium_transport::broker::settlement::{Acknowledgement, Disposition, Receipt, Settlement, lease_lost};
use apium_transport::error::Result;
use redis::{Cmd, Value};

use crate::consumer::state::{ConsumerState, InFlight, server_tag};
use crate::crash_points::reached;
use crate::dead_letter::StoredDeadLetter;
use crate::errors::unexpected_reply;
use crate::keys::score::due_score;
use crate::scripts::operation::{Operation, write};
use crate::scripts::result_args::RecordArgs;
use crate::scripts::route::PublishTarget;
use crate::scripts::script::{SETTLE, SETTLE_CHORDS};
use crate::settle::follow_ups::{LastPart, PreparedFollowUps};
use crate::settle::recount::{Recounts, recounted};
use crate::settle::recount_message::RecountMessage;
use crate::shared::BrokerShared;

/// At most so many deliveries in one call of the script.
pub(crate) const MAX_DELIVERIES: usize = 500;

/// What belongs to one end, ready to be written: its records and routes are made.
#[derive(Debug, Default)]
pub(crate) struct PreparedSettlement {
    pub(crate) record: Option<RecordArgs>,
    pub(crate) targets: Vec<PublishTarget>,
    pub(crate) delivery: Option<(Receipt, Acknowledgement)>,
    /// What it does to the workflow around it, which few have.
    pub(crate) follow_ups: Option<Box<PreparedFollowUps>>,
    /// Of an end without a delivery: the messages that count its parts once more, in their order. They are made when it was left out
    /// because a part may be the last one of its chord; then there are none where the parts have no such message.
    pub(crate) recounts: Option<Vec<RecountMessage>>,
}

/// Deliveries of this consumer: number, tag in the server, what is held.
type OwnDeliveries = Vec<(u64, String, InFlight)>;

/// What calls of the script have left.
#[derive(Debug)]
struct SettleProgress<'a> {
    lost: Vec<Receipt>,
    /// Ends without a delivery, left out because a part of theirs may be the last one.
    may_complete: Vec<PreparedSettlement>,
    recounts: Recounts<'a>,
    /// Ends with a part that was the last of its chord: they are to be settled again, with what follows of it.
    completing: Vec<(PreparedSettlement, LastPart)>,
    /// What was settled, should anything behind it fail; and what had been settled before a failure.
    done: Vec<OwnDeliveries>,
    settled_before: Vec<u64>,
}

/// Settles ends in order; those of lost receipts are left out and named in the error.
pub(crate) async fn settle(
    core: &Arc<BrokerShared>,
    seat: &ConsumerState,
    what: &'static str,
    ends: Vec<PreparedSettlement>,
) -> Result<()> {
    let all = ends.len();
    let (lost, nearly, last, done, before) = Default::default();
    let mut left = SettleProgress {
        lost,
        may_complete: nearly,
        recounts: Recounts::new(seat),
        completing: last,
        done,
        settled_before: before,
    };
    if let Err(error) = settle_all(core, seat, what, ends, &mut left).await {
        // All of it is tried again, and what is done is not taken for lost then.
        let is_lost = |number: &u64| left.lost.iter().any(|receipt| receipt.fence == *number);
        let done = left.done.iter().flatten().map(|(number, ..)| *number);
        seat.remember_settled(done.filter(|number| !is_lost(number) && !left.recounts.contains(*number)));
        return Err(error);
    }
    // Whoever has a note that was lost goes on with it.
    left.lost.retain(|receipt| !left.recounts.contains(receipt.fence));
    left.recounts.clear();
    seat.forget_settled(&left.settled_before);
    match left.lost.is_empty() {
        true => Ok(()),
        false => Err(lease_lost(what, &left.lost, all)),
    }
}

async fn settle_all(
    core: &Arc<BrokerShared>,
    seat: &ConsumerState,
    what: &'static str,
    ends: Vec<PreparedSettlement>,
    left: &mut SettleProgress<'_>,
) -> Result<()> {
    settle_batches(core, seat, what, ends, left).await?;
    if !left.may_complete.is_empty() {
        let nearly = std::mem::take(&mut left.may_complete);
        let ends = left.recounts.make_all(core, nearly).await?;
        settle_batches(core, seat, what, ends, left).await?;
    }
    let mut failure = None;
    while !left.completing.is_empty() {
        reached("part-counted");
        let mut ends = Vec::with_capacity(left.completing.len());
        for (mut end, last) in std::mem::take(&mut left.completing) {
            let completed = match &mut end.follow_ups {
                Some(following) => following.complete(core, last).await,
                None => Ok(()),
            };
            match completed {
                Ok(()) => ends.push(end),
                // The others do not wait for it.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        reached("before-body");
        settle_batches(core, seat, what, ends, left).await?;
        reached("after-body");
    }
    failure.map_or(Ok(()), Err)
}

async fn settle_batches(
    core: &BrokerShared,
    seat: &ConsumerState,
    what: &'static str,
    ends: Vec<PreparedSettlement>,
    left: &mut SettleProgress<'_>,
) -> Result<()> {
    let mut ends = ends.into_iter().peekable();
    while ends.peek().is_some() {
        let part: Vec<PreparedSettlement> = ends.by_ref().take(MAX_DELIVERIES).collect();
        let done = settle_batch(core, seat, what, part, left).await?;
        if ends.peek().is_some() || !left.completing.is_empty() || !left.may_complete.is_empty() {
            left.done.push(done);
        }
    }
    Ok(())
}

/// Where a part of a chord stands: the end, its place among the deliveries, its place in what follows.
#[derive(Debug)]
struct PartPosition {
    settlement: usize,
    delivery: usize,
    step: usize,
}

/// The operations of ends, and where the parts are that they count. Those whose receipts are not ours are left out.
fn operations<'a>(
    core: &BrokerShared,
    ends: &'a [PreparedSettlement],
    ours: &'a [(u64, String, InFlight)],
) -> Result<(Vec<Operation<'a>>, Vec<PartPosition>)> {
    let mut ours = ours.iter().peekable();
    let (mut operations, mut parts) = (Vec::new(), Vec::new());
    let mut place = 0;
    for (number, end) in ends.iter().enumerate() {
        let began = operations.len();
        operations.push(Operation::ForDelivery(0));
        let mut delivery = None;
        if let Some((receipt, how)) = &end.delivery {
            // They are in the order of the ends, so the next of ours is this one, or this one is lost.
            let Some((_, _, held)) =
                ours.next_if(|(number, _, held)| ConsumerState::receipt(*number, held) == *receipt)
            else {
                operations.truncate(began);
                continue;
            };
            place += 1;
            operations[began] = Operation::ForDelivery(place);
            delivery = Some((held, how));
        }
        let Some(following) = &end.follow_ups else {
            if let Some((held, how)) = delivery {
                acknowledge(core, held, how, &mut operations)?;
            }
            operations.extend(end.record.as_ref().map(Operation::Record));
            operations.extend(end.targets.iter().map(Operation::Publish));
            if operations.len() == began + 1 {
                // A plain ack: that its tag is named is all.
                operations.truncate(began);
            }
            continue;
        };
        if end.delivery.is_none() && end.recounts.is_none() {
            let keys: Vec<&str> = following.chord_keys().collect();
            if !keys.is_empty() {
                operations.push(Operation::SkipIfLast(number, core.chord_ordered(), keys));
            }
        }
        operations.extend(end.record.as_ref().map(Operation::Record));
        let of = delivery.map_or(0, |_| place);
        let count = |step| {
            parts.push(PartPosition { settlement: number, delivery: of, step });
            parts.len() - 1
        };
        let notes = end.recounts.as_deref().unwrap_or_default();
        following.append(&end.targets, notes, count, &mut operations);
        // Where a part is the last one, nothing becomes of the delivery yet.
        if let Some((held, how)) = delivery {
            acknowledge(core, held, how, &mut operations)?;
        }
    }
    Ok((operations, parts))
}

async fn settle_batch(
    core: &BrokerShared,
    seat: &ConsumerState,
    what: &'static str,
    ends: Vec<PreparedSettlement>,
    left: &mut SettleProgress<'_>,
) -> Result<OwnDeliveries> {
    let mut sorted =
        seat.look_up(ends.iter().filter_map(|end| end.delivery.as_ref().map(|(receipt, _)| receipt.clone())));
    left.lost.append(&mut sorted.lost);
    left.settled_before.append(&mut sorted.settled_before);
    let (operations, parts) = operations(core, &ends, &sorted.owned)?;
    if operations.is_empty() && sorted.owned.is_empty() {
        return Ok(Vec::new());
    }
    let numbers = || sorted.owned.iter().map(|(number, ..)| *number);
    seat.set_settling(numbers(), true);
    reached("before-settle");
    let script = if ends.iter().all(|end| end.follow_ups.is_none()) { &SETTLE } else { &SETTLE_CHORDS };
    let answer = core
        .connection
        .script(what, script, |command| {
            let tags = sorted.owned.iter().map(|(_, tag, _)| tag.as_str());
            write(core, command, tags, sorted.owned.len(), &operations);
        })
        .await;
    reached("after-settle");
    let told = match answer {
        Ok(Value::Array(told)) => told,
        Ok(_) => Vec::new(),
        Err(error) => {
            seat.set_settling(numbers(), false);
            if error.is_connection() {
                seat.mark_unanswered(numbers());
            }
            return Err(error);
        }
    };
    if ends.iter().any(|end| end.follow_ups.as_ref().is_some_and(|following| following.opens_chord())) {
        reached("chord-opened");
    }
    let (mut missing, mut nearly, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for one in told {
        match one {
            Value::Array(told) if told.len() == 1 => {
                nearly.extend(told.into_iter().flat_map(redis::from_redis_value::<usize>));
            }
            Value::Array(told) => last.push(last_part(what, told, &parts)?),
            place => missing.extend(redis::from_redis_value::<usize>(place)),
        }
    }
    let stay: Vec<u64> = last
        .iter()
        .filter_map(|(place, _)| sorted.owned.get(place.delivery.wrapping_sub(1)))
        .map(|(number, ..)| *number)
        .collect();
    seat.remove(numbers().filter(|number| !stay.contains(number)));
    seat.set_settling(stay.iter().copied(), false);
    for place in missing {
        if let Some((number, _, held)) = place.checked_sub(1).and_then(|place: usize| sorted.owned.get(place)) {
            // One that was sent before, without an answer, was done then.
            if !held.unanswered {
                left.lost.push(ConsumerState::receipt(*number, held));
            }
        }
    }
    drop(operations);
    if !last.is_empty() || !nearly.is_empty() {
        // They are told in the order of the ends, at most one for each; with notes one for each part.
        let (mut nearly, mut last) = (nearly.into_iter().peekable(), last.into_iter().peekable());
        for (number, mut end) in ends.into_iter().enumerate() {
            if nearly.next_if_eq(&number).is_some() {
                left.may_complete.push(end);
            } else if end.recounts.as_ref().is_some_and(|notes| !notes.is_empty()) {
                let of_end = std::iter::from_fn(|| last.next_if(|(place, _)| place.settlement == number));
                let of_end = of_end.map(|(_, last)| last).collect();
                left.completing.extend(recounted(core, seat, end, of_end).await?);
            } else if let Some((_, last)) = last.next_if(|(place, _)| place.settlement == number) {
                // It was written before the part was counted.
                end.record = None;
                left.completing.push((end, last));
            }
        }
        sorted.owned.retain(|(number, ..)| !stay.contains(number));
    }
    Ok(sorted.owned)
}

/// What the script tells of a part that was the last one.
fn last_part<'a>(what: &str, told: Vec<Value>, parts: &'a [PartPosition]) -> Result<(&'a PartPosition, LastPart)> {
    let [number, structure, Value::Array(counted)] =
        <[Value; 3]>::try_from(told).map_err(|_| unexpected_reply(what))?
    else {
        return Err(unexpected_reply(what));
    };
    let number = redis::from_redis_value::<usize>(number).map_err(|_| unexpected_reply(what))?;
    let place = parts.get(number).ok_or_else(|| unexpected_reply(what))?;
    Ok((place, LastPart { step: place.step, structure, parts: counted }))
}

fn acknowledge<'a>(
    core: &BrokerShared,
    held: &'a InFlight,
    how: &Acknowledgement,
    operations: &mut Vec<Operation<'a>>,
) -> Result<()> {
    let list = held.queue_list.key.as_str();
    let forget = held.redelivered.then_some(Operation::ForgetCrashes(&held.tag));
    match how {
        Acknowledgement::Ack | Acknowledgement::Reject(Disposition::Discard) => operations.extend(forget),
        Acknowledgement::Reject(Disposition::Requeue) => {
            let again = mark_redelivered(&held.raw).unwrap_or_else(|_| held.raw.to_vec());
            // A run that was begun and asks for another goes behind the others, as in Celery; what never ran goes back to its
            // place in front.
            operations.push(match held.started {
                true => Operation::PushBack(list, again),
                false => Operation::PushFront(list, again),
            });
        }
        Acknowledgement::Reject(Disposition::Delay(due)) => {
            operations.push(Operation::Delay(list, due_score(*due), held.raw.to_vec()));
        }
        Acknowledgement::Reject(Disposition::Dead(reason)) => {
            operations.push(Operation::AddDeadLetter(dead_letter_text(core, held, reason)?));
            operations.extend(forget);
        }
    }
    Ok(())
}

/// The document of a delivery in the dead set.
pub(crate) fn dead_letter_text(core: &BrokerShared, held: &InFlight, reason: &DeadReason) -> Result<String> {
    let raw = unmark_redelivered(&held.raw).unwrap_or_else(|_| held.raw.to_vec());
    StoredDeadLetter::new(&held.queue_list, &held.tag, &raw, reason, core.connection.clock().now()).to_json()
}

/// Gives deliveries of the consumer `id` back to the front of their lists, in their order.
pub(crate) async fn requeue(core: &BrokerShared, id: &str, mut held: Vec<(u64, InFlight)>) -> Result<()> {
    // The one that came first is pushed last, and lies in front then.
    held.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    for part in held.chunks(MAX_DELIVERIES) {
        let tags: Vec<String> = part.iter().map(|(number, _)| server_tag(id, *number)).collect();
        let mut operations = Vec::with_capacity(part.len() * 2);
        for (place, (_, held)) in part.iter().enumerate() {
            let again = mark_redelivered(&held.raw).unwrap_or_else(|_| held.raw.to_vec());
            operations.extend([Operation::ForDelivery(place + 1), Operation::PushFront(&held.queue_list.key, again)]);
        }
        let fill = |command: &mut Cmd| write(core, command, tags.iter().map(String::as_str), tags.len(), &operations);
        core.connection.script("give back deliveries", &SETTLE, fill).await?;
    }
    Ok(())
}

/// Makes the ends of settlements.
pub(crate) async fn prepare(core: &Arc<BrokerShared>, batch: Vec<Settlement>) -> Result<Vec<PreparedSettlement>> {
    let mut ends = Vec::with_capacity(batch.len());
    for settlement in batch {
        let Settlement { record, publish, delivery, follow_ups: sequel, .. } = settlement;
        let record = match record {
            Some(record) => Some(RecordArgs::new(&core.needed_result_keys()?, record)),
            None => None,
        };
        let routes = match publish.is_empty() {
            true => Vec::new(),
            false => core.bound_targets(publish).await?,
        };
        let following = match sequel.filter(|sequel| !sequel.is_empty()) {
            Some(sequel) => Some(Box::new(PreparedFollowUps::prepare(core, *sequel).await?)),
            None => None,
        };
        ends.push(PreparedSettlement { record, targets: routes, delivery, follow_ups: following, recounts: None });
    }
    Ok(ends)
}
