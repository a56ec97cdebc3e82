//! Moving messages into the dead set, inside a transaction.

use apium_transport::broker::consumer::Content;
use rusqlite::{OptionalExtension, params};

use crate::consumer::claim::packed;
use crate::publish::message_row::Stored;
use crate::publish::publish::Place;
use crate::publish::rank::priority_of;
use crate::store::transaction::{Done, Tx};

/// Moves a message that is in no queue into the dead set.
pub(crate) fn bury(tx: &mut Tx<'_>, place: Place, code: &str, reason: &str) -> Done<()> {
    let id = place.message;
    let (task_id, task) = tx
        .conn
        .prepare_cached("SELECT headers, properties, x'' FROM message WHERE id = ?1")?
        .query_row([id], |row| Ok(names(&packed(row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?))))
        .optional()?
        .unwrap_or_default();
    tx.conn
        .prepare_cached(
            "INSERT INTO dead (code, reason, at, queue, priority, task_id, task, exchange, routing_key, headers, properties, body) \
             SELECT ?2, ?3, ?4, ?5, ?6, ?7, ?8, exchange, routing_key, headers, properties, body FROM message WHERE id = ?1",
        )?
        .execute(params![id, code, reason, tx.now, place.queue, priority_of(place.rank), task_id, task])?;
    tx.conn.prepare_cached("DELETE FROM message WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// The task's id and name, where they can be read.
fn names(stored: &Stored) -> (Option<String>, Option<String>) {
    match stored.content() {
        Content::Message(message) => {
            let id = message.headers.id.as_ref().map(|id| id.as_str()).or(message.properties.correlation_id.as_deref());
            (id.map(str::to_owned), message.headers.task.as_deref().map(str::to_owned))
        }
        Content::Unreadable { .. } => (None, None),
    }
}
