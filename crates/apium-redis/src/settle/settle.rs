//! The end of deliveries: acks, rejections, results and follow-ups become the operations of one script, which is one atomic step.

use std::sync::Arc;

use apium_protocol::message::envelope::{mark_redelivered, unmark_redelivered};
use apium_transport::broker::dead_set::DeadReason;
use apium_transport::broker::settlement::{Acknowledgement, Disposition, Receipt, Settlement, lease_lost};
use apium_transport::error::Result;
use redis::{Cmd, Value};

use crate::consumer::state::{Held, Seat, server_tag};
use crate::crash_points::reached;
use crate::dead_letter::Letter;
use crate::errors::odd_answer;
use crate::keys::score::due_score;
use crate::scripts::operation::{Operation, write};
use crate::scripts::result_args::RecordArgs;
use crate::scripts::route::Route;
use crate::scripts::script::{SETTLE, SETTLE_CHORDS};
use crate::settle::follow_ups::{Following, Last};
use crate::settle::recount::{Outbox, noted};
use crate::settle::recount_message::Note;
use crate::shared::Core;

/// At most so many deliveries in one call of the script.
pub(crate) const MOST: usize = 500;

/// What belongs to one end, ready to be written: its records and routes are made.
#[derive(Debug, Default)]
pub(crate) struct End {
    pub(crate) record: Option<RecordArgs>,
    pub(crate) routes: Vec<Route>,
    pub(crate) delivery: Option<(Receipt, Acknowledgement)>,
    /// What it does to the workflow around it, which few have.
    pub(crate) following: Option<Box<Following>>,
    /// Of an end without a delivery: the messages that count its parts once more, in their order. They are made when it was left out
    /// because a part may be the last one of its chord; then there are none where the parts have no such message.
    pub(crate) notes: Option<Vec<Note>>,
}

/// Deliveries of this consumer: number, tag in the server, what is held.
type Ours = Vec<(u64, String, Held)>;

/// What calls of the script have left.
#[derive(Debug)]
struct Left<'a> {
    lost: Vec<Receipt>,
    /// Ends without a delivery, left out because a part of theirs may be the last one.
    nearly: Vec<End>,
    outbox: Outbox<'a>,
    /// Ends with a part that was the last of its chord: they are to be settled again, with what follows of it.
    last: Vec<(End, Last)>,
    /// What was settled, should anything behind it fail; and what had been settled before a failure.
    done: Vec<Ours>,
    before: Vec<u64>,
}

/// Settles ends in order; those of lost receipts are left out and named in the error.
pub(crate) async fn settle(core: &Arc<Core>, seat: &Seat, what: &'static str, ends: Vec<End>) -> Result<()> {
    let all = ends.len();
    let (lost, nearly, last, done, before) = Default::default();
    let mut left = Left { lost, nearly, outbox: Outbox::new(seat), last, done, before };
    if let Err(error) = settle_all(core, seat, what, ends, &mut left).await {
        // All of it is tried again, and what is done is not taken for lost then.
        let is_lost = |number: &u64| left.lost.iter().any(|receipt| receipt.fence == *number);
        let done = left.done.iter().flatten().map(|(number, ..)| *number);
        seat.keep_settled(done.filter(|number| !is_lost(number) && !left.outbox.has(*number)));
        return Err(error);
    }
    // Whoever has a note that was lost goes on with it.
    left.lost.retain(|receipt| !left.outbox.has(receipt.fence));
    left.outbox.done();
    seat.forget_settled(&left.before);
    match left.lost.is_empty() {
        true => Ok(()),
        false => Err(lease_lost(what, &left.lost, all)),
    }
}

async fn settle_all(
    core: &Arc<Core>,
    seat: &Seat,
    what: &'static str,
    ends: Vec<End>,
    left: &mut Left<'_>,
) -> Result<()> {
    settle_parts(core, seat, what, ends, left).await?;
    if !left.nearly.is_empty() {
        let nearly = std::mem::take(&mut left.nearly);
        let ends = left.outbox.note(core, nearly).await?;
        settle_parts(core, seat, what, ends, left).await?;
    }
    let mut failure = None;
    while !left.last.is_empty() {
        reached("part-counted");
        let mut ends = Vec::with_capacity(left.last.len());
        for (mut end, last) in std::mem::take(&mut left.last) {
            let completed = match &mut end.following {
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
        settle_parts(core, seat, what, ends, left).await?;
        reached("after-body");
    }
    failure.map_or(Ok(()), Err)
}

async fn settle_parts(core: &Core, seat: &Seat, what: &'static str, ends: Vec<End>, left: &mut Left<'_>) -> Result<()> {
    let mut ends = ends.into_iter().peekable();
    while ends.peek().is_some() {
        let part: Vec<End> = ends.by_ref().take(MOST).collect();
        let done = settle_part(core, seat, what, part, left).await?;
        if ends.peek().is_some() || !left.last.is_empty() || !left.nearly.is_empty() {
            left.done.push(done);
        }
    }
    Ok(())
}

/// Where a part of a chord stands: the end, its place among the deliveries, its place in what follows.
#[derive(Debug)]
struct PartPlace {
    end: usize,
    delivery: usize,
    step: usize,
}

/// The operations of ends, and where the parts are that they count. Those whose receipts are not ours are left out.
fn operations_of<'a>(
    core: &Core,
    ends: &'a [End],
    ours: &'a [(u64, String, Held)],
) -> Result<(Vec<Operation<'a>>, Vec<PartPlace>)> {
    let mut ours = ours.iter().peekable();
    let (mut operations, mut parts) = (Vec::new(), Vec::new());
    let mut place = 0;
    for (number, end) in ends.iter().enumerate() {
        let began = operations.len();
        operations.push(Operation::Of(0));
        let mut delivery = None;
        if let Some((receipt, how)) = &end.delivery {
            // They are in the order of the ends, so the next of ours is this one, or this one is lost.
            let Some((_, _, held)) = ours.next_if(|(number, _, held)| Seat::receipt(*number, held) == *receipt) else {
                operations.truncate(began);
                continue;
            };
            place += 1;
            operations[began] = Operation::Of(place);
            delivery = Some((held, how));
        }
        let Some(following) = &end.following else {
            if let Some((held, how)) = delivery {
                of_delivery(core, held, how, &mut operations)?;
            }
            operations.extend(end.record.as_ref().map(Operation::Record));
            operations.extend(end.routes.iter().map(Operation::Route));
            if operations.len() == began + 1 {
                // A plain ack: that its tag is named is all.
                operations.truncate(began);
            }
            continue;
        };
        if end.delivery.is_none() && end.notes.is_none() {
            let keys: Vec<&str> = following.keys().collect();
            if !keys.is_empty() {
                operations.push(Operation::Nearly(number, core.chord_ordered(), keys));
            }
        }
        operations.extend(end.record.as_ref().map(Operation::Record));
        let of = delivery.map_or(0, |_| place);
        let count = |step| {
            parts.push(PartPlace { end: number, delivery: of, step });
            parts.len() - 1
        };
        let notes = end.notes.as_deref().unwrap_or_default();
        following.append(&end.routes, notes, count, &mut operations);
        // Where a part is the last one, nothing becomes of the delivery yet.
        if let Some((held, how)) = delivery {
            of_delivery(core, held, how, &mut operations)?;
        }
    }
    Ok((operations, parts))
}

async fn settle_part(
    core: &Core,
    seat: &Seat,
    what: &'static str,
    ends: Vec<End>,
    left: &mut Left<'_>,
) -> Result<Ours> {
    let mut sorted = seat.sort(ends.iter().filter_map(|end| end.delivery.as_ref().map(|(receipt, _)| receipt.clone())));
    left.lost.append(&mut sorted.lost);
    left.before.append(&mut sorted.before);
    let (operations, parts) = operations_of(core, &ends, &sorted.ours)?;
    if operations.is_empty() && sorted.ours.is_empty() {
        return Ok(Vec::new());
    }
    let numbers = || sorted.ours.iter().map(|(number, ..)| *number);
    seat.settling(numbers(), true);
    reached("before-settle");
    let script = if ends.iter().all(|end| end.following.is_none()) { &SETTLE } else { &SETTLE_CHORDS };
    let answer = core
        .link
        .script(what, script, |command| {
            let tags = sorted.ours.iter().map(|(_, tag, _)| tag.as_str());
            write(core, command, tags, sorted.ours.len(), &operations);
        })
        .await;
    reached("after-settle");
    let told = match answer {
        Ok(Value::Array(told)) => told,
        Ok(_) => Vec::new(),
        Err(error) => {
            seat.settling(numbers(), false);
            if error.is_connection() {
                seat.doubt(numbers());
            }
            return Err(error);
        }
    };
    if ends.iter().any(|end| end.following.as_ref().is_some_and(|following| following.opens())) {
        reached("chord-opened");
    }
    let (mut missing, mut nearly, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for one in told {
        match one {
            Value::Array(told) if told.len() == 1 => {
                nearly.extend(told.into_iter().flat_map(redis::from_redis_value::<usize>));
            }
            Value::Array(told) => last.push(last_of(what, told, &parts)?),
            place => missing.extend(redis::from_redis_value::<usize>(place)),
        }
    }
    let stay: Vec<u64> = last
        .iter()
        .filter_map(|(place, _)| sorted.ours.get(place.delivery.wrapping_sub(1)))
        .map(|(number, ..)| *number)
        .collect();
    seat.settled(numbers().filter(|number| !stay.contains(number)));
    seat.settling(stay.iter().copied(), false);
    for place in missing {
        if let Some((number, _, held)) = place.checked_sub(1).and_then(|place: usize| sorted.ours.get(place)) {
            // One that was sent before, without an answer, was done then.
            if !held.doubtful {
                left.lost.push(Seat::receipt(*number, held));
            }
        }
    }
    drop(operations);
    if !last.is_empty() || !nearly.is_empty() {
        // They are told in the order of the ends, at most one for each; with notes one for each part.
        let (mut nearly, mut last) = (nearly.into_iter().peekable(), last.into_iter().peekable());
        for (number, mut end) in ends.into_iter().enumerate() {
            if nearly.next_if_eq(&number).is_some() {
                left.nearly.push(end);
            } else if end.notes.as_ref().is_some_and(|notes| !notes.is_empty()) {
                let of_end = std::iter::from_fn(|| last.next_if(|(place, _)| place.end == number));
                let of_end = of_end.map(|(_, last)| last).collect();
                left.last.extend(noted(core, seat, end, of_end).await?);
            } else if let Some((_, last)) = last.next_if(|(place, _)| place.end == number) {
                // It was written before the part was counted.
                end.record = None;
                left.last.push((end, last));
            }
        }
        sorted.ours.retain(|(number, ..)| !stay.contains(number));
    }
    Ok(sorted.ours)
}

/// What the script tells of a part that was the last one.
fn last_of<'a>(what: &str, told: Vec<Value>, parts: &'a [PartPlace]) -> Result<(&'a PartPlace, Last)> {
    let [number, structure, Value::Array(counted)] = <[Value; 3]>::try_from(told).map_err(|_| odd_answer(what))? else {
        return Err(odd_answer(what));
    };
    let number = redis::from_redis_value::<usize>(number).map_err(|_| odd_answer(what))?;
    let place = parts.get(number).ok_or_else(|| odd_answer(what))?;
    Ok((place, Last { step: place.step, structure, parts: counted }))
}

fn of_delivery<'a>(
    core: &Core,
    held: &'a Held,
    how: &Acknowledgement,
    operations: &mut Vec<Operation<'a>>,
) -> Result<()> {
    let list = held.source.list.as_str();
    let forget = held.redelivered.then_some(Operation::ForgetCrashes(&held.tag));
    match how {
        Acknowledgement::Ack | Acknowledgement::Reject(Disposition::Discard) => operations.extend(forget),
        Acknowledgement::Reject(Disposition::Requeue) => {
            let again = mark_redelivered(&held.raw).unwrap_or_else(|_| held.raw.to_vec());
            // A run that was begun and asks for another goes behind the others, as in Celery; what never ran goes back to its
            // place in front.
            operations.push(match held.begun {
                true => Operation::Last(list, again),
                false => Operation::Front(list, again),
            });
        }
        Acknowledgement::Reject(Disposition::Delay(due)) => {
            operations.push(Operation::Park(list, due_score(*due), held.raw.to_vec()));
        }
        Acknowledgement::Reject(Disposition::Dead(reason)) => {
            operations.push(Operation::Dead(buried(core, held, reason)?));
            operations.extend(forget);
        }
    }
    Ok(())
}

/// The document of a delivery in the dead set.
pub(crate) fn buried(core: &Core, held: &Held, reason: &DeadReason) -> Result<String> {
    let raw = unmark_redelivered(&held.raw).unwrap_or_else(|_| held.raw.to_vec());
    Letter::new(&held.source, &held.tag, &raw, reason, core.link.clock().now()).to_json()
}

/// Gives deliveries of the consumer `id` back to the front of their lists, in their order.
pub(crate) async fn give_back(core: &Core, id: &str, mut held: Vec<(u64, Held)>) -> Result<()> {
    // The one that came first is pushed last, and lies in front then.
    held.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    for part in held.chunks(MOST) {
        let tags: Vec<String> = part.iter().map(|(number, _)| server_tag(id, *number)).collect();
        let mut operations = Vec::with_capacity(part.len() * 2);
        for (place, (_, held)) in part.iter().enumerate() {
            let again = mark_redelivered(&held.raw).unwrap_or_else(|_| held.raw.to_vec());
            operations.extend([Operation::Of(place + 1), Operation::Front(&held.source.list, again)]);
        }
        let fill = |command: &mut Cmd| write(core, command, tags.iter().map(String::as_str), tags.len(), &operations);
        core.link.script("give back deliveries", &SETTLE, fill).await?;
    }
    Ok(())
}

/// Makes the ends of settlements.
pub(crate) async fn prepare(core: &Arc<Core>, batch: Vec<Settlement>) -> Result<Vec<End>> {
    let mut ends = Vec::with_capacity(batch.len());
    for settlement in batch {
        let Settlement { record, publish, delivery, follow_ups: sequel } = settlement;
        let record = match record {
            Some(record) => Some(RecordArgs::new(&core.needed_result_keys()?, record)),
            None => None,
        };
        let routes = match publish.is_empty() {
            true => Vec::new(),
            false => core.route(publish).await?,
        };
        let following = match sequel.filter(|sequel| !sequel.is_empty()) {
            Some(sequel) => Some(Box::new(Following::of(core, *sequel).await?)),
            None => None,
        };
        ends.push(End { record, routes, delivery, following, notes: None });
    }
    Ok(ends)
}
