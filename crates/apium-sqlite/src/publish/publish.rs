//! Putting messages into their queues, inside a transaction.

use std::sync::Arc;

use rusqlite::params;

use crate::publish::message_row::{Letter, Text};
use crate::publish::rank::{priority_of, rank};
use crate::store::topology::{QueueRow, route};
use crate::store::transaction::{Done, Tx};

/// The queues of each letter, in the same order.
pub(crate) struct Routes(Vec<Arc<Vec<Arc<QueueRow>>>>);

/// Finds where each letter goes. Fails before anything is written when one of them goes nowhere.
pub(crate) fn routes<'l>(tx: &mut Tx<'_>, letters: impl Iterator<Item = &'l Letter>) -> Done<Routes> {
    let mut routes: Vec<Arc<Vec<Arc<QueueRow>>>> = Vec::new();
    let mut last: Option<&Letter> = None;
    for letter in letters {
        let same = last.filter(|last| last.exchange == letter.exchange && last.routing_key == letter.routing_key);
        match (same, routes.last()) {
            (Some(_), Some(queues)) => routes.push(queues.clone()),
            _ => routes.push(Arc::new(route(tx, &letter.exchange, &letter.routing_key)?)),
        }
        last = Some(letter);
    }
    Ok(Routes(routes))
}

/// Writes the letters to their queues: as ready, or as parked when their eta is still to come.
pub(crate) fn insert<'l>(tx: &mut Tx<'_>, letters: impl Iterator<Item = &'l Letter>, routes: &Routes) -> Done<()> {
    let conn = tx.conn;
    let mut message = conn.prepare_cached(
        "INSERT INTO message (id, exchange, routing_key, headers, properties, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut ready = conn.prepare_cached(
        "INSERT INTO ready (queue, rank, message, fence, crashes, redelivered) VALUES (?1, ?2, ?3, 0, 0, 0)",
    )?;
    for (letter, queues) in letters.zip(&routes.0) {
        for queue in queues.iter() {
            let id = tx.next_message();
            let exchange = Some(&*letter.exchange).filter(|exchange| !exchange.is_empty());
            let key = Some(&*letter.routing_key).filter(|key| **key != *queue.name);
            message.execute(params![
                id,
                exchange,
                key,
                Text(&letter.headers),
                Text(&letter.properties),
                &*letter.body
            ])?;
            let place = rank(id, letter.priority.min(queue.max_priority.unwrap_or(u8::MAX)));
            match letter.eta.filter(|eta| *eta > tx.now) {
                Some(eta) => park(tx, Place { queue: queue.id, rank: place, message: id, ..Place::default() }, eta)?,
                None => {
                    ready.execute([queue.id, place, id])?;
                    tx.effects.ready(queue.id);
                }
            }
        }
    }
    Ok(())
}

/// Where a message stands and what is known of its deliveries.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) queue: i64,
    pub(crate) rank: i64,
    pub(crate) message: i64,
    pub(crate) fence: i64,
    pub(crate) crashes: i64,
    pub(crate) redelivered: bool,
}

/// Makes a message ready, at its place.
pub(crate) fn make_ready(tx: &mut Tx<'_>, place: Place) -> Done<()> {
    show(tx, place.queue)?;
    tx.conn
        .prepare_cached(
            "INSERT INTO ready (queue, rank, message, fence, crashes, redelivered) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![place.queue, place.rank, place.message, place.fence, place.crashes, place.redelivered])?;
    tx.effects.ready(place.queue);
    Ok(())
}

/// Keeps a message back until `run_at`.
pub(crate) fn park(tx: &mut Tx<'_>, place: Place, run_at: i64) -> Done<()> {
    show(tx, place.queue)?;
    if !tx.effects.earlier && next_due(tx)?.is_none_or(|next| run_at < next) {
        tx.effects.earlier = true;
    }
    tx.conn
        .prepare_cached(
            "INSERT INTO parked (run_at, rank, queue, message, fence, crashes, redelivered) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            run_at,
            place.rank,
            place.queue,
            place.message,
            place.fence,
            place.crashes,
            place.redelivered
        ])?;
    Ok(())
}

/// A queue that was deleted comes back with the first message that goes back to it.
fn show(tx: &mut Tx<'_>, queue: i64) -> Done<()> {
    if let Some(queue) = tx.known.by_id(queue).cloned() {
        crate::store::topology::ensure_queue(tx, &queue.name)?;
    }
    Ok(())
}

/// When the next parked message is due.
pub(crate) fn next_due(tx: &Tx<'_>) -> Done<Option<i64>> {
    Ok(tx.conn.prepare_cached("SELECT min(run_at) FROM parked")?.query_row([], |row| row.get(0))?)
}

/// Makes ready what is due, up to a bound, behind what is ready already; and says when the next one is due.
pub(crate) fn promote(tx: &mut Tx<'_>) -> Done<Option<i64>> {
    let next = next_due(tx)?;
    if next.is_none_or(|next| next > tx.now) {
        return Ok(next);
    }
    let mut due: Vec<(i64, Place)> = Vec::new();
    {
        let mut select = tx.conn.prepare_cached(
            "SELECT run_at, rank, queue, fence, crashes, redelivered, message FROM parked WHERE run_at <= ?1 ORDER BY run_at, rank \
             LIMIT 1000",
        )?;
        let mut rows = select.query([tx.now])?;
        while let Some(row) = rows.next()? {
            let place = Place {
                queue: row.get(2)?,
                rank: row.get(1)?,
                fence: row.get(3)?,
                crashes: row.get(4)?,
                redelivered: row.get(5)?,
                message: row.get(6)?,
            };
            due.push((row.get(0)?, place));
        }
    }
    if let Some((run_at, place)) = due.last() {
        tx.conn
            .prepare_cached("DELETE FROM parked WHERE run_at < ?1 OR (run_at = ?1 AND rank <= ?2)")?
            .execute([*run_at, place.rank])?;
    }
    for (_, place) in due {
        let rank = rank(tx.next_message(), priority_of(place.rank));
        make_ready(tx, Place { rank, ..place })?;
    }
    next_due(tx)
}
