//! Reads, writes and deletes the rows of results.

use std::sync::Arc;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::{RunVersion, StoreResult, may_replace};
use apium_transport::error::{Error, ErrorKind};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, params};

use crate::publish::message_row::Text;
use crate::store::result_row::{Id, ResultRow, id_of_column};
use crate::store::transaction::{Tx, TxResult};

/// Writes one record under the overwrite rule.
pub(crate) fn store(tx: &mut Tx<'_>, record: &Arc<ResultRow>) -> TxResult<StoreResult> {
    let document = &record.record.document;
    let old = find(tx, record)?;
    if let Some((_, Some(old))) = &old
        && !may_replace((&old.0, old.1), (&document.state, record.record.run))
    {
        return Ok(StoreResult::Refused);
    }
    let seq = tx.next_result();
    let expires = record.record.ttl.map(|ttl| tx.after(ttl));
    let (retries, delivery) = record.record.run.map(|run| (run.retries, run.delivery.cast_signed())).unzip();
    let state = document.state.as_str();
    match old {
        None => tx
            .conn
            .prepare_cached(
                "INSERT INTO result (seq, key, id, state, retries, delivery, expires, document) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![seq, record.key, record.id, state, retries, delivery, expires, Text(&record.json)])?,
        Some((old_seq, _)) => tx
            .conn
            .prepare_cached(
                "UPDATE result SET seq = ?1, state = ?3, retries = ?4, delivery = ?5, expires = ?6, document = ?7 \
                 WHERE seq = ?2",
            )?
            .execute(params![seq, old_seq, state, retries, delivery, expires, Text(&record.json)])?,
    };
    tx.effects.results.push((seq, record.clone()));
    Ok(StoreResult::Written)
}

/// The `seq` of a result, and its state and run unless it has expired.
type OldRow = (i64, Option<(State, Option<RunVersion>)>);

fn find(tx: &Tx<'_>, record: &ResultRow) -> TxResult<Option<OldRow>> {
    let mut select =
        tx.conn.prepare_cached("SELECT seq, id, state, retries, delivery, expires FROM result WHERE key = ?1")?;
    let mut rows = select.query([record.key])?;
    while let Some(row) = rows.next()? {
        if !record.id.is(row.get_ref(1)?) {
            continue;
        }
        let expires: Option<i64> = row.get(5)?;
        if expires.is_some_and(|expires| expires <= tx.now) {
            return Ok(Some((row.get(0)?, None)));
        }
        let state = row.get_ref(2)?.as_str().map_or(State::Pending, State::from);
        let run = match (row.get(3)?, row.get::<_, Option<i64>>(4)?) {
            (Some(retries), Some(delivery)) => Some(RunVersion::new(retries, delivery.cast_unsigned())),
            _ => None,
        };
        return Ok(Some((row.get(0)?, Some((state, run)))));
    }
    Ok(None)
}

/// A result as read: its `seq`, and its document or why that cannot be read.
pub(crate) type FoundResult = (i64, Result<ResultDocument, Error>);

fn decode(seq: i64, id: &dyn std::fmt::Display, json: ValueRef<'_>) -> FoundResult {
    let document = match json {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => ResultDocument::from_json(bytes),
        _ => ResultDocument::from_json(b""),
    };
    let document = document.map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("read the result of {id}: its row is damaged")).with_source(error)
    });
    (seq, document)
}

/// Reads the result of one id.
pub(crate) fn fetch(conn: &Connection, id: &TaskId, now: i64) -> rusqlite::Result<Option<FoundResult>> {
    let row_id = Id::new(id);
    let mut select = conn.prepare_cached("SELECT seq, id, expires, document FROM result WHERE key = ?1")?;
    let mut rows = select.query([row_id.key()])?;
    while let Some(row) = rows.next()? {
        if row_id.is(row.get_ref(1)?) {
            let expires: Option<i64> = row.get(2)?;
            let alive = expires.is_none_or(|expires| now < expires);
            return Ok(if alive { Some(decode(row.get(0)?, id, row.get_ref(3)?)) } else { None });
        }
    }
    Ok(None)
}

/// Reads the results of `ids` that are there.
pub(crate) fn fetch_all(conn: &Connection, ids: &[TaskId], now: i64) -> rusqlite::Result<Vec<(TaskId, FoundResult)>> {
    let mut found = Vec::new();
    for id in ids {
        if let Some(result) = fetch(conn, id, now)? {
            found.push((id.clone(), result));
        }
    }
    Ok(found)
}

/// The last `seq` of a result.
pub(crate) fn last_seq(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT result FROM counters WHERE one = 1")?.query_row([], |row| row.get(0))
}

/// Reads the results with a `seq` above `after` that `wanted` accepts. Also returns the last `seq` that was looked at.
pub(crate) fn newer(
    conn: &Connection,
    after: i64,
    wanted: impl Fn(&TaskId) -> bool,
) -> rusqlite::Result<(Vec<(TaskId, FoundResult)>, i64)> {
    let mut found = Vec::new();
    let mut last = after;
    let mut select = conn.prepare_cached("SELECT seq, id, document FROM result WHERE seq > ?1 ORDER BY seq")?;
    let mut rows = select.query([after])?;
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        if let Some(id) = id_of_column(row.get::<_, Value>(1)?).filter(|id| wanted(id)) {
            let document = decode(last, &id, row.get_ref(2)?);
            found.push((id, document));
        }
    }
    Ok((found, last))
}

/// Deletes the results of `ids`.
pub(crate) fn forget(tx: &mut Tx<'_>, ids: &[Id]) -> TxResult<()> {
    let mut delete = tx.conn.prepare_cached("DELETE FROM result WHERE key = ?1 AND id = ?2")?;
    for id in ids {
        delete.execute(params![id.key(), id])?;
    }
    Ok(())
}

/// Rows that one transaction of a purge looks at.
const PURGE_STEP: i64 = 5000;

/// Deletes the expired results among the next rows with a `seq` above `after`, a bounded number. Returns how many were
/// deleted, and the `seq` to go on from if there are more.
pub(crate) fn purge_step(tx: &mut Tx<'_>, after: i64) -> TxResult<(u64, Option<i64>)> {
    let last: Option<i64> = tx
        .conn
        .prepare_cached("SELECT max(seq) FROM (SELECT seq FROM result WHERE seq > ?1 ORDER BY seq LIMIT ?2)")?
        .query_row([after, PURGE_STEP], |row| row.get(0))?;
    let Some(last) = last else { return Ok((0, None)) };
    let deleted = tx
        .conn
        .prepare_cached("DELETE FROM result WHERE seq > ?1 AND seq <= ?2 AND expires <= ?3")?
        .execute([after, last, tx.now])?;
    Ok((deleted as u64, Some(last)))
}

/// Deletes expired groups; returns how many.
pub(crate) fn purge_groups(tx: &mut Tx<'_>) -> TxResult<u64> {
    Ok(tx.conn.prepare_cached("DELETE FROM saved_group WHERE expires <= ?1")?.execute([tx.now])? as u64)
}
