//! Ends deliveries, inside a transaction: acks, or rejects with a disposition (requeue, delay, discard, dead-letter).
//! Writes what belongs to them in the same transaction.

use std::sync::Arc;

use apium_transport::broker::follow_ups::FollowUps;
use apium_transport::broker::settlement::{Acknowledgement, Disposition, Receipt, Tag};
use rusqlite::OptionalExtension;

use crate::backend::results::store;
use crate::crash_points::reached;
use crate::publish::dead_letter::dead_letter;
use crate::publish::message_row::{EncodedMessage, micros_up};
use crate::publish::publish;
use crate::publish::publish::{QueuePosition, Routes, delay, insert_ready};
use crate::settle::follow_ups::apply;
use crate::store::result_row::ResultRow;
use crate::store::transaction::{Tx, TxResult};

/// A settlement whose results and messages are encoded.
#[derive(Debug)]
pub(crate) struct EncodedSettlement {
    /// Its own record, then those of its follow-ups.
    pub(crate) records: Vec<Arc<ResultRow>>,
    /// Its own messages, then those of its follow-ups.
    pub(crate) publish: Vec<EncodedMessage>,
    pub(crate) delivery: Option<(Receipt, Acknowledgement)>,
    /// The chords to open and the parts to count.
    pub(crate) follow_ups: Option<Box<FollowUps>>,
}

/// The message id and fence of a receipt of this driver.
pub(crate) fn message_and_fence(receipt: &Receipt) -> Option<(i64, i64)> {
    match receipt.tag {
        Tag::Number(tag) => Some((tag.cast_signed(), receipt.fence.cast_signed())),
        Tag::Text(_) => None,
    }
}

/// Acks the receipts of `consumer`. Returns the indices of those that are no longer in flight there: they are lost.
pub(crate) fn ack<'r>(
    tx: &mut Tx<'_>,
    consumer: i64,
    receipts: impl Iterator<Item = &'r Receipt>,
) -> TxResult<Vec<usize>> {
    let mut lost = Vec::new();
    let mut delete_claimed =
        tx.conn.prepare_cached("DELETE FROM claimed WHERE message = ?1 AND consumer = ?2 AND fence = ?3")?;
    let mut delete_message = tx.conn.prepare_cached("DELETE FROM message WHERE id = ?1")?;
    for (index, receipt) in receipts.enumerate() {
        match message_and_fence(receipt) {
            Some((id, fence)) if delete_claimed.execute([id, consumer, fence])? == 1 => {
                delete_message.execute([id])?;
            }
            _ => lost.push(index),
        }
    }
    Ok(lost)
}

/// Ends one delivery. Returns whether it was in flight at `consumer`.
fn end_delivery(tx: &mut Tx<'_>, consumer: i64, receipt: &Receipt, how: &Acknowledgement) -> TxResult<bool> {
    let Acknowledgement::Reject(disposition) = how else {
        return Ok(ack(tx, consumer, std::iter::once(receipt))?.is_empty());
    };
    let Some((id, fence)) = message_and_fence(receipt) else { return Ok(false) };
    let position = tx
        .conn
        .prepare_cached(
            "DELETE FROM claimed WHERE message = ?1 AND consumer = ?2 AND fence = ?3 \
             RETURNING queue, rank, fence, crashes, redelivered",
        )?
        .query_row([id, consumer, fence], |row| {
            Ok(QueuePosition {
                queue: row.get(0)?,
                rank: row.get(1)?,
                message: id,
                fence: row.get(2)?,
                crashes: row.get(3)?,
                redelivered: row.get(4)?,
            })
        })
        .optional()?;
    let Some(position) = position else { return Ok(false) };
    match disposition {
        Disposition::Requeue => insert_ready(tx, QueuePosition { redelivered: true, ..position })?,
        Disposition::Delay(until) => match micros_up(*until) {
            until if until > tx.now => delay(tx, position, until)?,
            _ => insert_ready(tx, position)?,
        },
        Disposition::Discard => {
            tx.conn.prepare_cached("DELETE FROM message WHERE id = ?1")?.execute([id])?;
        }
        Disposition::Dead(reason) => dead_letter(tx, position, reason.code, &reason.text)?,
    }
    Ok(true)
}

/// Rejects the receipts of `consumer`. Returns the indices of the lost ones.
pub(crate) fn reject(tx: &mut Tx<'_>, consumer: i64, receipts: &[(Receipt, Acknowledgement)]) -> TxResult<Vec<usize>> {
    let mut lost = Vec::new();
    for (index, (receipt, how)) in receipts.iter().enumerate() {
        if !end_delivery(tx, consumer, receipt, how)? {
            lost.push(index);
        }
    }
    Ok(lost)
}

/// Ends the delivery of each settlement and writes its results, messages and follow-ups. A settlement whose receipt is
/// lost writes nothing. Returns the indices of those.
pub(crate) fn settle(tx: &mut Tx<'_>, consumer: i64, settlements: &[EncodedSettlement]) -> TxResult<Vec<usize>> {
    // The follow-ups of a chord are known only after its last part is counted. They may have no queue, which refuses
    // the whole batch after something was written.
    let mut follow_ups = settlements.iter().filter_map(|settlement| settlement.follow_ups.as_ref());
    match follow_ups.any(|follow_ups| !follow_ups.parts.is_empty()) {
        true => tx.all_or_nothing(|tx| settle_all(tx, consumer, settlements)),
        false => settle_all(tx, consumer, settlements),
    }
}

fn settle_all(tx: &mut Tx<'_>, consumer: i64, settlements: &[EncodedSettlement]) -> TxResult<Vec<usize>> {
    // Queues are found before anything is written, since a message that has no queue refuses the whole batch.
    let routes: Vec<Option<Routes>> = settlements
        .iter()
        .map(|settlement| match settlement.publish.is_empty() {
            true => Ok(None),
            false => publish::routes(tx, settlement.publish.iter()).map(Some),
        })
        .collect::<TxResult<_>>()?;
    let mut lost = Vec::new();
    for (index, (settlement, routes)) in settlements.iter().zip(&routes).enumerate() {
        if let Some((receipt, how)) = &settlement.delivery
            && !end_delivery(tx, consumer, receipt, how)?
        {
            lost.push(index);
            continue;
        }
        reached("delivery-settled");
        for record in &settlement.records {
            store(tx, record)?;
        }
        if let Some(routes) = routes {
            publish::insert(tx, settlement.publish.iter(), routes)?;
        }
        if let Some(follow_ups) = &settlement.follow_ups {
            apply(tx, follow_ups)?;
        }
    }
    Ok(lost)
}
