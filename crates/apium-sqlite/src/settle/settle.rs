//! Ending deliveries, inside a transaction: acked, put back, parked, dropped or buried.

use std::sync::Arc;

use apium_transport::broker::follow_ups::FollowUps;
use apium_transport::broker::settlement::{Acknowledgement, Disposition, Receipt, Tag};
use rusqlite::OptionalExtension;

use crate::backend::results::store;
use crate::crash_points::reached;
use crate::publish::dead_letter::bury;
use crate::publish::message_row::{Letter, micros_up};
use crate::publish::publish;
use crate::publish::publish::{Place, Routes, make_ready, park};
use crate::settle::follow_ups::follow;
use crate::store::result_row::Record;
use crate::store::transaction::{Done, Tx};

/// One settlement, encoded.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its own, then those of its sequel.
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) publish: Vec<Letter>,
    pub(crate) delivery: Option<(Receipt, Acknowledgement)>,
    /// What is left of it: chords to open and parts to count.
    pub(crate) sequel: Option<Box<FollowUps>>,
}

/// The message id and fence of a receipt of this driver.
pub(crate) fn numbers(receipt: &Receipt) -> Option<(i64, i64)> {
    match receipt.tag {
        Tag::Number(tag) => Some((tag.cast_signed(), receipt.fence.cast_signed())),
        Tag::Text(_) => None,
    }
}

/// Acks the receipts held by `consumer`; returns the indices of the lost ones.
pub(crate) fn ack<'r>(tx: &mut Tx<'_>, consumer: i64, receipts: impl Iterator<Item = &'r Receipt>) -> Done<Vec<usize>> {
    let mut lost = Vec::new();
    let mut claimed =
        tx.conn.prepare_cached("DELETE FROM claimed WHERE message = ?1 AND consumer = ?2 AND fence = ?3")?;
    let mut message = tx.conn.prepare_cached("DELETE FROM message WHERE id = ?1")?;
    for (index, receipt) in receipts.enumerate() {
        match numbers(receipt) {
            Some((id, fence)) if claimed.execute([id, consumer, fence])? == 1 => {
                message.execute([id])?;
            }
            _ => lost.push(index),
        }
    }
    Ok(lost)
}

/// Ends one delivery; says whether `consumer` held it.
fn end(tx: &mut Tx<'_>, consumer: i64, receipt: &Receipt, how: &Acknowledgement) -> Done<bool> {
    let Acknowledgement::Reject(disposition) = how else {
        return Ok(ack(tx, consumer, std::iter::once(receipt))?.is_empty());
    };
    let Some((id, fence)) = numbers(receipt) else { return Ok(false) };
    let place = tx
        .conn
        .prepare_cached(
            "DELETE FROM claimed WHERE message = ?1 AND consumer = ?2 AND fence = ?3 \
             RETURNING queue, rank, fence, crashes, redelivered",
        )?
        .query_row([id, consumer, fence], |row| {
            Ok(Place {
                queue: row.get(0)?,
                rank: row.get(1)?,
                message: id,
                fence: row.get(2)?,
                crashes: row.get(3)?,
                redelivered: row.get(4)?,
            })
        })
        .optional()?;
    let Some(place) = place else { return Ok(false) };
    match disposition {
        Disposition::Requeue => make_ready(tx, Place { redelivered: true, ..place })?,
        Disposition::Delay(until) => match micros_up(*until) {
            until if until > tx.now => park(tx, place, until)?,
            _ => make_ready(tx, place)?,
        },
        Disposition::Discard => {
            tx.conn.prepare_cached("DELETE FROM message WHERE id = ?1")?.execute([id])?;
        }
        Disposition::Dead(reason) => bury(tx, place, reason.code, &reason.text)?,
    }
    Ok(true)
}

/// Rejects receipts; returns the indices of the lost ones.
pub(crate) fn reject(tx: &mut Tx<'_>, consumer: i64, receipts: &[(Receipt, Acknowledgement)]) -> Done<Vec<usize>> {
    let mut lost = Vec::new();
    for (index, (receipt, how)) in receipts.iter().enumerate() {
        if !end(tx, consumer, receipt, how)? {
            lost.push(index);
        }
    }
    Ok(lost)
}

/// Stores, publishes and ends what belongs together; a lost receipt drops all of its part. Returns the indices of those.
pub(crate) fn settle(tx: &mut Tx<'_>, consumer: i64, parts: &[Part]) -> Done<Vec<usize>> {
    // What follows a chord is only known when its last part is counted, and may go nowhere.
    match parts.iter().filter_map(|part| part.sequel.as_ref()).any(|sequel| !sequel.parts.is_empty()) {
        true => tx.whole(|tx| settle_all(tx, consumer, parts)),
        false => settle_all(tx, consumer, parts),
    }
}

fn settle_all(tx: &mut Tx<'_>, consumer: i64, parts: &[Part]) -> Done<Vec<usize>> {
    // Before anything is written, since a letter that goes nowhere refuses the whole batch.
    let routes: Vec<Option<Routes>> = parts
        .iter()
        .map(|part| match part.publish.is_empty() {
            true => Ok(None),
            false => publish::routes(tx, part.publish.iter()).map(Some),
        })
        .collect::<Done<_>>()?;
    let mut lost = Vec::new();
    for (index, (part, routes)) in parts.iter().zip(&routes).enumerate() {
        if let Some((receipt, how)) = &part.delivery
            && !end(tx, consumer, receipt, how)?
        {
            lost.push(index);
            continue;
        }
        reached("delivery-settled");
        for record in &part.records {
            store(tx, record)?;
        }
        if let Some(routes) = routes {
            publish::insert(tx, part.publish.iter(), routes)?;
        }
        if let Some(sequel) = &part.sequel {
            follow(tx, sequel)?;
        }
    }
    Ok(lost)
}
