//! Moves messages to the dead set, inside a transaction.

use apium_transport::broker::consumer::Content;
use rusqlite::{OptionalExtension, params};

use crate::publish::message_row::StoredMessage;
use crate::publish::publish::QueuePosition;
use crate::publish::rank::priority_of;
use crate::store::transaction::{Tx, TxResult};

/// Moves a message that stands in no queue to the dead set.
pub(crate) fn dead_letter(tx: &mut Tx<'_>, position: QueuePosition, code: &str, reason: &str) -> TxResult<()> {
    let id = position.message;
    let (task_id, task) = tx
        .conn
        .prepare_cached("SELECT headers, properties, x'' FROM message WHERE id = ?1")?
        .query_row([id], |row| {
            Ok(id_and_name(&StoredMessage::from_columns(row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?)))
        })
        .optional()?
        .unwrap_or_default();
    tx.conn
        .prepare_cached(
            "INSERT INTO dead (code, reason, at, queue, priority, task_id, task, exchange, routing_key, headers, properties, body) \
             SELECT ?2, ?3, ?4, ?5, ?6, ?7, ?8, exchange, routing_key, headers, properties, body FROM message WHERE id = ?1",
        )?
        .execute(params![id, code, reason, tx.now, position.queue, priority_of(position.rank), task_id, task])?;
    tx.conn.prepare_cached("DELETE FROM message WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// The task's id and name, where they can be read.
fn id_and_name(message: &StoredMessage) -> (Option<String>, Option<String>) {
    match message.content() {
        Content::Message(message) => {
            let id = message.headers.id.as_ref().map(|id| id.as_str()).or(message.properties.correlation_id.as_deref());
            (id.map(str::to_owned), message.headers.task.as_deref().map(str::to_owned))
        }
        Content::Unreadable { .. } => (None, None),
    }
}
