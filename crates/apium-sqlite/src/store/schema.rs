//! Making the tables, adding what an older file lacks, and refusing a file whose tables are not ours.

use std::path::Path;

use apium_transport::error::{Error, ErrorKind, Result};
use rusqlite::{Connection, TransactionBehavior};

use crate::errors::explain;

/// What each version added to the one before. A program of an older version refuses a file of a newer one when it opens it; what it
/// had opened before goes on, so a step must not change what the steps before it made.
const STEPS: [&str; 2] = [include_str!("schema.sql"), include_str!("schema_2.sql")];
/// The tables' version, kept in `user_version`.
const VERSION: i64 = STEPS.len() as i64;
/// Marks the file as Apium's, kept in `application_id` ("Apiu").
const APPLICATION: i64 = 0x4170_6975;

/// Checks the file's version; makes the tables in an empty file, and in an older one those that it lacks.
pub(crate) fn prepare(conn: &mut Connection, path: &Path) -> Result<()> {
    let fail = |error| explain(path, "open the store", error);
    if found(conn).map_err(fail)?.steps(path)? == STEPS.len() {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    // Another process may have been quicker.
    let made = found(&tx).map_err(fail)?.steps(path)?;
    for step in STEPS.iter().skip(made) {
        tx.execute_batch(step).map_err(fail)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION).map_err(fail)?;
    tx.pragma_update(None, "user_version", VERSION).map_err(fail)?;
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
    /// How many steps were made.
    fn steps(&self, path: &Path) -> Result<usize> {
        let path = path.display();
        if self.tables == 0 {
            return Ok(0);
        }
        if self.application != APPLICATION {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("open the store {path}: the file is a database of another program; name another path"),
            ));
        }
        match usize::try_from(self.version) {
            Ok(steps) if (1..=STEPS.len()).contains(&steps) => Ok(steps),
            _ => Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "open the store {path}: its tables have version {}, and this program knows versions up to {VERSION}; \
                     use a release of Apium that knows it, or another file",
                    self.version
                ),
            )),
        }
    }
}
