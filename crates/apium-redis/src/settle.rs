//! The end of deliveries: acks, rejections, results and follow-ups become the operations of one script, which is one atomic step.

use std::sync::Arc;

use apium_protocol::envelope::{mark_redelivered, unmark_redelivered};
use apium_transport::consumer::{Disposition, Receipt, Settle, Settlement, lease_lost};
use apium_transport::dead::DeadReason;
use apium_transport::error::{Error, ErrorKind, Result};
use redis::{Cmd, Value};

use crate::core::Core;
use crate::crash::reached;
use crate::letter::Letter;
use crate::operation::{Operation, write};
use crate::record::RecordArgs;
use crate::route::Route;
use crate::score::due_score;
use crate::script::SETTLE;
use crate::seat::{Held, Seat, server_tag};

/// At most so many deliveries in one call of the script.
pub(crate) const MOST: usize = 500;

/// What belongs to one end, ready to be written: its records and routes are made.
#[derive(Debug, Default)]
pub(crate) struct End {
    pub(crate) record: Option<RecordArgs>,
    pub(crate) routes: Vec<Route>,
    pub(crate) delivery: Option<(Receipt, Settle)>,
}

/// Settles ends in order; those of lost receipts are left out and named in the error.
pub(crate) async fn settle(core: &Core, seat: &Seat, what: &'static str, ends: Vec<End>) -> Result<()> {
    let all = ends.len();
    let mut lost = Vec::new();
    let mut ends = ends.into_iter().peekable();
    while ends.peek().is_some() {
        let part: Vec<End> = ends.by_ref().take(MOST).collect();
        lost.extend(settle_part(core, seat, what, part).await?);
    }
    match lost.is_empty() {
        true => Ok(()),
        false => Err(lease_lost(what, &lost, all)),
    }
}

async fn settle_part(core: &Core, seat: &Seat, what: &'static str, ends: Vec<End>) -> Result<Vec<Receipt>> {
    let sorted = seat.sort(ends.iter().filter_map(|end| end.delivery.as_ref().map(|(receipt, _)| receipt.clone())));
    let mut lost = sorted.lost;
    let mut ours = sorted.ours.iter().peekable();
    let mut operations = Vec::new();
    let mut place = 0;
    for end in &ends {
        let began = operations.len();
        operations.push(Operation::Of(0));
        if let Some((receipt, how)) = &end.delivery {
            // They are in the order of the ends, so the next of ours is this one, or this one is lost.
            let Some((_, _, held)) = ours.next_if(|(number, _, held)| Seat::receipt(*number, held) == *receipt) else {
                operations.truncate(began);
                continue;
            };
            place += 1;
            operations[began] = Operation::Of(place);
            of_delivery(core, held, how, &mut operations)?;
        }
        operations.extend(end.record.as_ref().map(Operation::Record));
        operations.extend(end.routes.iter().map(Operation::Route));
        if operations.len() == began + 1 {
            // A plain ack: that its tag is named is all.
            operations.truncate(began);
        }
    }
    if operations.is_empty() && sorted.ours.is_empty() {
        return Ok(lost);
    }
    let numbers = || sorted.ours.iter().map(|(number, ..)| *number);
    seat.settling(numbers(), true);
    reached("before-settle");
    let answer = core
        .link
        .script(what, &SETTLE, |command| {
            let tags = sorted.ours.iter().map(|(_, tag, _)| tag.as_str());
            write(core, command, tags, sorted.ours.len(), &operations);
        })
        .await;
    reached("after-settle");
    let missing: Vec<usize> = match answer {
        Ok(Value::Array(missing)) => missing.iter().filter_map(|n| redis::from_redis_value_ref(n).ok()).collect(),
        Ok(_) => Vec::new(),
        Err(error) => {
            seat.settling(numbers(), false);
            if error.is_connection() {
                seat.doubt(numbers());
            }
            return Err(error);
        }
    };
    seat.settled(numbers());
    for place in missing {
        if let Some((number, _, held)) = place.checked_sub(1).and_then(|place| sorted.ours.get(place)) {
            // One that was sent before, without an answer, was done then.
            if !held.doubtful {
                lost.push(Seat::receipt(*number, held));
            }
        }
    }
    Ok(lost)
}

fn of_delivery<'a>(core: &Core, held: &'a Held, how: &Settle, operations: &mut Vec<Operation<'a>>) -> Result<()> {
    let list = held.source.list.as_str();
    let forget = held.redelivered.then_some(Operation::ForgetCrashes(&held.tag));
    match how {
        Settle::Ack | Settle::Reject(Disposition::Discard) => operations.extend(forget),
        Settle::Reject(Disposition::Requeue) => {
            let again = mark_redelivered(&held.raw).unwrap_or_else(|_| held.raw.to_vec());
            // A run that was begun and asks for another goes behind the others, as in Celery; what never ran goes back to its
            // place in front.
            operations.push(match held.begun {
                true => Operation::Last(list, again),
                false => Operation::Front(list, again),
            });
        }
        Settle::Reject(Disposition::Park(due)) => {
            operations.push(Operation::Park(list, due_score(*due), held.raw.to_vec()));
        }
        Settle::Reject(Disposition::Dead(reason)) => {
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
        let Settlement { record, publish, delivery } = settlement;
        let record = match record {
            Some(record) => {
                let keys = core.result_keys().ok_or_else(|| {
                    Error::new(ErrorKind::Other, "settle: no result backend shares this broker's store")
                })?;
                Some(RecordArgs::new(&keys, record))
            }
            None => None,
        };
        let routes = match publish.is_empty() {
            true => Vec::new(),
            false => core.route(publish).await?,
        };
        ends.push(End { record, routes, delivery });
    }
    Ok(ends)
}
