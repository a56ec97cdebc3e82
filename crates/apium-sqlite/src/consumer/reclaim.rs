//! Reclaims what a consumer that ended had in flight, inside a transaction. A consumer ends when it closes, when its
//! process dies or when its lease runs out.

use crate::publish::dead_letter::dead_letter;
use crate::publish::publish::{QueuePosition, insert_ready};
use crate::store::transaction::{Tx, TxResult};

/// Removes a consumer's rows and requeues what it had in flight, at the old rank. A delivery for which `had_started`
/// (message id, fence) is true counts a crash; a message with `max_crashes` crashes goes to the dead set. Returns how
/// many deliveries were in flight.
pub(crate) fn reclaim(tx: &mut Tx<'_>, consumer: i64, had_started: impl Fn(i64, i64) -> bool) -> TxResult<usize> {
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
