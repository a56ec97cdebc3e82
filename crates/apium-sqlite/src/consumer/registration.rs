//! The rows of consumers, inside a transaction: registration, subscriptions and leases.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::params;

use crate::consumer::observed_leases::LeaseRow;
use crate::consumer::state::ConsumerState;
use crate::store::transaction::{Tx, TxResult};

/// Writes the consumer's rows.
pub(crate) fn register(tx: &mut Tx<'_>, state: &ConsumerState) -> TxResult<()> {
    tx.conn
        .prepare_cached(
            "INSERT OR REPLACE INTO consumer (id, node, lease_until, max_crashes, lease) VALUES (?1, ?2, ?3, 0, ?4)",
        )?
        .execute(params![state.id, state.node, tx.after(state.lease), micros(state.lease)])?;
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

/// Renews the leases of the consumers that are not closed. Others see a renewal by another `lease_until`, also where
/// the time of day stands still.
pub(crate) fn renew(tx: &mut Tx<'_>, states: &[Arc<ConsumerState>]) -> TxResult<()> {
    for state in states.iter().filter(|state| !state.is_closed()) {
        let until = tx.after(state.lease);
        let renewed = tx
            .conn
            .prepare_cached("UPDATE consumer SET lease_until = ?2 + (lease_until = ?2) WHERE id = ?1")?
            .execute([state.id, until])?;
        if renewed == 0 {
            register(tx, state)?;
        }
    }
    Ok(())
}

/// The leases of all consumers.
pub(crate) fn leases(tx: &Tx<'_>) -> TxResult<Vec<LeaseRow>> {
    let mut select = tx.conn.prepare_cached("SELECT id, lease_until, lease FROM consumer")?;
    let rows = select.query_map([], |row| {
        let length = row.get::<_, Option<i64>>(2)?;
        let length = length.map(|micros| Duration::from_micros(micros.max(0).unsigned_abs()));
        Ok(LeaseRow { consumer: row.get(0)?, until: row.get(1)?, length })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Whether a consumer has a row that is as it was seen: it has not renewed its lease since.
pub(crate) fn is_unchanged(tx: &Tx<'_>, lease: LeaseRow) -> TxResult<bool> {
    let mut select = tx.conn.prepare_cached("SELECT 1 FROM consumer WHERE id = ?1 AND lease_until = ?2")?;
    Ok(select.exists([lease.consumer, lease.until])?)
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
