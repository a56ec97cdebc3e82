//! Writes messages to their queues, inside a transaction: as ready, or as delayed until they are due.

use std::sync::Arc;

use rusqlite::params;

use crate::publish::message_row::{EncodedMessage, Text};
use crate::publish::rank::{priority_of, rank};
use crate::store::topology::{QueueRow, ensure_queue, route};
use crate::store::transaction::{Tx, TxResult};

/// The queues of each message, in the order of the messages.
pub(crate) struct Routes(Vec<Arc<Vec<Arc<QueueRow>>>>);

/// Finds the queues of each message. Fails before anything is written when a message has no queue.
pub(crate) fn routes<'l>(tx: &mut Tx<'_>, messages: impl Iterator<Item = &'l EncodedMessage>) -> TxResult<Routes> {
    let mut routes: Vec<Arc<Vec<Arc<QueueRow>>>> = Vec::new();
    let mut last: Option<&EncodedMessage> = None;
    for message in messages {
        let same = last.filter(|last| last.exchange == message.exchange && last.routing_key == message.routing_key);
        match (same, routes.last()) {
            (Some(_), Some(queues)) => routes.push(queues.clone()),
            _ => routes.push(Arc::new(route(tx, &message.exchange, &message.routing_key)?)),
        }
        last = Some(message);
    }
    Ok(Routes(routes))
}

/// Writes the messages to their queues: as ready, or as delayed when their eta is in the future.
pub(crate) fn insert<'l>(
    tx: &mut Tx<'_>,
    messages: impl Iterator<Item = &'l EncodedMessage>,
    routes: &Routes,
) -> TxResult<()> {
    let conn = tx.conn;
    let mut insert_message = conn.prepare_cached(
        "INSERT INTO message (id, exchange, routing_key, headers, properties, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut insert_ready_row = conn.prepare_cached(
        "INSERT INTO ready (queue, rank, message, fence, crashes, redelivered) VALUES (?1, ?2, ?3, 0, 0, 0)",
    )?;
    for (message, queues) in messages.zip(&routes.0) {
        for queue in queues.iter() {
            let id = tx.next_message();
            let exchange = Some(&*message.exchange).filter(|exchange| !exchange.is_empty());
            let key = Some(&*message.routing_key).filter(|key| **key != *queue.name);
            insert_message.execute(params![
                id,
                exchange,
                key,
                Text(&message.headers),
                Text(&message.properties),
                &*message.body
            ])?;
            let rank = rank(id, message.priority.min(queue.max_priority.unwrap_or(u8::MAX)));
            match message.eta.filter(|eta| *eta > tx.now) {
                Some(eta) => {
                    let position = QueuePosition { queue: queue.id, rank, message: id, ..QueuePosition::default() };
                    delay(tx, position, eta)?;
                }
                None => {
                    insert_ready_row.execute([queue.id, rank, id])?;
                    tx.effects.add_ready(queue.id);
                }
            }
        }
    }
    Ok(())
}

/// The queue of a message, its rank there, and what the store knows about its deliveries.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct QueuePosition {
    pub(crate) queue: i64,
    pub(crate) rank: i64,
    pub(crate) message: i64,
    pub(crate) fence: i64,
    pub(crate) crashes: i64,
    pub(crate) redelivered: bool,
}

/// Makes a message ready, at the rank of its position.
pub(crate) fn insert_ready(tx: &mut Tx<'_>, position: QueuePosition) -> TxResult<()> {
    unhide_queue(tx, position.queue)?;
    tx.conn
        .prepare_cached(
            "INSERT INTO ready (queue, rank, message, fence, crashes, redelivered) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            position.queue,
            position.rank,
            position.message,
            position.fence,
            position.crashes,
            position.redelivered
        ])?;
    tx.effects.add_ready(position.queue);
    Ok(())
}

/// Delays a message until `run_at`, in microseconds.
pub(crate) fn delay(tx: &mut Tx<'_>, position: QueuePosition, run_at: i64) -> TxResult<()> {
    unhide_queue(tx, position.queue)?;
    if !tx.effects.earlier_due && next_due(tx)?.is_none_or(|next| run_at < next) {
        tx.effects.earlier_due = true;
    }
    tx.conn
        .prepare_cached(
            "INSERT INTO parked (run_at, rank, queue, message, fence, crashes, redelivered) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            run_at,
            position.rank,
            position.queue,
            position.message,
            position.fence,
            position.crashes,
            position.redelivered
        ])?;
    Ok(())
}

/// Shows a deleted queue again, because a message that was delivered from it goes back to it.
fn unhide_queue(tx: &mut Tx<'_>, queue: i64) -> TxResult<()> {
    if let Some(queue) = tx.queues.by_id(queue).cloned() {
        ensure_queue(tx, &queue.name)?;
    }
    Ok(())
}

/// When the next delayed message is due, in microseconds.
pub(crate) fn next_due(tx: &Tx<'_>) -> TxResult<Option<i64>> {
    Ok(tx.conn.prepare_cached("SELECT min(run_at) FROM parked")?.query_row([], |row| row.get(0))?)
}

/// Makes the delayed messages ready that are due, at most 1000, behind those that are ready already. Returns when the
/// next one is due, in microseconds.
pub(crate) fn promote_due(tx: &mut Tx<'_>) -> TxResult<Option<i64>> {
    let next = next_due(tx)?;
    if next.is_none_or(|next| next > tx.now) {
        return Ok(next);
    }
    let mut due: Vec<(i64, QueuePosition)> = Vec::new();
    {
        let mut select = tx.conn.prepare_cached(
            "SELECT run_at, rank, queue, fence, crashes, redelivered, message FROM parked WHERE run_at <= ?1 ORDER BY run_at, rank \
             LIMIT 1000",
        )?;
        let mut rows = select.query([tx.now])?;
        while let Some(row) = rows.next()? {
            let position = QueuePosition {
                queue: row.get(2)?,
                rank: row.get(1)?,
                fence: row.get(3)?,
                crashes: row.get(4)?,
                redelivered: row.get(5)?,
                message: row.get(6)?,
            };
            due.push((row.get(0)?, position));
        }
    }
    if let Some((run_at, position)) = due.last() {
        tx.conn
            .prepare_cached("DELETE FROM parked WHERE run_at < ?1 OR (run_at = ?1 AND rank <= ?2)")?
            .execute([*run_at, position.rank])?;
    }
    for (_, position) in due {
        let rank = rank(tx.next_message(), priority_of(position.rank));
        insert_ready(tx, QueuePosition { rank, ..position })?;
    }
    next_due(tx)
}
