//! Result documents in the server: writing, reading, deleting.

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_transport::backend::backend::{ResultRecord, StoreResult};
use apium_transport::error::Result;
use bytes::Bytes;
use redis::Value;

use crate::backend::document;
use crate::connection::commands::CommandConnection;
use crate::errors::unexpected_reply;
use crate::keys::result_keys::ResultKeys;
use crate::scripts::result_args::RecordArgs;
use crate::scripts::script::STORE;

/// How many records are in one call of the script at most.
const RECORDS: usize = 1024;

/// How many bytes are in one call of the script at most: the server does nothing else meanwhile.
const BYTES: usize = 4 << 20;

/// How many keys are in one command at most.
const KEYS: usize = 512;

/// Stores records in order. A record is refused if a newer run has written the result already.
pub(crate) async fn store(
    connection: &CommandConnection,
    keys: &ResultKeys,
    records: Vec<ResultRecord>,
) -> Result<Vec<StoreResult>> {
    let mut stored = Vec::with_capacity(records.len());
    let (mut batch, mut size) = (Vec::new(), 0);
    for record in records {
        let record = RecordArgs::new(keys, record);
        if !batch.is_empty() && (batch.len() == RECORDS || size + record.size() > BYTES) {
            store_batch(connection, std::mem::take(&mut batch), &mut stored).await?;
            size = 0;
        }
        size += record.size();
        batch.push(record);
    }
    if !batch.is_empty() {
        store_batch(connection, batch, &mut stored).await?;
    }
    Ok(stored)
}

async fn store_batch(
    connection: &CommandConnection,
    batch: Vec<RecordArgs>,
    stored: &mut Vec<StoreResult>,
) -> Result<()> {
    let what = "store results";
    let fill = |command: &mut redis::Cmd| {
        command.arg(1).arg(batch.first().map(|record| &record.key));
        batch.iter().for_each(|record| record.append_to(command));
    };
    let Value::BulkString(written) = connection.script(what, &STORE, fill).await? else {
        return Err(unexpected_reply(what));
    };
    if written.len() != batch.len() {
        return Err(unexpected_reply(what));
    }
    stored.extend(
        written.iter().map(|written| if *written == b'1' { StoreResult::Written } else { StoreResult::Refused }),
    );
    Ok(())
}

/// Reads the values of `keys` as they are stored.
pub(crate) async fn read(connection: &CommandConnection, what: &str, keys: &[String]) -> Result<Vec<Option<Bytes>>> {
    let mut found = Vec::with_capacity(keys.len());
    for keys in keys.chunks(KEYS) {
        let answer = connection.command(what, redis::cmd("MGET").arg(keys)).await?;
        let Value::Array(values) = answer else { return Err(unexpected_reply(what)) };
        if values.len() != keys.len() {
            return Err(unexpected_reply(what));
        }
        for value in values {
            found.push(match value {
                Value::BulkString(bytes) => Some(Bytes::from(bytes)),
                Value::Nil => None,
                _ => return Err(unexpected_reply(what)),
            });
        }
    }
    Ok(found)
}

/// Reads the documents of `ids`.
pub(crate) async fn fetch(
    connection: &CommandConnection,
    keys: &ResultKeys,
    ids: &[TaskId],
) -> Result<Vec<Option<ResultDocument>>> {
    let names: Vec<String> = ids.iter().map(|id| keys.task(id)).collect();
    let found = read(connection, "read results", &names).await?;
    let decode = |(key, bytes): (&String, Option<Bytes>)| bytes.map(|bytes| document::result(key, &bytes)).transpose();
    names.iter().zip(found).map(decode).collect()
}

/// Deletes keys.
pub(crate) async fn delete(connection: &CommandConnection, what: &str, keys: &[String]) -> Result<()> {
    for keys in keys.chunks(KEYS) {
        connection.command(what, redis::cmd("DEL").arg(keys)).await?;
    }
    Ok(())
}
