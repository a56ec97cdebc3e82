//! Making the tables, and refusing a file whose tables are not ours.

use std::path::Path;

use apium_transport::error::{Error, ErrorKind, Result};
use rusqlite::{Connection, TransactionBehavior};

use crate::errors::explain;

/// The tables' version, kept in `user_version`.
const VERSION: i64 = 1;
/// Marks the file as Apium's, kept in `application_id` ("Apiu").
const APPLICATION: i64 = 0x4170_6975;
const TABLES: &str = include_str!("schema.sql");

/// Checks the file's version, and makes the tables in an empty file.
pub(crate) fn prepare(conn: &mut Connection, path: &Path) -> Result<()> {
    let fail = |error| explain(path, "open the store", error);
    if found(conn).map_err(fail)?.check(path)? {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    // Another process may have been quicker.
    if !found(&tx).map_err(fail)?.check(path)? {
        tx.execute_batch(TABLES).map_err(fail)?;
        tx.pragma_update(None, "application_id", APPLICATION).map_err(fail)?;
        tx.pragma_update(None, "user_version", VERSION).map_err(fail)?;
    }
    tx.commit().map_err(fail)
}

struct Found {
    version: i64,
    application: i64,
    tables: i64,
}

fn found(conn: &Connection) -> rusqlite::Result<Found> {
    let number = |sql| conn.query_row(sql, [], |row| row.get(0));
    Ok(Found {
        version: number("PRAGMA user_version")?,
        application: number("PRAGMA application_id")?,
        tables: number("SELECT count(*) FROM sqlite_schema")?,
    })
}

impl Found {
    /// Whether the tables are there.
    fn check(&self, path: &Path) -> Result<bool> {
        let path = path.display();
        if self.tables == 0 {
            return Ok(false);
        }
        if self.application != APPLICATION {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("open the store {path}: the file is a database of another program; name another path"),
            ));
        }
        if self.version != VERSION {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "open the store {path}: its tables have version {}, and this program knows version {VERSION}; \
                     use a release of Apium that knows it, or another file",
                    self.version
                ),
            ));
        }
        Ok(true)
    }
}
