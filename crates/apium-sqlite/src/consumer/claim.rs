//! Taking messages for a consumer, inside a transaction: the first rows of `ready` become rows of `claimed`.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use rusqlite::types::ValueRef;

use crate::publish::message_row::Stored;
use crate::publish::publish::promote;
use crate::store::topology::QueueRow;
use crate::store::transaction::{Done, Tx};

/// Bytes of messages after which a claim ends, so that large messages do not fill the memory.
const ENOUGH_BYTES: usize = 8 << 20;

/// What a claim found.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    pub(crate) letters: Vec<Stored>,
    /// When the next parked message of the store is due, in microseconds.
    pub(crate) next_due: Option<i64>,
}

/// Takes up to `max` messages of `queues` for `consumer`: the first of the first queue, then of the next.
pub(crate) fn claim(tx: &mut Tx<'_>, consumer: i64, queues: &[Arc<QueueRow>], max: usize) -> Done<Claimed> {
    let mut claimed = Claimed { letters: Vec::new(), next_due: promote(tx)? };
    let mut bytes = 0;
    for queue in queues {
        if claimed.letters.len() >= max || bytes >= ENOUGH_BYTES {
            break;
        }
        let room = i64::try_from(max - claimed.letters.len()).unwrap_or(i64::MAX);
        claim_queue(tx, consumer, queue, room, &mut claimed.letters, &mut bytes)?;
    }
    Ok(claimed)
}

fn claim_queue(
    tx: &mut Tx<'_>,
    consumer: i64,
    queue: &Arc<QueueRow>,
    room: i64,
    letters: &mut Vec<Stored>,
    bytes: &mut usize,
) -> Done<()> {
    let mut last = None;
    {
        let mut select = tx.conn.prepare_cached(
            "SELECT r.rank, r.message, r.fence, r.redelivered, m.exchange, m.routing_key, m.headers, m.properties, m.body \
             FROM ready r CROSS JOIN message m ON m.id = r.message \
             WHERE r.queue = ?1 ORDER BY r.rank LIMIT ?2",
        )?;
        let mut rows = select.query([queue.id, room])?;
        while let Some(row) = rows.next()? {
            let rank: i64 = row.get(0)?;
            let fence: i64 = row.get(2)?;
            let letter = Stored {
                id: row.get(1)?,
                fence: fence + 1,
                redelivered: row.get(3)?,
                queue: queue.name.clone(),
                exchange: text(row.get_ref(4)?),
                routing_key: text(row.get_ref(5)?),
                ..packed(row.get_ref(6)?, row.get_ref(7)?, row.get_ref(8)?)
            };
            *bytes += letter.bytes.len();
            letters.push(letter);
            last = Some(rank);
            if *bytes >= ENOUGH_BYTES {
                break;
            }
        }
    }
    let Some(last) = last else { return Ok(()) };
    tx.conn
        .prepare_cached(
            "INSERT INTO claimed (message, consumer, queue, rank, fence, crashes, redelivered) \
             SELECT message, ?3, queue, rank, fence + 1, crashes, redelivered FROM ready \
             WHERE queue = ?1 AND rank <= ?2 ORDER BY rank",
        )?
        .execute([queue.id, last, consumer])?;
    tx.conn.prepare_cached("DELETE FROM ready WHERE queue = ?1 AND rank <= ?2")?.execute([queue.id, last])?;
    Ok(())
}

/// The text of a column that may be null.
pub(crate) fn text(value: ValueRef<'_>) -> Option<Arc<str>> {
    value.as_str().ok().map(Arc::from)
}

/// Headers, properties and body in one piece of memory.
pub(crate) fn packed(headers: ValueRef<'_>, properties: ValueRef<'_>, body: ValueRef<'_>) -> Stored {
    let raw = |value| match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
        _ => None,
    };
    let is_message = raw(headers).is_some();
    let parts = [raw(headers), raw(properties), raw(body)].map(Option::unwrap_or_default);
    let mut bytes = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        bytes.put_slice(part);
    }
    Stored {
        id: 0,
        fence: 0,
        redelivered: false,
        queue: Arc::default(),
        exchange: None,
        routing_key: None,
        is_message,
        headers_len: parts[0].len(),
        properties_len: parts[1].len(),
        bytes: Bytes::from(bytes),
    }
}
