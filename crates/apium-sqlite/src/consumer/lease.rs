//! Consumers in the store, inside a transaction: coming, renewing, leaving, and giving back what the dead held.

use std::sync::Arc;

use rusqlite::params;

use crate::consumer::state::Seat;
use crate::publish::dead_letter::bury;
use crate::publish::publish::{Place, make_ready};
use crate::store::transaction::{Done, Tx};

/// Writes the consumer's rows.
pub(crate) fn register(tx: &mut Tx<'_>, seat: &Seat) -> Done<()> {
    tx.conn
        .prepare_cached("INSERT OR REPLACE INTO consumer (id, node, lease_until, max_crashes) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![seat.id, seat.node, tx.after(seat.lease), seat.max_crashes])?;
    for queue in seat.queues() {
        subscribe(tx, seat.id, queue.id)?;
    }
    Ok(())
}

/// Notes that a consumer reads a queue.
pub(crate) fn subscribe(tx: &mut Tx<'_>, consumer: i64, queue: i64) -> Done<()> {
    tx.conn
        .prepare_cached("INSERT OR IGNORE INTO subscription (consumer, queue) VALUES (?1, ?2)")?
        .execute([consumer, queue])?;
    Ok(())
}

/// Notes that a consumer reads a queue no longer.
pub(crate) fn unsubscribe(tx: &mut Tx<'_>, consumer: i64, queue: i64) -> Done<()> {
    tx.conn
        .prepare_cached("DELETE FROM subscription WHERE consumer = ?1 AND queue = ?2")?
        .execute([consumer, queue])?;
    Ok(())
}

/// Writes the consumer's rows again when another process had taken it for dead.
pub(crate) fn ensure_registered(tx: &mut Tx<'_>, seat: &Seat) -> Done<()> {
    let there = tx.conn.prepare_cached("SELECT 1 FROM consumer WHERE id = ?1")?.exists([seat.id])?;
    if there || seat.has_left() { Ok(()) } else { register(tx, seat) }
}

/// Renews the leases of the living.
pub(crate) fn renew(tx: &mut Tx<'_>, seats: &[Arc<Seat>]) -> Done<()> {
    for seat in seats.iter().filter(|seat| !seat.has_left()) {
        let until = tx.after(seat.lease);
        let renewed =
            tx.conn.prepare_cached("UPDATE consumer SET lease_until = ?2 WHERE id = ?1")?.execute([seat.id, until])?;
        if renewed == 0 {
            register(tx, seat)?;
        }
    }
    Ok(())
}

/// The consumers whose lease has run out.
pub(crate) fn expired(tx: &Tx<'_>) -> Done<Vec<i64>> {
    let mut select = tx.conn.prepare_cached("SELECT id FROM consumer WHERE lease_until <= ?1")?;
    Ok(select.query_map([tx.now], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Takes a consumer out and gives back what it held, in front. For each delivery of which `had_begun` holds a crash is counted,
/// and one that has crashed often enough goes to the dead set. Returns how many deliveries it held.
pub(crate) fn remove(tx: &mut Tx<'_>, consumer: i64, had_begun: impl Fn(i64, i64) -> bool) -> Done<usize> {
    let max_crashes: i64 = tx
        .conn
        .prepare_cached("SELECT coalesce(max(max_crashes), 0) FROM consumer WHERE id = ?1")?
        .query_row([consumer], |row| row.get(0))?;
    let mut places = Vec::new();
    {
        let mut select = tx.conn.prepare_cached(
            "SELECT queue, rank, fence, crashes, message FROM claimed WHERE consumer = ?1 ORDER BY queue, rank",
        )?;
        let mut rows = select.query([consumer])?;
        while let Some(row) = rows.next()? {
            let (rank, fence, message) = (row.get(1)?, row.get(2)?, row.get(4)?);
            let crashed = i64::from(had_begun(message, fence));
            let crashes = row.get::<_, i64>(3)? + crashed;
            let looping = crashed > 0 && max_crashes > 0 && crashes >= max_crashes;
            places.push((Place { queue: row.get(0)?, rank, message, fence, crashes, redelivered: true }, looping));
        }
    }
    tx.conn.prepare_cached("DELETE FROM claimed WHERE consumer = ?1")?.execute([consumer])?;
    tx.conn.prepare_cached("DELETE FROM subscription WHERE consumer = ?1")?.execute([consumer])?;
    tx.conn.prepare_cached("DELETE FROM consumer WHERE id = ?1")?.execute([consumer])?;
    let count = places.len();
    for (place, looping) in places {
        if looping {
            let text = format!(
                "its worker died during {} of its runs, which is as many as worker_max_crashes allows",
                place.crashes
            );
            bury(tx, place, "crash-loop", &text)?;
        } else {
            make_ready(tx, place)?;
        }
    }
    Ok(count)
}

/// Whether the lease of a consumer that is there has run out.
pub(crate) fn is_expired(tx: &Tx<'_>, consumer: i64) -> Done<bool> {
    Ok(tx
        .conn
        .prepare_cached("SELECT 1 FROM consumer WHERE id = ?1 AND lease_until <= ?2")?
        .exists([consumer, tx.now])?)
}
