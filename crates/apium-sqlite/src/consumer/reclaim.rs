//! Reclaims what a consumer that ended had in flight, inside a transaction. A consumer ends when it closes, when its
//! process dies or when its lease runs out.

use crate::publish::publish::{QueuePosition, insert_ready};
use crate::store::transaction::{Tx, TxResult};

/// Removes a consumer's rows and requeues what it had in flight, at the old rank. A delivery for which `had_started`
/// (message id, fence) is true counts a crash. Returns how many deliveries were in flight.
pub(crate) fn reclaim(tx: &mut Tx<'_>, consumer: i64, had_started: impl Fn(i64, i64) -> bool) -> TxResult<usize> {
    let mut positions = Vec::new();
    {
        let mut select = tx.conn.prepare_cached(
            "SELECT queue, rank, fence, crashes, message FROM claimed WHERE consumer = ?1 ORDER BY queue, rank",
        )?;
        let mut rows = select.query([consumer])?;
        while let Some(row) = rows.next()? {
            let (queue, rank, fence, message) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(4)?);
            let crashes = row.get::<_, i64>(3)? + i64::from(had_started(message, fence));
            positions.push(QueuePosition { queue, rank, message, fence, crashes, redelivered: true });
        }
    }
    tx.conn.prepare_cached("DELETE FROM claimed WHERE consumer = ?1")?.execute([consumer])?;
    tx.conn.prepare_cached("DELETE FROM subscription WHERE consumer = ?1")?.execute([consumer])?;
    tx.conn.prepare_cached("DELETE FROM consumer WHERE id = ?1")?.execute([consumer])?;
    let count = positions.len();
    for position in positions {
        insert_ready(tx, position)?;
    }
    Ok(count)
}
