//! What all workers share: one table for all topics, and how many records each has.

use apium_protocol::json::text::Json;
use apium_transport::broker::fleet::{FleetLimits, FleetRecord, FleetRecords, FleetTopic};
use apium_transport::error::{Error, ErrorKind, Result};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::broker::SqliteBroker;
use crate::publish::message_row::{Text, instant};
use crate::store::request::RequestCost;
use crate::store::transaction::{Tx, TxResult};

/// How many records one request writes, drops or removes at most.
const BATCH: usize = 1000;

const PUT: &str = "write what all workers share";
const REMOVE: &str = "remove what all workers share";
const LIST: &str = "read what all workers share";

/// A record as a row has it: key, time, value.
type Row = (String, i64, Vec<u8>);

fn add_size(conn: &Connection, topic: &str, records: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO fleet_size (topic, records) VALUES (?1, ?2) \
         ON CONFLICT (topic) DO UPDATE SET records = records + excluded.records",
    )?
    .execute(params![topic, records])?;
    Ok(())
}

/// Writes records.
fn put(tx: &Tx<'_>, topic: &str, records: &[FleetRecord]) -> TxResult<()> {
    let mut added = 0;
    for FleetRecord { key, value, at, .. } in records {
        let is_there =
            tx.conn.prepare_cached("SELECT 1 FROM fleet WHERE topic = ?1 AND key = ?2")?.exists([topic, key])?;
        tx.conn
            .prepare_cached("INSERT OR REPLACE INTO fleet (topic, key, at, value) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![topic, key, at.as_microsecond(), Text(value.as_bytes())])?;
        added += i64::from(!is_there);
    }
    if added > 0 {
        add_size(tx.conn, topic, added)?;
    }
    Ok(())
}

/// Deletes the oldest records of those before `before`, at most `most`.
fn delete_oldest(tx: &Tx<'_>, topic: &str, before: i64, most: usize) -> TxResult<usize> {
    let mut select =
        tx.conn.prepare_cached("SELECT key FROM fleet WHERE topic = ?1 AND at < ?2 ORDER BY at, key LIMIT ?3")?;
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let keys: Vec<String> =
        select.query_map(params![topic, before, limit], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    remove(tx, topic, &keys)
}

/// Drops what the limits say, a part of it. Returns how many were dropped for lack of room, and whether more must go.
fn limit(tx: &Tx<'_>, topic: &str, limits: FleetLimits) -> TxResult<(usize, bool)> {
    if limits.keep.is_some() {
        let oldest = limits.oldest(instant(tx.now)).as_microsecond();
        if delete_oldest(tx, topic, oldest, BATCH)? == BATCH {
            return Ok((0, true));
        }
    }
    let size: Option<i64> = tx
        .conn
        .prepare_cached("SELECT records FROM fleet_size WHERE topic = ?1")?
        .query_row([topic], |row| row.get(0))
        .optional()?;
    let over = usize::try_from(size.unwrap_or(0)).unwrap_or(0).saturating_sub(limits.most);
    if over == 0 {
        return Ok((0, false));
    }
    let dropped = delete_oldest(tx, topic, i64::MAX, over.min(BATCH))?;
    Ok((dropped, dropped < over && dropped > 0))
}

fn remove(tx: &Tx<'_>, topic: &str, keys: &[String]) -> TxResult<usize> {
    let mut removed = 0;
    for key in keys {
        removed += tx.conn.prepare_cached("DELETE FROM fleet WHERE topic = ?1 AND key = ?2")?.execute([topic, key])?;
    }
    if removed > 0 {
        add_size(tx.conn, topic, -i64::try_from(removed).unwrap_or(i64::MAX))?;
    }
    Ok(removed)
}

fn rows_since(conn: &Connection, topic: &str, from: i64) -> rusqlite::Result<Vec<Row>> {
    let mut select =
        conn.prepare_cached("SELECT key, at, value FROM fleet WHERE topic = ?1 AND at >= ?2 ORDER BY at, key")?;
    let row = |row: &rusqlite::Row<'_>| {
        Ok((row.get(0)?, row.get(1)?, row.get_ref(2)?.as_bytes().unwrap_or_default().to_vec()))
    };
    select.query_map(params![topic, from], row)?.collect()
}

impl FleetRecords for SqliteBroker {
    fn put<'a>(
        &'a self,
        topic: FleetTopic,
        records: Vec<FleetRecord>,
        limits: FleetLimits,
    ) -> BoxFuture<'a, Result<usize>> {
        Box::pin(async move {
            let topic = topic.name();
            let mut batches: Vec<Vec<FleetRecord>> = records.chunks(BATCH).map(<[_]>::to_vec).collect();
            batches.reverse();
            let mut dropped = 0;
            loop {
                let batch = batches.pop().unwrap_or_default();
                let cost = RequestCost::durable(batch.len() + 1);
                let operation = move |tx: &mut Tx<'_>| {
                    put(tx, topic, &batch)?;
                    limit(tx, topic, limits)
                };
                let (gone, has_more) = self.handle().write(PUT, cost, operation).await?;
                dropped += gone;
                if !has_more && batches.is_empty() {
                    return Ok(dropped);
                }
            }
        })
    }

    fn remove<'a>(&'a self, topic: FleetTopic, keys: &'a [String]) -> BoxFuture<'a, Result<usize>> {
        Box::pin(async move {
            let topic = topic.name();
            self.handle().check_open(REMOVE)?;
            let mut removed = 0;
            for keys in keys.chunks(BATCH) {
                let keys = keys.to_vec();
                let cost = RequestCost::durable(keys.len());
                removed += self.handle().write(REMOVE, cost, move |tx: &mut Tx<'_>| remove(tx, topic, &keys)).await?;
            }
            Ok(removed)
        })
    }

    fn list(
        &self,
        topic: FleetTopic,
        since: Option<Timestamp>,
        limits: FleetLimits,
    ) -> BoxFuture<'_, Result<Vec<FleetRecord>>> {
        Box::pin(async move {
            let topic = topic.name();
            let reading = move |conn: &Connection, now| {
                let oldest = limits.oldest(instant(now));
                let from = since.map_or(oldest, |since| since.max(oldest));
                rows_since(conn, topic, from.as_microsecond())
            };
            let rows = self.handle().read(LIST, reading).await?;
            let record = |(key, at, value): Row| match Json::from_bytes(value.into()) {
                Ok(value) => Ok(FleetRecord::new(key, value, instant(at))),
                Err(error) => {
                    let text = format!("{LIST}: the value of {key:?} in the table fleet is no JSON; delete the row");
                    Err(Error::new(ErrorKind::Corrupt, text).with_source(error))
                }
            };
            rows.into_iter().map(record).collect()
        })
    }
}
