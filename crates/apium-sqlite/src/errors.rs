//! Turns SQLite's errors into this project's: their kind, the file, and what the user can do.

use std::fmt;
use std::path::Path;

use apium_transport::error::{Error, ErrorKind};
use rusqlite::ErrorCode;

/// The error that `doing` failed on the file `path`.
pub(crate) fn explain(path: &Path, doing: &str, error: rusqlite::Error) -> Error {
    let (kind, advice) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Timeout, "another process has kept it locked for too long; try again")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            (ErrorKind::Corrupt, "the file is damaged; move it away, or save what `sqlite3 FILE .recover` finds")
        }
        Some(ErrorCode::NotADatabase) => (ErrorKind::Corrupt, "the file is no SQLite database; name another path"),
        Some(ErrorCode::DiskFull) => (ErrorKind::Refused, "the disk is full; make room and try again"),
        Some(ErrorCode::ReadOnly) => {
            (ErrorKind::Refused, "the file or its folder is read-only; make both writable for this user")
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            (ErrorKind::Refused, "it cannot be opened; check that the folder exists and that this user may write in it")
        }
        Some(ErrorCode::SystemIoFailure) => (ErrorKind::Other, "reading or writing the file failed; check the disk"),
        Some(ErrorCode::TooBig) => (ErrorKind::Refused, "the message is larger than SQLite can store (1 GB)"),
        _ => (ErrorKind::Other, "SQLite reported an unexpected error"),
    };
    Error::new(kind, format!("{doing} in {}: {advice}", path.display())).with_source(SqliteText(error))
}

/// An error of SQLite as a cause without further causes. rusqlite prints what SQLite said, and gives SQLite's general
/// text for the same code as the cause of that.
#[derive(Debug)]
pub(crate) struct SqliteText(pub(crate) rusqlite::Error);

impl fmt::Display for SqliteText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SqliteText {}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use apium_transport::error::ErrorKind;

    use super::explain;

    #[test]
    fn each_code_has_its_kind_and_names_the_file() {
        for (code, kind, word) in [
            (rusqlite::ffi::SQLITE_FULL, ErrorKind::Refused, "full"),
            (rusqlite::ffi::SQLITE_READONLY, ErrorKind::Refused, "read-only"),
            (rusqlite::ffi::SQLITE_CORRUPT, ErrorKind::Corrupt, "damaged"),
            (rusqlite::ffi::SQLITE_NOTADB, ErrorKind::Corrupt, "no SQLite database"),
            (rusqlite::ffi::SQLITE_BUSY, ErrorKind::Timeout, "another process"),
            (rusqlite::ffi::SQLITE_IOERR, ErrorKind::Other, "disk"),
        ] {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            let error = explain(Path::new("/var/q.db"), "publish", error);
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().starts_with("publish in /var/q.db: "), "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
