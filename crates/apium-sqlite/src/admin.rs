//! Counting, peeking, purging and deleting of queues.

use apium_transport::broker::consumer::Content;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::queue_admin::{ConsumerCounts, QueueAdmin, QueueCounts, QueuePeek, QueueStats};
use apium_transport::error::Result;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, params};

use crate::broker::SqliteBroker;

use crate::consumer::lock_file::{LockState, check};
use crate::publish::message_row::{StoredMessage, instant, optional_text};
use crate::store::request::RequestCost;
use crate::store::topology::hide;
use crate::store::transaction::{Tx, TxResult};

/// Counts in one query, so that the numbers are of one instant. A delayed message that is due counts as ready.
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

/// How many messages of a queue can be delivered now, those that are due among them; none for a missing queue.
fn depth(conn: &Connection, queue: &str, now: i64) -> rusqlite::Result<u64> {
    let mut select = conn.prepare_cached(
        "SELECT coalesce(sum((SELECT count(*) FROM ready WHERE queue = q.id) + \
                             (SELECT count(*) FROM parked WHERE queue = q.id AND run_at <= ?2)), 0) \
         FROM queue q WHERE name = ?1 AND hidden = 0",
    )?;
    select.query_row(params![queue, now], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// The ready messages in order of delivery. Delayed messages that are due stand among them at their rank.
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
        found.extend(outgoing(row, queue)?);
    }
    Ok(found)
}

/// The delayed messages that are due first.
fn peek_delayed(conn: &Connection, queue: &str, limit: usize, now: i64) -> rusqlite::Result<Vec<Outgoing>> {
    let mut select = conn.prepare_cached(
        "SELECT m.exchange, m.routing_key, m.headers, m.properties, m.body, p.run_at \
         FROM parked p CROSS JOIN message m ON m.id = p.message \
         WHERE p.run_at > ?3 AND p.queue = (SELECT id FROM queue WHERE name = ?1) ORDER BY p.run_at, p.rank LIMIT ?2",
    )?;
    let mut rows = select.query(params![queue, i64::try_from(limit).unwrap_or(i64::MAX), now])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let due = instant(row.get(5)?);
        found.extend(outgoing(row, queue)?.map(|message| message.at(Some(due))));
    }
    Ok(found)
}

/// The message of a row; `None` for what is no message.
fn outgoing(row: &rusqlite::Row<'_>, queue: &str) -> rusqlite::Result<Option<Outgoing>> {
    let stored = StoredMessage::from_columns(row.get_ref(2)?, row.get_ref(3)?, row.get_ref(4)?);
    let Content::Message(message) = stored.content() else { return Ok(None) };
    let exchange = optional_text(row.get_ref(0)?).unwrap_or_default();
    let routing_key = optional_text(row.get_ref(1)?).unwrap_or_else(|| queue.into());
    Ok(Some(Outgoing::new(exchange, routing_key, message)))
}

/// Rows that one transaction of a purge deletes, so that other requests need not wait for long.
const PURGE_STEP: i64 = 10_000;

/// Deletes some ready and delayed messages; returns how many.
fn purge_step(tx: &mut Tx<'_>, queue: &str) -> TxResult<u64> {
    let Some(id) = tx.queues.by_name(queue).map(|queue| queue.id) else { return Ok(0) };
    let mut deleted = 0;
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
        tx.conn.prepare_cached(messages)?.execute([id, PURGE_STEP])?;
        deleted += tx.conn.prepare_cached(rows)?.execute([id, PURGE_STEP])? as u64;
    }
    Ok(deleted)
}

impl SqliteBroker {
    async fn purge_all(&self, what: &'static str, queue: &str) -> Result<u64> {
        let mut purged = 0;
        loop {
            let name = queue.to_owned();
            let step = move |tx: &mut Tx<'_>| purge_step(tx, &name);
            match self.handle().write(what, RequestCost::durable(PURGE_STEP as usize), step).await? {
                0 => return Ok(purged),
                deleted => purged += deleted,
            }
        }
    }
}

impl QueueAdmin for SqliteBroker {
    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let name = queue.to_owned();
            let read = move |conn: &Connection, now| depth(conn, &name, now);
            self.handle().read("count a queue", read).await
        })
    }

    fn purge<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.purge_all("purge the queue", queue))
    }

    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.purge_all("delete the queue", queue).await?;
            let name = queue.to_owned();
            let operation = move |tx: &mut Tx<'_>| {
                while purge_step(tx, &name)? > 0 {}
                match tx.queues.by_name(&name).cloned() {
                    Some(queue) => hide(tx, &queue),
                    None => Ok(()),
                }
            };
            self.handle().write("delete the queue", RequestCost::durable(1), operation).await
        })
    }

    fn messages(&self) -> Option<&dyn QueuePeek> {
        Some(self)
    }

    fn counts(&self) -> Option<&dyn QueueCounts> {
        Some(self)
    }

    fn consumers(&self) -> Option<&dyn ConsumerCounts> {
        Some(self)
    }
}

impl QueuePeek for SqliteBroker {
    fn peek<'a>(&'a self, queue: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Outgoing>>> {
        Box::pin(async move {
            let name = queue.to_owned();
            let read = move |conn: &Connection, now| peek(conn, &name, limit, now);
            self.handle().read("look into the queue", read).await
        })
    }

    fn peek_delayed<'a>(&'a self, queue: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Outgoing>>> {
        Box::pin(async move {
            let name = queue.to_owned();
            let read = move |conn: &Connection, now| peek_delayed(conn, &name, limit, now);
            self.handle().read("look into the queue", read).await
        })
    }
}

impl QueueCounts for SqliteBroker {
    fn sees_every_worker(&self) -> bool {
        true
    }

    fn stats(&self) -> BoxFuture<'_, Result<Vec<QueueStats>>> {
        Box::pin(self.handle().read("count the queues", stats))
    }
}

impl ConsumerCounts for SqliteBroker {
    fn consumers_named<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let name = node.to_owned();
            let read = move |conn: &Connection, _| {
                let mut select = conn.prepare_cached("SELECT id FROM consumer WHERE node = ?1")?;
                select.query_map([name], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()
            };
            let named = self.handle().read("count the consumers", read).await?;
            let folder = self.handle().file.store.live_folder();
            // A killed consumer is not counted, although its row is still there: its name is free at once.
            Ok(named.into_iter().filter(|id| !matches!(check(&folder, *id), LockState::Dead(_))).count() as u64)
        })
    }
}
