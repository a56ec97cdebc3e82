//! The dead set: messages that could not be handled, with the reason and their bytes.

use apium_transport::broker::consumer::Content;
use apium_transport::broker::dead_set::{DeadLetter, DeadReason, DeadSet, NewDeadLetter};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::error::Result;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::broker::SqliteBroker;
use crate::consumer::claim::packed;
use crate::publish::dead_letter::bury;
use crate::publish::message_row::{Letter, Text, instant};
use crate::publish::publish::{Place, make_ready};
use crate::publish::rank::rank;
use crate::store::request::Weight;
use crate::store::topology::ensure_queue;
use crate::store::transaction::{Done, Tx};

const COLUMNS: &str = "SELECT d.key, d.code, d.reason, d.at, q.name, d.task_id, d.task, d.headers, d.properties, d.body \
                       FROM dead d LEFT JOIN queue q ON q.id = d.queue";

fn letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let (message, raw) = match packed(row.get_ref(7)?, row.get_ref(8)?, row.get_ref(9)?).content() {
        Content::Message(message) => (Some(message), None),
        Content::Unreadable { raw, .. } => (None, Some(raw)),
    };
    let mut dead_letter = DeadLetter::new(
        row.get::<_, i64>(0)?.cast_unsigned(),
        row.get(1)?,
        row.get(2)?,
        instant(row.get(3)?),
        row.get::<_, Option<String>>(4)?.unwrap_or_default(),
    );
    dead_letter.task_id = row.get(5)?;
    dead_letter.task = row.get(6)?;
    dead_letter.message = message;
    dead_letter.raw = raw;
    Ok(dead_letter)
}

fn list(conn: &Connection, after: u64, limit: usize) -> rusqlite::Result<Vec<DeadLetter>> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut select = conn.prepare_cached(&format!("{COLUMNS} WHERE d.key > ?1 ORDER BY d.key LIMIT ?2"))?;
    select.query_map([after, limit], letter)?.collect()
}

/// Keeps a message that stands in no queue.
fn keep(tx: &mut Tx<'_>, letter: &Letter, reason: &DeadReason) -> Done<()> {
    let queue = ensure_queue(tx, &letter.routing_key)?.id;
    let id = tx.next_message();
    tx.conn
        .prepare_cached("INSERT INTO message (id, headers, properties, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id, Text(&letter.headers), Text(&letter.properties), &*letter.body])?;
    let place = Place { queue, rank: rank(id, letter.priority), message: id, ..Place::default() };
    bury(tx, place, reason.code, &reason.text)
}

/// Puts one letter back on its queue, behind what is there.
fn replay(tx: &mut Tx<'_>, key: i64) -> Done<bool> {
    let found: Option<(i64, u8)> = tx
        .conn
        .prepare_cached("SELECT queue, priority FROM dead WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((queue, priority)) = found else { return Ok(false) };
    let id = tx.next_message();
    tx.conn
        .prepare_cached(
            "INSERT INTO message (id, exchange, routing_key, headers, properties, body) \
             SELECT ?2, exchange, routing_key, headers, properties, body FROM dead WHERE key = ?1",
        )?
        .execute([key, id])?;
    tx.conn.prepare_cached("DELETE FROM dead WHERE key = ?1")?.execute([key])?;
    make_ready(tx, Place { queue, rank: rank(id, priority), message: id, ..Place::default() })?;
    Ok(true)
}

impl DeadSet for SqliteBroker {
    fn list(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>>> {
        Box::pin(
            async move { self.handle().reading("list the dead set", move |conn, _| list(conn, after, limit)).await },
        )
    }

    fn get(&self, key: u64) -> BoxFuture<'_, Result<Option<DeadLetter>>> {
        Box::pin(async move {
            let read = move |conn: &Connection, _| {
                let mut select = conn.prepare_cached(&format!("{COLUMNS} WHERE d.key = ?1"))?;
                select.query_row([key.cast_signed()], letter).optional()
            };
            self.handle().reading("read the dead set", read).await
        })
    }

    fn add(&self, messages: Vec<NewDeadLetter>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let weight = Weight::durable(messages.len());
            let (letters, reasons): (Vec<_>, Vec<_>) =
                messages.into_iter().map(|kept| (Outgoing::to_queue(kept.queue, kept.message), kept.reason)).unzip();
            let letters = Letter::encode_all(letters);
            let work = move |tx: &mut Tx<'_>| {
                letters.iter().zip(&reasons).try_for_each(|(letter, reason)| keep(tx, letter, reason))
            };
            self.handle().writing("keep messages in the dead set", weight, work).await
        })
    }

    fn replay(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let weight = Weight::durable(keys.len());
            let work = move |tx: &mut Tx<'_>| {
                keys.iter().try_fold(0, |done, key| Ok(done + u64::from(replay(tx, key.cast_signed())?)))
            };
            self.handle().writing("replay dead messages", weight, work).await
        })
    }

    fn remove(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let weight = Weight::durable(keys.len());
            let work = move |tx: &mut Tx<'_>| {
                let mut delete = tx.conn.prepare_cached("DELETE FROM dead WHERE key = ?1")?;
                keys.iter().try_fold(0, |done, key| Ok(done + delete.execute([key.cast_signed()])? as u64))
            };
            self.handle().writing("remove dead messages", weight, work).await
        })
    }

    fn count(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let read =
                |conn: &Connection, _| conn.query_row("SELECT count(*) FROM dead", [], |row| row.get::<_, i64>(0));
            Ok(self.handle().reading("count the dead set", read).await?.cast_unsigned())
        })
    }
}
