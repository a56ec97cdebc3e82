//! The rows of broadcasts and of those who listen. Nothing is written that nobody listens to.

use std::collections::VecDeque;
use std::sync::Arc;

use apium_transport::broker::topology::ExchangeType;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::publish::message_row::{EncodedMessage, Text};
use crate::store::transaction::{Tx, TxResult};

/// How many messages are kept at most, and of how many bytes besides the last one. When there are more, the oldest go.
const MOST_MESSAGES: i64 = 50_000;
const MOST_BYTES: i64 = 256 << 20;
/// How many messages one read returns at most, and of how many bytes besides the last one.
const READ_MESSAGES: usize = 256;
const READ_BYTES: usize = 32 << 20;

/// What a mailbox hears.
#[derive(Debug, Clone)]
pub(crate) struct Hearing {
    pub(crate) exchange: Arc<str>,
    pub(crate) kind: ExchangeType,
    pub(crate) binding: Arc<str>,
    /// How long a message waits for it, in microseconds.
    pub(crate) ttl: i64,
}

impl Hearing {
    fn hears(&self, routing_key: &str) -> bool {
        self.kind.routes(&self.binding, routing_key)
    }

    fn kind_number(&self) -> i64 {
        match self.kind {
            ExchangeType::Direct => 0,
            ExchangeType::Topic => 1,
            ExchangeType::Fanout => 2,
            ExchangeType::Headers => 3,
        }
    }
}

/// A message of a broadcast as it is stored.
#[derive(Debug)]
pub(crate) struct StoredBroadcast {
    pub(crate) routing_key: Arc<str>,
    pub(crate) headers: Vec<u8>,
    pub(crate) properties: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// What a mailbox has found.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) messages: Vec<StoredBroadcast>,
    /// Up to where it has read.
    pub(crate) cursor: i64,
    /// Whether messages before these are missing.
    pub(crate) missed: bool,
}

/// Writes the row of a mailbox. Returns its id, and from where it reads.
pub(crate) fn open(tx: &Tx<'_>, hearing: &Hearing) -> TxResult<(i64, i64)> {
    let Hearing { exchange, binding, ttl, .. } = hearing;
    tx.conn
        .prepare_cached("INSERT INTO mailbox (exchange, kind, binding, ttl, renewed) VALUES (?1, ?2, ?3, ?4, 0)")?
        .execute(params![exchange, hearing.kind_number(), binding, ttl])?;
    Ok((tx.conn.last_insert_rowid(), last(tx.conn)?))
}

/// Says that a mailbox is still open. Returns whether it had a row; if not, it has one again.
pub(crate) fn renew(tx: &Tx<'_>, id: i64, hearing: &Hearing) -> TxResult<bool> {
    let renewed = tx.conn.prepare_cached("UPDATE mailbox SET renewed = renewed + 1 WHERE id = ?1")?.execute([id])?;
    if renewed == 0 {
        let Hearing { exchange, binding, ttl, .. } = hearing;
        tx.conn
            .prepare_cached(
                "INSERT INTO mailbox (id, exchange, kind, binding, ttl, renewed) VALUES (?1, ?2, ?3, ?4, ?5, 0)",
            )?
            .execute(params![id, exchange, hearing.kind_number(), binding, ttl])?;
    }
    Ok(renewed > 0)
}

/// The mailboxes, and how often each was renewed.
pub(crate) fn renewals(tx: &Tx<'_>) -> TxResult<Vec<(i64, i64)>> {
    let mut select = tx.conn.prepare_cached("SELECT id, renewed FROM mailbox")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Removes a mailbox, if it was renewed just so often, or in any case. What nobody listens to goes with it.
pub(crate) fn close(tx: &Tx<'_>, id: i64, renewed: Option<i64>) -> TxResult<()> {
    tx.conn
        .prepare_cached("DELETE FROM mailbox WHERE id = ?1 AND renewed = coalesce(?2, renewed)")?
        .execute(params![id, renewed])?;
    if !tx.conn.prepare_cached("SELECT 1 FROM mailbox")?.exists([])? {
        tx.conn.prepare_cached("DELETE FROM broadcast")?.execute([])?;
        tx.conn.prepare_cached("DELETE FROM broadcast_lost")?.execute([])?;
        tx.conn.prepare_cached("UPDATE broadcast_size SET messages = 0, bytes = 0")?.execute([])?;
    }
    Ok(())
}

/// Whether anybody listens to an exchange.
pub(crate) fn is_heard(conn: &Connection, exchange: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM mailbox WHERE exchange = ?1")?.exists([exchange])
}

/// Writes the messages to which somebody listens.
pub(crate) fn insert(tx: &mut Tx<'_>, exchange: &Arc<str>, messages: &[EncodedMessage]) -> TxResult<()> {
    let listeners = listeners(tx.conn, exchange)?;
    let (mut count, mut bytes) = (0, 0);
    for message in messages {
        let heard = listeners.iter().filter(|listener| listener.hears(&message.routing_key));
        let Some(ttl) = heard.map(|listener| listener.ttl).max() else { continue };
        let size = message.headers.len() + message.properties.len() + message.body.len();
        let size = i64::try_from(size).unwrap_or(i64::MAX / 4);
        tx.conn
            .prepare_cached(
                "INSERT INTO broadcast (exchange, routing_key, at, expires, size, headers, properties, body) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                exchange,
                message.routing_key,
                tx.now,
                tx.now.saturating_add(ttl),
                size,
                Text(&message.headers),
                Text(&message.properties),
                &message.body[..],
            ])?;
        (count, bytes) = (count + 1, bytes + size);
    }
    if count > 0 {
        add_size(tx.conn, count, bytes)?;
        tx.effects.add_broadcast(exchange);
        purge(tx, 2 * count.unsigned_abs() as usize)?;
    }
    Ok(())
}

fn listeners(conn: &Connection, exchange: &Arc<str>) -> rusqlite::Result<Vec<Hearing>> {
    let mut select = conn.prepare_cached("SELECT kind, binding, ttl FROM mailbox WHERE exchange = ?1")?;
    let rows = select.query_map([exchange], |row| {
        let kind = match row.get::<_, i64>(0)? {
            0 => ExchangeType::Direct,
            1 => ExchangeType::Topic,
            2 => ExchangeType::Fanout,
            _ => ExchangeType::Headers,
        };
        Ok(Hearing { exchange: exchange.clone(), kind, binding: row.get(1)?, ttl: row.get(2)? })
    })?;
    rows.collect()
}

fn add_size(conn: &Connection, count: i64, bytes: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE broadcast_size SET messages = messages + ?1, bytes = bytes + ?2")?
        .execute([count, bytes])?;
    Ok(())
}

/// Deletes the oldest messages while they have expired or are too many, at most `most` of them.
pub(crate) fn purge(tx: &Tx<'_>, most: usize) -> TxResult<()> {
    let conn = tx.conn;
    let (mut messages, mut bytes): (i64, i64) = conn
        .prepare_cached("SELECT messages, bytes FROM broadcast_size")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (mut gone, mut gone_bytes) = (0, 0);
    let mut oldest = conn.prepare_cached("SELECT seq, exchange, expires, size FROM broadcast ORDER BY seq LIMIT 1")?;
    for _ in 0..most {
        type Oldest = (i64, String, i64, i64);
        let found: Option<Oldest> =
            oldest.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).optional()?;
        let Some((seq, exchange, expires, size)) = found else { break };
        let has_expired = expires <= tx.now;
        let has_no_room = messages > MOST_MESSAGES || (bytes > MOST_BYTES && messages > 1);
        if !has_expired && !has_no_room {
            break;
        }
        conn.prepare_cached("DELETE FROM broadcast WHERE seq = ?1")?.execute([seq])?;
        if !has_expired {
            conn.prepare_cached("INSERT OR REPLACE INTO broadcast_lost (exchange, seq) VALUES (?1, ?2)")?
                .execute(params![exchange, seq])?;
        }
        (messages, bytes) = (messages - 1, bytes - size);
        (gone, gone_bytes) = (gone + 1, gone_bytes + size);
    }
    if gone > 0 {
        add_size(conn, -gone, -gone_bytes)?;
    }
    Ok(())
}

fn bytes_of(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(row.get_ref(column)?.as_bytes().unwrap_or_default().to_vec())
}

fn last(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT coalesce(max(seq), 0) FROM broadcast")?.query_row([], |row| row.get(0))
}

/// Reads what a mailbox hears that has read up to `cursor`. Of more than `capacity` messages the oldest are left out.
pub(crate) fn read(
    conn: &Connection,
    now: i64,
    hearing: &Hearing,
    cursor: i64,
    capacity: usize,
) -> rusqlite::Result<Heard> {
    let end = last(conn)?;
    let lost = conn
        .prepare_cached("SELECT seq FROM broadcast_lost WHERE exchange = ?1")?
        .query_row([&hearing.exchange], |row| row.get::<_, i64>(0))
        .optional()?
        .filter(|lost| *lost > cursor);
    let mut heard = Heard { cursor: cursor.max(lost.unwrap_or(cursor)), missed: lost.is_some(), ..Heard::default() };
    if end <= heard.cursor {
        return Ok(heard);
    }
    let mut waiting: VecDeque<i64> = VecDeque::new();
    let mut select = conn.prepare_cached(
        "SELECT seq, routing_key FROM broadcast WHERE seq > ?1 AND seq <= ?2 AND exchange = ?3 AND at > ?4 ORDER BY seq",
    )?;
    let mut rows = select.query(params![heard.cursor, end, hearing.exchange, now.saturating_sub(hearing.ttl)])?;
    while let Some(row) = rows.next()? {
        if hearing.hears(row.get_ref(1)?.as_str().unwrap_or_default()) {
            waiting.push_back(row.get(0)?);
            if waiting.len() > capacity.max(1) {
                waiting.pop_front();
                heard.missed = true;
            }
        }
    }
    let mut bytes = 0;
    let mut select =
        conn.prepare_cached("SELECT routing_key, headers, properties, body FROM broadcast WHERE seq = ?1")?;
    while heard.messages.len() < READ_MESSAGES
        && bytes < READ_BYTES
        && let Some(seq) = waiting.pop_front()
    {
        let found = select
            .query_row([seq], |row| {
                let (headers, properties) = (bytes_of(row, 1)?, bytes_of(row, 2)?);
                Ok(StoredBroadcast { routing_key: row.get(0)?, headers, properties, body: bytes_of(row, 3)? })
            })
            .optional()?;
        match found {
            Some(message) => {
                bytes += message.headers.len() + message.body.len();
                heard.messages.push(message);
            }
            // It went meanwhile.
            None => heard.missed = true,
        }
        heard.cursor = seq;
    }
    if waiting.is_empty() {
        heard.cursor = end;
    }
    Ok(heard)
}
