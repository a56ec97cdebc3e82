//! Claims messages for a consumer, inside a transaction: the first rows of `ready` become rows of `claimed`.

use std::sync::Arc;

use crate::publish::message_row::{StoredMessage, optional_text};
use crate::publish::publish::promote_due;
use crate::store::topology::QueueRow;
use crate::store::transaction::{Tx, TxResult};

/// A claim ends with the message that brings it to so many bytes, so that large messages do not fill the memory.
const MAX_BYTES: usize = 8 << 20;

/// What a claim brought.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    pub(crate) messages: Vec<StoredMessage>,
    /// When the next delayed message of the store is due, in microseconds.
    pub(crate) next_due: Option<i64>,
}

/// Claims up to `max` messages of `queues` for `consumer`: first those of the first queue, then those of the next.
pub(crate) fn claim(tx: &mut Tx<'_>, consumer: i64, queues: &[Arc<QueueRow>], max: usize) -> TxResult<Claimed> {
    let mut claimed = Claimed { messages: Vec::new(), next_due: promote_due(tx)? };
    let mut bytes = 0;
    for queue in queues {
        if claimed.messages.len() >= max || bytes >= MAX_BYTES {
            break;
        }
        let limit = i64::try_from(max - claimed.messages.len()).unwrap_or(i64::MAX);
        claim_queue(tx, consumer, queue, limit, &mut claimed.messages, &mut bytes)?;
    }
    Ok(claimed)
}

fn claim_queue(
    tx: &mut Tx<'_>,
    consumer: i64,
    queue: &Arc<QueueRow>,
    limit: i64,
    messages: &mut Vec<StoredMessage>,
    bytes: &mut usize,
) -> TxResult<()> {
    let mut last = None;
    {
        let mut select = tx.conn.prepare_cached(
            "SELECT r.rank, r.message, r.fence, r.redelivered, r.crashes, m.exchange, m.routing_key, m.headers, m.properties, \
             m.body FROM ready r CROSS JOIN message m ON m.id = r.message \
             WHERE r.queue = ?1 ORDER BY r.rank LIMIT ?2",
        )?;
        let mut rows = select.query([queue.id, limit])?;
        while let Some(row) = rows.next()? {
            let rank: i64 = row.get(0)?;
            let fence: i64 = row.get(2)?;
            let message = StoredMessage {
                id: row.get(1)?,
                fence: fence + 1,
                redelivered: row.get(3)?,
                crashes: row.get(4)?,
                queue: queue.name.clone(),
                exchange: optional_text(row.get_ref(5)?),
                routing_key: optional_text(row.get_ref(6)?),
                ..StoredMessage::from_columns(row.get_ref(7)?, row.get_ref(8)?, row.get_ref(9)?)
            };
            *bytes += message.bytes.len();
            messages.push(message);
            last = Some(rank);
            if *bytes >= MAX_BYTES {
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
