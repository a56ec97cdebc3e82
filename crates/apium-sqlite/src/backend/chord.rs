//! Counts the parts of chords, inside a transaction: what is counted, who may send the body, and how a chord ends.

use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::GroupDocument;
use apium_protocol::result::state::State;
use apium_transport::backend::chord::{ChordCount, ChordEnd, ChordHeader, ChordPart, ChordProgress, FIRED_FOR};
use apium_transport::backend::chord_results;
use apium_transport::backend::chord_results::CountedPart;
use apium_transport::error::{Error, ErrorKind};
use bytes::Bytes;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use crate::backend::results;
use crate::publish::message_row::Text;
use crate::store::result_row::{Id, id_of_column};
use crate::store::transaction::{Fault, Tx, TxResult};

/// The stage of a chord whose parts are counted.
const COUNTING: i64 = 0;
/// The stage of a chord whose body was sent.
const FIRED: i64 = 1;
/// The stage of a chord whose body was stored as failed.
const FAILED: i64 = 2;

/// The row of a chord, without its parts and its structure.
#[derive(Debug, Clone)]
struct Row {
    id: i64,
    stage: i64,
    size: Option<i64>,
    growth: i64,
    parts: i64,
    expires: Option<i64>,
    claim: Option<(String, i64)>,
}

impl Row {
    /// Whether all parts are counted.
    fn is_complete(&self) -> bool {
        self.size.is_some_and(|size| self.parts == size.saturating_add(self.growth))
    }

    /// Who may send the body now, if somebody has claimed that.
    fn claimant(&self, now: i64) -> Option<&str> {
        self.claim.as_ref().filter(|(_, until)| now < *until).map(|(claimant, _)| claimant.as_str())
    }
}

/// The chord of a group. An expired chord is deleted and not returned.
fn find(tx: &Tx<'_>, group: &str) -> TxResult<Option<Row>> {
    let row = tx
        .conn
        .prepare_cached(
            "SELECT id, stage, size, growth, parts, expires, claimant, claim_until FROM chord WHERE name = ?1",
        )?
        .query_row([group], |row| {
            let claim = row.get::<_, Option<String>>(6)?.zip(row.get(7)?);
            Ok(Row {
                id: row.get(0)?,
                stage: row.get(1)?,
                size: row.get(2)?,
                growth: row.get(3)?,
                parts: row.get(4)?,
                expires: row.get(5)?,
                claim,
            })
        })
        .optional()?;
    match row {
        Some(row) if row.expires.is_some_and(|expires| expires <= tx.now) => {
            delete_parts(tx, row.id)?;
            tx.conn.prepare_cached("DELETE FROM chord WHERE id = ?1")?.execute([row.id])?;
            Ok(None)
        }
        row => Ok(row),
    }
}

/// The chord of a group, created when it is missing.
fn find_or_make(tx: &Tx<'_>, group: &str) -> TxResult<Row> {
    if let Some(row) = find(tx, group)? {
        return Ok(row);
    }
    let mut insert = tx.conn.prepare_cached("INSERT INTO chord (name, stage, growth, parts) VALUES (?1, ?2, 0, 0)")?;
    let id = insert.insert(params![group, COUNTING])?;
    Ok(Row { id, stage: COUNTING, size: None, growth: 0, parts: 0, expires: None, claim: None })
}

fn write(tx: &Tx<'_>, row: &Row) -> TxResult<()> {
    let (claimant, until) = row.claim.as_ref().map(|(claimant, until)| (claimant, until)).unzip();
    tx.conn
        .prepare_cached(
            "UPDATE chord SET stage = ?2, size = ?3, growth = ?4, parts = ?5, expires = ?6, claimant = ?7, claim_until = ?8 \
             WHERE id = ?1",
        )?
        .execute(params![row.id, row.stage, row.size, row.growth, row.parts, row.expires, claimant, until])?;
    Ok(())
}

fn delete_parts(tx: &Tx<'_>, chord: i64) -> TxResult<()> {
    tx.conn.prepare_cached("DELETE FROM chord_part WHERE chord = ?1")?.execute([chord])?;
    tx.conn.prepare_cached("DELETE FROM chord_added WHERE chord = ?1")?.execute([chord])?;
    Ok(())
}

/// Opens a chord: sets its size, its structure and when it expires.
pub(crate) fn open(tx: &Tx<'_>, header: &ChordHeader) -> TxResult<()> {
    let row = find_or_make(tx, &header.group)?;
    if row.stage != COUNTING {
        return Ok(());
    }
    let size = i64::try_from(header.size).unwrap_or(i64::MAX);
    let expires = header.ttl.map(|ttl| tx.after(ttl));
    let structure = header.structure.as_ref().map(GroupDocument::to_json);
    tx.conn
        .prepare_cached("UPDATE chord SET size = ?2, expires = ?3, structure = ?4 WHERE id = ?1")?
        .execute(params![row.id, size, expires, structure.as_deref().map(Text)])?;
    Ok(())
}

/// Counts a part once. Returns the results of all parts to the one that may send the body.
pub(crate) fn part_done(tx: &Tx<'_>, part: &ChordPart) -> TxResult<ChordProgress> {
    let mut row = find_or_make(tx, &part.group)?;
    match row.stage {
        FIRED => return Ok(ChordProgress::Fired),
        FAILED => return Ok(ChordProgress::Waiting),
        _ => {}
    }
    let position = part.group_index.unwrap_or(i64::MAX);
    row.parts += tx
        .conn
        .prepare_cached(
            "INSERT OR IGNORE INTO chord_part (chord, place, task, state, result) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![row.id, position, Id::new(&part.task_id), part.state.as_str(), Text(part.result.as_bytes())])?
        as i64;
    if let Some(ttl) = part.ttl {
        row.expires = Some(tx.after(ttl));
    }
    let claims = row.is_complete() && row.claimant(tx.now).is_none_or(|claimant| claimant == part.claimant);
    if claims {
        row.claim = Some((part.claimant.clone(), tx.after(part.claim)));
    }
    write(tx, &row)?;
    if claims { join_results(tx, row.id, &part.group) } else { Ok(ChordProgress::Waiting) }
}

/// Joins the results of all parts of a chord.
fn join_results(tx: &Tx<'_>, chord: i64, group: &str) -> TxResult<ChordProgress> {
    let structure: Option<String> =
        tx.conn.prepare_cached("SELECT structure FROM chord WHERE id = ?1")?.query_row([chord], |row| row.get(0))?;
    let parts = parts(tx, chord, group)?;
    let Some(structure) = structure else { return Ok(chord_results::listed(parts)) };
    let header = GroupDocument::from_json(structure.as_bytes()).map_err(|error| {
        let text = format!("read how the results of the chord {group} nest: its row is damaged");
        Error::new(ErrorKind::Corrupt, text).with_source(error)
    })?;
    // An error of SQLite rolls back the whole transaction, so it must not become an error of this request alone.
    let mut sqlite_error = None;
    let stored = |id: &_| match results::fetch(tx.conn, id, tx.now) {
        Ok(found) => found.map(|(_, document)| document).transpose(),
        Err(error) => {
            sqlite_error = Some(error);
            Ok(None)
        }
    };
    let joined = chord_results::nested(&header.result, parts, stored);
    match sqlite_error {
        Some(error) => Err(Fault::Sqlite(error)),
        None => Ok(joined?),
    }
}

fn parts(tx: &Tx<'_>, chord: i64, group: &str) -> TxResult<Vec<CountedPart>> {
    let damaged = || Error::new(ErrorKind::Corrupt, format!("read a part of the chord {group}: its row is damaged"));
    let mut select =
        tx.conn.prepare_cached("SELECT task, state, result FROM chord_part WHERE chord = ?1 ORDER BY place, id")?;
    let mut rows = select.query([chord])?;
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        let task_id = id_of_column(row.get::<_, Value>(0)?).ok_or_else(damaged)?;
        let state = row.get_ref(1)?.as_str().map(State::from).map_err(|_| damaged())?;
        let result = row.get_ref(2)?.as_bytes().map_err(|_| damaged())?;
        let result = Json::from_bytes(Bytes::copy_from_slice(result)).map_err(|error| damaged().with_source(error))?;
        parts.push(CountedPart::new(task_id, state, result));
    }
    Ok(parts)
}

/// Adds a part to the size of a chord, once.
pub(crate) fn grow(tx: &Tx<'_>, group: &str, added: &TaskId, ttl: Option<Duration>) -> TxResult<()> {
    let mut row = find_or_make(tx, group)?;
    if row.stage == FIRED {
        return Ok(());
    }
    let mut insert = tx.conn.prepare_cached("INSERT OR IGNORE INTO chord_added (chord, task) VALUES (?1, ?2)")?;
    row.growth += insert.execute(params![row.id, Id::new(added)])? as i64;
    if let Some(ttl) = ttl {
        row.expires = Some(tx.after(ttl));
    }
    write(tx, &row)
}

/// How many parts of a chord are counted, of how many; `None` when it is not open or has ended.
pub(crate) fn count(conn: &Connection, group: &str, now: i64) -> rusqlite::Result<Option<ChordCount>> {
    conn.prepare_cached(
        "SELECT parts, size + growth FROM chord \
         WHERE name = ?1 AND stage = 0 AND size IS NOT NULL AND (expires IS NULL OR expires > ?2)",
    )?
    .query_row(params![group, now], |row| {
        let (done, size): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(ChordCount::new(done.cast_unsigned(), size.cast_unsigned()))
    })
    .optional()
}

/// Ends a chord for the one who claimed its body. `false` when the claim was lost.
pub(crate) fn end(tx: &Tx<'_>, group: &str, claimant: &str, how: ChordEnd) -> TxResult<bool> {
    match find(tx, group)? {
        Some(row) if row.claimant(tx.now) == Some(claimant) => end_chord(tx, row, how).map(|()| true),
        _ => Ok(false),
    }
}

/// Ends a chord whose body was claimed in this transaction.
pub(crate) fn end_now(tx: &Tx<'_>, group: &str, how: ChordEnd) -> TxResult<()> {
    match find(tx, group)? {
        Some(row) => end_chord(tx, row, how),
        None => Ok(()),
    }
}

fn end_chord(tx: &Tx<'_>, row: Row, how: ChordEnd) -> TxResult<()> {
    match how {
        ChordEnd::Failed => write(tx, &Row { stage: FAILED, ..row }),
        ChordEnd::Fired => {
            delete_parts(tx, row.id)?;
            tx.conn.prepare_cached("UPDATE chord SET structure = NULL WHERE id = ?1")?.execute([row.id])?;
            let expires = Some(tx.after(FIRED_FOR));
            write(tx, &Row { stage: FIRED, size: None, growth: 0, parts: 0, expires, claim: None, ..row })
        }
    }
}

/// Deletes expired chords; returns how many.
pub(crate) fn purge(tx: &mut Tx<'_>) -> TxResult<u64> {
    tx.conn
        .prepare_cached("DELETE FROM chord_part WHERE chord IN (SELECT id FROM chord WHERE expires <= ?1)")?
        .execute([tx.now])?;
    let purged = tx.conn.prepare_cached("DELETE FROM chord WHERE expires <= ?1")?.execute([tx.now])? as u64;
    // Also those of chords that a program of an older version deleted.
    tx.conn.prepare_cached("DELETE FROM chord_added WHERE chord NOT IN (SELECT id FROM chord)")?.execute([])?;
    Ok(purged)
}
