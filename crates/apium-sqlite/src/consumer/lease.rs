//! The rows of consumers, inside a transaction: registration, leases, and what becomes of the deliveries of a consumer
//! that ends.

use std::sync::Arc;

use rusqlite::params;

use crate::consumer::state::ConsumerState;
use crate::publish::dead_letter::dead_letter;
use crate::publish::publish::{QueuePosition, insert_ready};
use crate::store::transaction::{Tx, TxResult};

/// Writes the consumer's rows.
pub(crate) fn register(tx: &mut Tx<'_>, state: &ConsumerState) -> TxResult<()> {
    tx.conn
        .prepare_cached("INSERT OR REPLACE INTO consumer (id, node, lease_until, max_crashes) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![state.id, state.node, tx.after(state.lease), state.max_crashes])?;
    for queue in state.queues() {
        subscribe(tx, state.id, queue.id)?;
    }
    Ok(())
}

/// Writes that a consumer reads a queue.
pub(crate) fn subscribe(tx: &mut Tx<'_>, consumer: i64, queue: i64) -> TxResult<()> {
    tx.conn
        .prepare_cached("INSERT OR IGNORE INTO subscription (consumer, queue) VALUES (?1, ?2)")?
        .execute([consumer, queue])?;
    Ok(())
}

/// Writes that a consumer no longer reads a queue.
pub(crate) fn unsubscribe(tx: &mut Tx<'_>, consumer: i64, queue: i64) -> TxResult<()> {
    tx.conn
        .prepare_cached("DELETE FROM subscription WHERE consumer = ?1 AND queue = ?2")?
        .execute([consumer, queue])?;
    Ok(())
}

/// Writes the consumer's rows again when another process removed them because its lease had run out.
pub(crate) fn ensure_registered(tx: &mut Tx<'_>, state: &ConsumerState) -> TxResult<()> {
    let registered = tx.conn.prepare_cached("SELECT 1 FROM consumer WHERE id = ?1")?.exists([state.id])?;
    if registered || state.is_closed() { Ok(()) } else { register(tx, state) }
}

/// Renews the leases of the consumers that are not closed.
pub(crate) fn renew(tx: &mut Tx<'_>, states: &[Arc<ConsumerState>]) -> TxResult<()> {
    for state in states.iter().filter(|state| !state.is_closed()) {
        let until = tx.after(state.lease);
        let renewed =
            tx.conn.prepare_cached("UPDATE consumer SET lease_until = ?2 WHERE id = ?1")?.execute([state.id, until])?;
        if renewed == 0 {
            register(tx, state)?;
        }
    }
    Ok(())
}

/// The ids of the consumers whose lease has run out.
pub(crate) fn expired_consumers(tx: &Tx<'_>) -> TxResult<Vec<i64>> {
    let mut select = tx.conn.prepare_cached("SELECT id FROM consumer WHERE lease_until <= ?1")?;
    Ok(select.query_map([tx.now], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Removes a consumer and requeues what it had in flight, at the old rank. A delivery for which `had_started` (message
/// id, fence) is true counts a crash; a message with `max_crashes` crashes goes to the dead set. Returns how many
/// deliveries were in flight.
pub(crate) fn remove(tx: &mut Tx<'_>, consumer: i64, had_started: impl Fn(i64, i64) -> bool) -> TxResult<usize> {
    let max_crashes: i64 = tx
        .conn
        .prepare_cached("SELECT coalesce(max(max_crashes), 0) FROM consumer WHERE id = ?1")?
        .query_row([consumer], |row| row.get(0))?;
    let mut positions = Vec::new();
    {
        let mut select = tx.conn.prepare_cached(
            "SELECT queue, rank, fence, crashes, message FROM claimed WHERE consumer = ?1 ORDER BY queue, rank",
        )?;
        let mut rows = select.query([consumer])?;
        while let Some(row) = rows.next()? {
            let (rank, fence, message) = (row.get(1)?, row.get(2)?, row.get(4)?);
            let crashed = i64::from(had_started(message, fence));
            let crashes = row.get::<_, i64>(3)? + crashed;
            let is_crash_loop = crashed > 0 && max_crashes > 0 && crashes >= max_crashes;
            let queue = row.get(0)?;
            let position = QueuePosition { queue, rank, message, fence, crashes, redelivered: true };
            positions.push((position, is_crash_loop));
        }
    }
    tx.conn.prepare_cached("DELETE FROM claimed WHERE consumer = ?1")?.execute([consumer])?;
    tx.conn.prepare_cached("DELETE FROM subscription WHERE consumer = ?1")?.execute([consumer])?;
    tx.conn.prepare_cached("DELETE FROM consumer WHERE id = ?1")?.execute([consumer])?;
    let count = positions.len();
    for (position, is_crash_loop) in positions {
        if is_crash_loop {
            let text = format!(
                "its worker died during {} of its runs, which is as many as worker_max_crashes allows",
                position.crashes
            );
            dead_letter(tx, position, "crash-loop", &text)?;
        } else {
            insert_ready(tx, position)?;
        }
    }
    Ok(count)
}

/// Whether a consumer has a row and its lease has run out.
pub(crate) fn is_expired(tx: &Tx<'_>, consumer: i64) -> TxResult<bool> {
    Ok(tx
        .conn
        .prepare_cached("SELECT 1 FROM consumer WHERE id = ?1 AND lease_until <= ?2")?
        .exists([consumer, tx.now])?)
}
