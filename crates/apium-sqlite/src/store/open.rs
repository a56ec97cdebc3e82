//! Opens connections: with a write-ahead log, little memory, and a time to wait for other processes.

use std::path::Path;

use apium_transport::error::{Error, ErrorKind, Result};
use rusqlite::{Connection, OpenFlags};

use crate::errors::explain_opening;
use crate::options::FileOptions;
use crate::store::busy::BusyDeadline;
use crate::store::schema;

/// Pages of 4 KiB in the write-ahead log after which a commit moves them into the file.
const CHECKPOINT_PAGES: u32 = 4000;

/// Opens the file for the writer, and creates it and its tables when they are missing. All of that ends with one
/// deadline, after which the file counts as locked for too long.
pub(crate) fn writer(options: &FileOptions) -> Result<(Connection, BusyDeadline)> {
    let path = &options.path;
    check_path(path)?;
    let deadline = BusyDeadline::after(options.busy_timeout);
    let mut conn = open(path, OpenFlags::SQLITE_OPEN_CREATE, &deadline)?;
    let set = |conn: &Connection| -> rusqlite::Result<bool> {
        let mode: String = conn.query_row("PRAGMA journal_mode = wal", [], |row| row.get(0))?;
        conn.pragma_update(None, "synchronous", "NORMAL")?;
        conn.pragma_update(None, "cache_size", -4096)?;
        let _: i64 =
            conn.query_row(&format!("PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}"), [], |row| row.get(0))?;
        let _: i64 = conn.query_row("PRAGMA journal_size_limit = 67108864", [], |row| row.get(0))?;
        Ok(mode.eq_ignore_ascii_case("wal"))
    };
    if !set(&conn).map_err(|error| explain_opening(path, error))? {
        return Err(Error::new(
            ErrorKind::Refused,
            format!(
                "open the store {}: its file system cannot keep a write-ahead log; put it on a local disk",
                path.display()
            ),
        ));
    }
    schema::prepare(&mut conn, path)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok((conn, deadline))
}

/// Opens the file for reading. It must exist.
pub(crate) fn reader(options: &FileOptions) -> Result<(Connection, BusyDeadline)> {
    let path = &options.path;
    let deadline = BusyDeadline::after(options.busy_timeout);
    let conn = open(path, OpenFlags::empty(), &deadline)?;
    let set = |conn: &Connection| -> rusqlite::Result<()> {
        conn.pragma_update(None, "query_only", true)?;
        conn.pragma_update(None, "cache_size", -256)
    };
    set(&conn).map_err(|error| explain_opening(path, error))?;
    Ok((conn, deadline))
}

fn open(path: &Path, more: OpenFlags, deadline: &BusyDeadline) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let mut conn = Connection::open_with_flags(path, flags).map_err(|error| explain_opening(path, error))?;
    conn.busy_handler(Some(deadline.handler())).map_err(|error| explain_opening(path, error))?;
    Ok(conn)
}

fn check_path(path: &Path) -> Result<()> {
    let refuse = |kind, why: String| Err(Error::new(kind, format!("open the store {}: {why}", path.display())));
    if path.is_dir() {
        return refuse(ErrorKind::Refused, "it is a folder; name a file in it".to_owned());
    }
    match path.parent() {
        Some(folder) if !folder.is_dir() => {
            refuse(ErrorKind::NotFound, format!("the folder {} does not exist; make it first", folder.display()))
        }
        _ => Ok(()),
    }
}
