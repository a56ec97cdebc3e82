//! Creates the tables, adds those that an older file lacks, and refuses a file that is of another program or a newer
//! version.

use std::path::Path;

use apium_transport::error::{Error, ErrorKind, Result};
use rusqlite::{Connection, TransactionBehavior};

use crate::errors::explain_opening;

/// What each version adds to the version before. A program of an older version refuses to open a newer file; but one
/// that has it open already goes on using it, so a step must not change what earlier steps made.
const STEPS: [&str; 5] = [
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
];
/// The version of the tables, stored in `user_version`.
const VERSION: i64 = STEPS.len() as i64;
/// Says that the file is Apium's, stored in `application_id` ("Apiu").
const APPLICATION: i64 = 0x4170_6975;

/// Checks the version of the file, and creates the tables that it lacks.
pub(crate) fn prepare(conn: &mut Connection, path: &Path) -> Result<()> {
    let fail = |error| explain_opening(path, error);
    if read_version(conn).map_err(fail)?.steps(path)? == STEPS.len() {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    // Another process may have done it meanwhile.
    let made = read_version(&tx).map_err(fail)?.steps(path)?;
    for step in STEPS.iter().skip(made) {
        tx.execute_batch(step).map_err(fail)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION).map_err(fail)?;
    tx.pragma_update(None, "user_version", VERSION).map_err(fail)?;
    tx.commit().map_err(fail)
}

/// What a file says about its tables.
struct FileVersion {
    version: i64,
    application: i64,
    tables: i64,
}

fn read_version(conn: &Connection) -> rusqlite::Result<FileVersion> {
    let number = |sql| conn.query_row(sql, [], |row| row.get(0));
    Ok(FileVersion {
        version: number("PRAGMA user_version")?,
        application: number("PRAGMA application_id")?,
        tables: number("SELECT count(*) FROM sqlite_schema")?,
    })
}

impl FileVersion {
    /// How many steps the file has.
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
