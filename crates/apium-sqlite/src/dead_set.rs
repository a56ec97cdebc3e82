//! The dead set: messages that could not be handled, each with its reason and its bytes.

use apium_transport::broker::consumer::Content;
use apium_transport::broker::dead_set::{DeadLetter, DeadReason, DeadSet, NewDeadLetter};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::error::Result;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::broker::SqliteBroker;

use crate::publish::dead_letter::dead_letter;
use crate::publish::message_row::{EncodedMessage, StoredMessage, Text, instant};
use crate::publish::publish::{QueuePosition, insert_ready};
use crate::publish::rank::rank;
use crate::store::request::RequestCost;
use crate::store::topology::ensure_queue;
use crate::store::transaction::{Tx, TxResult};

const COLUMNS: &str = "SELECT d.key, d.code, d.reason, d.at, q.name, d.task_id, d.task, d.headers, d.properties, d.body \
                       FROM dead d LEFT JOIN queue q ON q.id = d.queue";

fn read_dead_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let stored = StoredMessage::from_columns(row.get_ref(7)?, row.get_ref(8)?, row.get_ref(9)?);
    let (message, raw) = match stored.content() {
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
    select.query_map([after, limit], read_dead_letter)?.collect()
}

/// Adds a message that is not in the store yet.
fn insert(tx: &mut Tx<'_>, message: &EncodedMessage, reason: &DeadReason) -> TxResult<()> {
    let queue = ensure_queue(tx, &message.routing_key)?.id;
    let id = tx.next_message();
    tx.conn
        .prepare_cached("INSERT INTO message (id, headers, properties, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id, Text(&message.headers), Text(&message.properties), &*message.body])?;
    let position = QueuePosition { queue, rank: rank(id, message.priority), message: id, ..QueuePosition::default() };
    dead_letter(tx, position, reason.code, &reason.text)
}

/// Moves one dead letter to its queue, behind the messages that are there. `false` when there is no such dead letter.
fn replay(tx: &mut Tx<'_>, key: i64) -> TxResult<bool> {
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
    insert_ready(tx, QueuePosition { queue, rank: rank(id, priority), message: id, ..QueuePosition::default() })?;
    Ok(true)
}

impl DeadSet for SqliteBroker {
    fn list(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>>> {
        Box::pin(async move { self.handle().read("list the dead set", move |conn, _| list(conn, after, limit)).await })
    }

    fn get(&self, key: u64) -> BoxFuture<'_, Result<Option<DeadLetter>>> {
        Box::pin(async move {
            let read = move |conn: &Connection, _| {
                let mut select = conn.prepare_cached(&format!("{COLUMNS} WHERE d.key = ?1"))?;
                select.query_row([key.cast_signed()], read_dead_letter).optional()
            };
            self.handle().read("read the dead set", read).await
        })
    }

    fn add(&self, messages: Vec<NewDeadLetter>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let cost = RequestCost::durable(messages.len());
            let (messages, reasons): (Vec<_>, Vec<_>) =
                messages.into_iter().map(|new| (Outgoing::to_queue(new.queue, new.message), new.reason)).unzip();
            let messages = EncodedMessage::encode_all(messages);
            let operation = move |tx: &mut Tx<'_>| {
                messages.iter().zip(&reasons).try_for_each(|(message, reason)| insert(tx, message, reason))
            };
            self.handle().write("add messages to the dead set", cost, operation).await
        })
    }

    fn replay(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let cost = RequestCost::durable(keys.len());
            let operation = move |tx: &mut Tx<'_>| {
                keys.iter().try_fold(0, |done, key| Ok(done + u64::from(replay(tx, key.cast_signed())?)))
            };
            self.handle().write("replay dead letters", cost, operation).await
        })
    }

    fn remove(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let cost = RequestCost::durable(keys.len());
            let operation = move |tx: &mut Tx<'_>| {
                let mut delete = tx.conn.prepare_cached("DELETE FROM dead WHERE key = ?1")?;
                keys.iter().try_fold(0, |done, key| Ok(done + delete.execute([key.cast_signed()])? as u64))
            };
            self.handle().write("remove dead letters", cost, operation).await
        })
    }

    fn count(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let read =
                |conn: &Connection, _| conn.query_row("SELECT count(*) FROM dead", [], |row| row.get::<_, i64>(0));
            Ok(self.handle().read("count the dead set", read).await?.cast_unsigned())
        })
    }
}
