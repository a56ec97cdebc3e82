//! Settling: acknowledgements, results and follow-ups become the operations of one script, which is one atomic step.

use std::collections::HashSet;
use std::sync::Arc;

use apium_transport::broker::settlement::{Receipt, lease_lost};
use apium_transport::error::Result;
use redis::{Cmd, Value};

use crate::consumer::claim::NextLimits;
use crate::consumer::data_loss::move_if_data_lost;
use crate::consumer::in_flight::InFlight;
use crate::consumer::state::ConsumerState;
use crate::crash_points::reached;
use crate::errors::unexpected_reply;
use crate::scripts::operation::{Operation, write};
use crate::scripts::script::{SETTLE, SETTLE_CHORDS};
use crate::settle::follow_ups::LastPart;
use crate::settle::next_claim::{NextClaim, limits};
use crate::settle::prepared::{PreparedSettlement, acknowledge};
use crate::settle::recount::{Recounts, recounted};
use crate::shared::BrokerShared;

/// How many settlements one call of the script handles at most. A worker settles so many at once, so that its batch is
/// one step.
const MAX_SETTLEMENTS: usize = 1024;

/// Deliveries of this consumer: number, tag in the server, and what is known of it.
type OwnDeliveries = Vec<(u64, String, InFlight)>;

/// What the calls of the script have left to do, and what they have done.
#[derive(Debug)]
struct SettleProgress<'a> {
    /// Receipts of deliveries that are not this consumer's any more.
    lost: Vec<Receipt>,
    /// Settlements without a delivery that the script skipped, because a part of them may be the last one of its chord.
    may_complete: Vec<PreparedSettlement>,
    recounts: Recounts<'a>,
    /// Settlements with a part that was the last one of its chord: they are settled again, with the chord's
    /// continuation.
    completing: Vec<(PreparedSettlement, LastPart)>,
    /// Settlements whose deliveries the server has lost with its data, and which were put back: they are settled again.
    again: Vec<PreparedSettlement>,
    /// What was settled, in case that a later call fails.
    done: Vec<OwnDeliveries>,
    /// What an earlier attempt settled before it failed.
    settled_before: Vec<u64>,
}

/// Settles in order. Settlements of lost receipts are skipped, and the error names the receipts.
pub(crate) async fn settle(
    shared: &Arc<BrokerShared>,
    state: &ConsumerState,
    what: &'static str,
    settlements: Vec<PreparedSettlement>,
) -> Result<()> {
    let all = settlements.len();
    let (lost, may_complete, completing, again, done, settled_before) = Default::default();
    let recounts = Recounts::new(state);
    let mut progress = SettleProgress { lost, may_complete, recounts, completing, again, done, settled_before };
    if let Err(error) = settle_all(shared, state, what, settlements, &mut progress).await {
        // The caller will try all of it again, and must not be told then that the settled part is lost.
        let is_lost = |number: &u64| progress.lost.iter().any(|receipt| receipt.fence == *number);
        let done = progress.done.iter().flatten().map(|(number, ..)| *number);
        state.remember_settled(done.filter(|number| !is_lost(number) && !progress.recounts.contains(*number)));
        return Err(error);
    }
    // A lost recount message is in flight at another consumer, which goes on with it.
    progress.lost.retain(|receipt| !progress.recounts.contains(receipt.fence));
    progress.recounts.clear();
    state.forget_settled(&progress.settled_before);
    match progress.lost.is_empty() {
        true => Ok(()),
        false => Err(lease_lost(what, &progress.lost, all)),
    }
}

async fn settle_all(
    shared: &Arc<BrokerShared>,
    state: &ConsumerState,
    what: &'static str,
    settlements: Vec<PreparedSettlement>,
    progress: &mut SettleProgress<'_>,
) -> Result<()> {
    settle_batches(shared, state, what, settlements, progress).await?;
    if !progress.may_complete.is_empty() {
        let may_complete = std::mem::take(&mut progress.may_complete);
        let settlements = progress.recounts.make_all(shared, may_complete).await?;
        settle_batches(shared, state, what, settlements, progress).await?;
    }
    let mut failure = None;
    while !progress.completing.is_empty() {
        reached("part-counted");
        let mut settlements = Vec::with_capacity(progress.completing.len());
        for (mut settlement, last) in std::mem::take(&mut progress.completing) {
            let completed = match &mut settlement.follow_ups {
                Some(follow_ups) => follow_ups.complete(shared, last).await,
                None => Ok(()),
            };
            match completed {
                Ok(()) => settlements.push(settlement),
                // The failure of one chord does not hold up the others.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        reached("before-body");
        settle_batches(shared, state, what, settlements, progress).await?;
        reached("after-body");
    }
    failure.map_or(Ok(()), Err)
}

async fn settle_batches(
    shared: &BrokerShared,
    state: &ConsumerState,
    what: &'static str,
    settlements: Vec<PreparedSettlement>,
    progress: &mut SettleProgress<'_>,
) -> Result<()> {
    let mut settlements = settlements;
    while !settlements.is_empty() {
        let mut rest = settlements.into_iter().peekable();
        while rest.peek().is_some() {
            let batch: Vec<PreparedSettlement> = rest.by_ref().take(MAX_SETTLEMENTS).collect();
            let is_last = rest.peek().is_none();
            let done = settle_batch(shared, state, what, batch, progress, is_last).await?;
            let goes_on = !progress.completing.is_empty() || !progress.may_complete.is_empty();
            if !is_last || goes_on || !progress.again.is_empty() {
                progress.done.push(done);
            }
        }
        settlements = std::mem::take(&mut progress.again);
    }
    Ok(())
}

/// Where a part of a chord is: its settlement, the position of its delivery (0 is none), and its step in the
/// follow-ups.
#[derive(Debug)]
struct PartPosition {
    settlement: usize,
    delivery: usize,
    step: usize,
}

/// The operations of settlements, and the positions of the parts that they count. Settlements of lost receipts are
/// skipped.
fn operations<'a>(
    shared: &BrokerShared,
    settlements: &'a [PreparedSettlement],
    owned: &'a [(u64, String, InFlight)],
) -> Result<(Vec<Operation<'a>>, Vec<PartPosition>)> {
    let mut owned = owned.iter().peekable();
    let (mut operations, mut parts) = (Vec::new(), Vec::new());
    let mut position = 0;
    for (number, settlement) in settlements.iter().enumerate() {
        let start = operations.len();
        operations.push(Operation::ForDelivery(0));
        let mut delivery = None;
        if let Some((receipt, how)) = &settlement.delivery {
            // `settlements` and `owned` are in the same order: this delivery is the next owned one, or it is lost.
            let is_this = |(number, _, in_flight): &&(u64, String, InFlight)| {
                ConsumerState::receipt(*number, in_flight) == *receipt
            };
            let Some((_, _, in_flight)) = owned.next_if(is_this) else {
                operations.truncate(start);
                continue;
            };
            position += 1;
            operations[start] = Operation::ForDelivery(position);
            delivery = Some((in_flight, how));
        }
        let Some(follow_ups) = &settlement.follow_ups else {
            if let Some((in_flight, how)) = delivery {
                acknowledge(shared, in_flight, how, &mut operations)?;
            }
            operations.extend(settlement.record.as_ref().map(Operation::Record));
            operations.extend(settlement.targets.iter().map(Operation::Publish));
            if operations.len() == start + 1 {
                // A plain ack needs no operation: the script removes every tag that it is given.
                operations.truncate(start);
            }
            continue;
        };
        if settlement.delivery.is_none() && settlement.recounts.is_none() {
            let keys: Vec<&str> = follow_ups.chord_keys().collect();
            if !keys.is_empty() {
                operations.push(Operation::SkipIfLast { number, ordered: shared.chord_ordered(), keys });
            }
        }
        operations.extend(settlement.record.as_ref().map(Operation::Record));
        let of_delivery = delivery.map_or(0, |_| position);
        let count = |step| {
            parts.push(PartPosition { settlement: number, delivery: of_delivery, step });
            parts.len() - 1
        };
        let recounts = settlement.recounts.as_deref().unwrap_or_default();
        follow_ups.append(&settlement.targets, recounts, count, &mut operations);
        // The acknowledgement comes after the parts. If one of them is the last one of its chord, the script skips the
        // acknowledgement, and the delivery stays in flight.
        if let Some((in_flight, how)) = delivery {
            acknowledge(shared, in_flight, how, &mut operations)?;
        }
    }
    Ok((operations, parts))
}

/// Deliveries whose settlement is being sent, until it is dropped: with the reply, after an error, or because the
/// caller has given up.
struct Settling<'a> {
    state: &'a ConsumerState,
    numbers: Vec<u64>,
    /// Whether the server said what became of it. Otherwise it may have been done.
    answered: bool,
}

impl<'a> Settling<'a> {
    /// With `next` it also reserves a claim for what comes next.
    fn start(
        shared: &BrokerShared,
        state: &'a ConsumerState,
        numbers: Vec<u64>,
        next: Option<(NextLimits<'_>, u64)>,
    ) -> (Self, Option<NextClaim<'a>>) {
        let reserved = state.start_settling(&numbers, next);
        (
            Self { state, numbers, answered: false },
            reserved.map(|reserved| NextClaim::new(&shared.keys, state, reserved)),
        )
    }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.state.mark_unanswered(self.numbers.iter().copied());
        }
        self.state.end_settling(&self.numbers);
    }
}

async fn settle_batch(
    shared: &BrokerShared,
    state: &ConsumerState,
    what: &'static str,
    settlements: Vec<PreparedSettlement>,
    progress: &mut SettleProgress<'_>,
    is_last: bool,
) -> Result<OwnDeliveries> {
    let id = state.id();
    let deliveries = settlements.iter().filter_map(|settlement| settlement.delivery.as_ref());
    let mut found = state.look_up(deliveries.map(|(receipt, _)| receipt.clone()));
    progress.lost.append(&mut found.lost);
    progress.settled_before.append(&mut found.settled_before);
    let (operations, parts) = operations(shared, &settlements, &found.owned)?;
    if operations.is_empty() && found.owned.is_empty() {
        return Ok(Vec::new());
    }
    let numbers = || found.owned.iter().map(|(number, ..)| *number);
    let limits = if is_last { limits(shared, state, &operations) } else { None };
    let (mut settling, next) = Settling::start(shared, state, numbers().collect(), limits);
    reached("before-settle");
    let mut follow_ups = settlements.iter().filter_map(|settlement| settlement.follow_ups.as_ref());
    let script = if follow_ups.clone().next().is_none() { &SETTLE } else { &SETTLE_CHORDS };
    let fill = |command: &mut Cmd| {
        let tags = (found.owned.iter().map(|(_, tag, _)| tag.as_str()), found.owned.len());
        let now = shared.connection.server_now();
        write(&shared.keys, now, command, tags, &operations);
        next.iter().for_each(|next| next.append(now, command));
    };
    let reply = shared.connection.script(what, script, fill).await;
    reached("after-settle");
    let reply = match reply {
        Ok(Value::Array(reply)) => reply,
        Ok(_) => return Err(unexpected_reply(what)),
        Err(error) => {
            settling.answered = !error.is_connection();
            if let Some(next) = next.filter(|_| settling.answered) {
                next.refused();
            }
            return Err(error);
        }
    };
    if follow_ups.any(|follow_ups| follow_ups.opens_chord()) {
        reached("chord-opened");
    }
    let SettleReply { missing, may_complete, last, claimed } = SettleReply::read(what, reply, &parts)?;
    settling.answered = true;
    let stay: Vec<u64> = last
        .iter()
        .filter_map(|(part, _)| found.owned.get(part.delivery.wrapping_sub(1)))
        .map(|(number, ..)| *number)
        .collect();
    let missing: Vec<&(u64, String, InFlight)> =
        missing.into_iter().filter_map(|position| found.owned.get(position.checked_sub(1)?)).collect();
    let is_missing = |number: &u64| missing.iter().any(|(missing, ..)| missing == number);
    state.remove(numbers().filter(|number| !stay.contains(number) && !is_missing(number)));
    drop(settling);
    if let Some(next) = next {
        next.answered(shared, claimed).await;
    }
    let mut moved = HashSet::new();
    if !missing.is_empty() {
        if let Err(error) = move_if_data_lost(shared, state, &id).await {
            let done = found.owned.iter().filter(|(number, ..)| !stay.contains(number) && !is_missing(number));
            progress.done.push(done.cloned().collect());
            return Err(error);
        }
        moved = state.moved_from(&id, missing.iter().map(|(number, ..)| *number));
    }
    for (number, _, in_flight) in missing.into_iter().filter(|(number, ..)| !moved.contains(number)) {
        state.remove([*number]);
        // If an earlier call got no answer, it was that call that settled this one.
        if !in_flight.unanswered {
            progress.lost.push(ConsumerState::receipt(*number, in_flight));
        }
    }
    drop(operations);
    if !last.is_empty() || !may_complete.is_empty() || !moved.is_empty() {
        // The reply is in the order of the settlements: one entry for each at most, or one for each part with recount
        // messages.
        let (mut may_complete, mut last) = (may_complete.into_iter().peekable(), last.into_iter().peekable());
        for (number, mut settlement) in settlements.into_iter().enumerate() {
            if settlement.delivery.as_ref().is_some_and(|(receipt, _)| moved.contains(&receipt.fence)) {
                progress.again.push(settlement);
            } else if may_complete.next_if_eq(&number).is_some() {
                progress.may_complete.push(settlement);
            } else if settlement.recounts.as_ref().is_some_and(|recounts| !recounts.is_empty()) {
                let own = std::iter::from_fn(|| last.next_if(|(part, _)| part.settlement == number));
                let own = own.map(|(_, last)| last).collect();
                progress.completing.extend(recounted(shared, state, settlement, own).await?);
            } else if let Some((_, last)) = last.next_if(|(part, _)| part.settlement == number) {
                // The script wrote the result before it counted the part.
                settlement.record = None;
                progress.completing.push((settlement, last));
            }
        }
        found.owned.retain(|(number, ..)| !stay.contains(number) && !moved.contains(number));
    }
    Ok(found.owned)
}

/// What the script answers.
struct SettleReply<'a> {
    /// The positions of deliveries that were not in flight any more.
    missing: Vec<usize>,
    /// The numbers of settlements that were skipped because they may complete a chord.
    may_complete: Vec<usize>,
    /// Parts that were the last ones of their chords.
    last: Vec<(&'a PartPosition, LastPart)>,
    /// What was claimed, if a claim went with it and was done.
    claimed: Option<Vec<Value>>,
}

impl<'a> SettleReply<'a> {
    fn read(what: &str, reply: Vec<Value>, parts: &'a [PartPosition]) -> Result<Self> {
        let mut read = Self { missing: Vec::new(), may_complete: Vec::new(), last: Vec::new(), claimed: None };
        for entry in reply {
            match entry {
                Value::Array(entry) if matches!(entry.first(), Some(Value::BulkString(_))) => {
                    read.claimed = Some(entry);
                }
                Value::Array(mut entry) if entry.len() == 1 => {
                    read.may_complete.push(number_in(what, entry.swap_remove(0))?);
                }
                Value::Array(entry) => read.last.push(last_part(what, entry, parts)?),
                position => read.missing.push(number_in(what, position)?),
            }
        }
        Ok(read)
    }
}

fn number_in(what: &str, value: Value) -> Result<usize> {
    redis::from_redis_value(value).map_err(|_| unexpected_reply(what))
}

/// A part that was the last one: its number, the structure of the header, and all parts that were counted.
fn last_part<'a>(what: &str, entry: Vec<Value>, parts: &'a [PartPosition]) -> Result<(&'a PartPosition, LastPart)> {
    let [number, structure, Value::Array(counted)] =
        <[Value; 3]>::try_from(entry).map_err(|_| unexpected_reply(what))?
    else {
        return Err(unexpected_reply(what));
    };
    let number = number_in(what, number)?;
    let part = parts.get(number).ok_or_else(|| unexpected_reply(what))?;
    Ok((part, LastPart { step: part.step, structure, parts: counted }))
}
