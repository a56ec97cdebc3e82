//! Counting, peeking, purging and deleting of queues.

use apium_transport::broker::broker::{QueueAdmin, QueueStats};
use apium_transport::broker::consumer::Content;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::error::Result;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, params};

use crate::broker::SqliteBroker;
use crate::consumer::claim::{packed, text};
use crate::consumer::lock_file::{Life, look};
use crate::store::request::Weight;
use crate::store::topology::hide;
use crate::store::transaction::{Done, Tx};

/// Counts in one look, so that the numbers belong together; what is due counts as ready.
fn stats(conn: &Connection, now: i64) -> rusqlite::Result<Vec<QueueStats>> {
    let mut select = conn.prepare_cached(
        "WITH due AS (SELECT queue, sum(run_at <= ?1) AS due, sum(run_at > ?1) AS later FROM parked GROUP BY queue) \
         SELECT name, (SELECT count(*) FROM ready WHERE queue = q.id) + coalesce(due.due, 0), \
                (SELECT count(*) FROM claimed WHERE queue = q.id), coalesce(due.later, 0), \
                (SELECT count(*) FROM subscription s WHERE s.queue = q.id) \
         FROM queue q LEFT JOIN due ON due.queue = q.id WHERE hidden = 0 ORDER BY name",
    )?;
    let count = |row: &rusqlite::Row<'_>, at: usize| row.get::<_, i64>(at).map(i64::cast_unsigned);
    select
        .query_map([now], |row| {
            let mut stats = QueueStats::new(row.get(0)?);
            stats.ready = count(row, 1)?;
            stats.unacked = count(row, 2)?;
            stats.delayed = count(row, 3)?;
            stats.consumers = count(row, 4)?;
            Ok(stats)
        })?
        .collect()
}

/// The waiting messages in order of delivery; those that are due and still parked stand at their place.
fn peek(conn: &Connection, queue: &str, limit: usize, now: i64) -> rusqlite::Result<Vec<Outgoing>> {
    let mut select = conn.prepare_cached(
        "WITH q AS (SELECT id FROM queue WHERE name = ?1) \
         SELECT m.exchange, m.routing_key, m.headers, m.properties, m.body FROM ( \
             SELECT rank, message FROM (SELECT rank, message FROM ready WHERE queue = (SELECT id FROM q) ORDER BY rank LIMIT ?2) \
             UNION ALL SELECT rank, message FROM parked WHERE run_at <= ?3 AND queue = (SELECT id FROM q) \
         ) r CROSS JOIN message m ON m.id = r.message ORDER BY r.rank LIMIT ?2",
    )?;
    let mut rows = select.query(params![queue, i64::try_from(limit).unwrap_or(i64::MAX), now])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if let Content::Message(message) = packed(row.get_ref(2)?, row.get_ref(3)?, row.get_ref(4)?).content() {
            found.push(Outgoing::new(
                text(row.get_ref(0)?).unwrap_or_default(),
                text(row.get_ref(1)?).unwrap_or_else(|| queue.into()),
                message,
            ));
        }
    }
    Ok(found)
}

/// Rows deleted in one step of a purge, so that others get their turn.
const STEP: i64 = 10_000;

/// Deletes some waiting and parked messages; returns how many.
fn purge_step(tx: &mut Tx<'_>, queue: &str) -> Done<u64> {
    let Some(id) = tx.known.by_name(queue).map(|queue| queue.id) else { return Ok(0) };
    let mut gone = 0;
    for (messages, rows) in [
        (
            "DELETE FROM message WHERE id IN \
             (SELECT message FROM ready WHERE queue = ?1 ORDER BY rank LIMIT ?2)",
            "DELETE FROM ready WHERE queue = ?1 AND rank IN \
             (SELECT rank FROM ready WHERE queue = ?1 ORDER BY rank LIMIT ?2)",
        ),
        (
            "DELETE FROM message WHERE id IN \
             (SELECT message FROM parked WHERE queue = ?1 ORDER BY run_at, rank LIMIT ?2)",
            "DELETE FROM parked WHERE (run_at, rank) IN \
             (SELECT run_at, rank FROM parked WHERE queue = ?1 ORDER BY run_at, rank LIMIT ?2)",
        ),
    ] {
        tx.conn.prepare_cached(messages)?.execute([id, STEP])?;
        gone += tx.conn.prepare_cached(rows)?.execute([id, STEP])? as u64;
    }
    Ok(gone)
}

impl SqliteBroker {
    async fn purge_all(&self, what: &'static str, queue: &str) -> Result<u64> {
        let mut purged = 0;
        loop {
            let name = queue.to_owned();
            let step = move |tx: &mut Tx<'_>| purge_step(tx, &name);
            match self.handle().writing(what, Weight::durable(STEP as usize), step).await? {
                0 => return Ok(purged),
                gone => purged += gone,
            }
        }
    }
}

impl QueueAdmin for SqliteBroker {
    fn stats(&self) -> BoxFuture<'_, Result<Vec<QueueStats>>> {
        Box::pin(self.handle().reading("count the queues", stats))
    }

    fn peek<'a>(&'a self, queue: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Outgoing>>> {
        Box::pin(async move {
            let name = queue.to_owned();
            let read = move |conn: &Connection, now| peek(conn, &name, limit, now);
            self.handle().reading("look into the queue", read).await
        })
    }

    fn purge<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.purge_all("purge the queue", queue))
    }

    fn consumers_named<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let name = node.to_owned();
            let read = move |conn: &Connection, _| {
                let mut select = conn.prepare_cached("SELECT id FROM consumer WHERE node = ?1")?;
                select.query_map([name], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()
            };
            let named = self.handle().reading("count the consumers", read).await?;
            let folder = self.handle().opened.store.live_folder();
            // The name of one that was killed can be taken at once, though its row still stands.
            Ok(named.into_iter().filter(|id| !matches!(look(&folder, *id), Life::Dead(_))).count() as u64)
        })
    }

    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.purge_all("delete the queue", queue).await?;
            let name = queue.to_owned();
            let work = move |tx: &mut Tx<'_>| {
                while purge_step(tx, &name)? > 0 {}
                match tx.known.by_name(&name).cloned() {
                    Some(queue) => hide(tx, &queue),
                    None => Ok(()),
                }
            };
            self.handle().writing("delete the queue", Weight::durable(1), work).await
        })
    }
}
