//! Turns SQLite's errors into this project's: their kind, the file, what becomes of what was to be done, and what the
//! user can do. [`CLASSES`] is the one table of them. The page `docs/SQLITE.md` shows it.

use std::path::Path;
use std::{fmt, io};

use apium_transport::error::{Error, ErrorKind};
use rusqlite::ffi;

/// What becomes of what was to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// It is tried again, and the health is red until something was written.
    TriedAgain,
    /// The message or the result that was to be written cannot be: this is its end, and everything else goes on.
    EndOfMessage,
    /// The store closes itself for good, and its worker stops in order.
    EndOfStore,
}

/// A class of errors of SQLite.
pub(crate) struct Class {
    /// Its name in the documentation.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test holds the documentation to it"))]
    name: &'static str,
    /// The primary and extended codes of SQLite. An extended code wins over its primary code.
    codes: &'static [i32],
    kind: ErrorKind,
    /// What the kind is while the store is being opened, where it is another one.
    opening: Option<ErrorKind>,
    consequence: Consequence,
    /// What happened, and what to do.
    advice: &'static str,
}

/// The classes. An error that is in none of them is of [`OTHER`].
const CLASSES: &[Class] = &[
    Class {
        name: "full disk",
        // The index of the write-ahead log is a file that grows too.
        codes: &[ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE],
        kind: ErrorKind::Unavailable,
        opening: None,
        consequence: Consequence::TriedAgain,
        advice: "the disk is full; make room",
    },
    Class {
        name: "locked",
        codes: &[ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED, ffi::SQLITE_PROTOCOL],
        kind: ErrorKind::Timeout,
        opening: None,
        consequence: Consequence::TriedAgain,
        advice: "another process has kept it locked for too long; see which one has the file open",
    },
    Class {
        name: "failed flush",
        codes: &[ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC],
        kind: ErrorKind::Unusable,
        opening: None,
        consequence: Consequence::EndOfStore,
        advice: "the disk did not take what was written, and some of it may be lost; check the disk, then start again",
    },
    Class {
        name: "damaged",
        codes: &[ffi::SQLITE_CORRUPT, ffi::SQLITE_IOERR_CORRUPTFS, ffi::SQLITE_IOERR_DATA],
        kind: ErrorKind::Corrupt,
        opening: None,
        consequence: Consequence::EndOfStore,
        advice: "the file is damaged; move it away, or save what `sqlite3 FILE .recover` finds",
    },
    Class {
        name: "no database",
        codes: &[ffi::SQLITE_NOTADB],
        kind: ErrorKind::Corrupt,
        opening: None,
        consequence: Consequence::EndOfStore,
        advice: "the file is no SQLite database; name another path",
    },
    Class {
        name: "I/O error",
        codes: &[ffi::SQLITE_IOERR],
        kind: ErrorKind::Unavailable,
        opening: None,
        consequence: Consequence::TriedAgain,
        advice: "reading or writing the file failed; check the disk and its quota",
    },
    Class {
        name: "read-only",
        codes: &[ffi::SQLITE_READONLY],
        kind: ErrorKind::Unavailable,
        opening: Some(ErrorKind::Refused),
        consequence: Consequence::TriedAgain,
        advice: "the file or its folder is read-only; make both writable for this user",
    },
    Class {
        name: "not opened",
        codes: &[ffi::SQLITE_CANTOPEN, ffi::SQLITE_PERM, ffi::SQLITE_AUTH],
        kind: ErrorKind::Unavailable,
        opening: Some(ErrorKind::Refused),
        consequence: Consequence::TriedAgain,
        advice: "it cannot be opened; check that the folder exists and that this user may write in it",
    },
    Class {
        name: "no memory",
        codes: &[ffi::SQLITE_NOMEM],
        kind: ErrorKind::Unavailable,
        opening: None,
        consequence: Consequence::TriedAgain,
        advice: "the system gave SQLite no memory",
    },
    Class {
        name: "too large",
        codes: &[ffi::SQLITE_TOOBIG],
        kind: ErrorKind::TooLarge,
        opening: None,
        consequence: Consequence::EndOfMessage,
        advice: "a message or a result is larger than SQLite can store (1 GB)",
    },
];

/// The class of all other errors.
const OTHER: Class = Class {
    name: "any other",
    codes: &[],
    kind: ErrorKind::Other,
    opening: None,
    consequence: Consequence::EndOfMessage,
    advice: "SQLite reported an unexpected error",
};

impl Class {
    /// The class of an error.
    pub(crate) fn of(error: &rusqlite::Error) -> &'static Self {
        let Some(code) = error.sqlite_error().map(|error| error.extended_code) else { return &OTHER };
        let has = |code: i32| CLASSES.iter().find(|class| class.codes.contains(&code));
        // The lower byte of an extended code is its primary code.
        has(code).or_else(|| has(code & 0xff)).unwrap_or(&OTHER)
    }

    /// What becomes of what was to be done.
    pub(crate) fn consequence(&self) -> Consequence {
        self.consequence
    }

    /// What happened, and what to do.
    pub(crate) fn advice(&self) -> &'static str {
        self.advice
    }

    fn error(&self, kind: ErrorKind, path: &Path, doing: &str, error: rusqlite::Error) -> Error {
        let mut context = format!("{doing} in {}: {}", path.display(), self.advice);
        // Other libraries read sqlite:///queue.db as a file in the present folder.
        if kind == ErrorKind::Refused && path.parent() == Some(Path::new("/")) {
            context.push_str("; the path of an address is absolute, so this file lies in the root folder");
        }
        Error::new(kind, context).with_source(SqliteText(error))
    }
}

/// The error that `doing` failed on the open file `path`.
pub(crate) fn explain(path: &Path, doing: &str, error: rusqlite::Error) -> Error {
    let class = Class::of(&error);
    class.error(class.kind, path, doing, error)
}

/// The error that the file `path` could not be opened.
pub(crate) fn explain_opening(path: &Path, error: rusqlite::Error) -> Error {
    let class = Class::of(&error);
    class.error(class.opening.unwrap_or(class.kind), path, "open the store", error)
}

/// The kind of an error of the system about a file beside the database.
pub(crate) fn kind_of_file_error(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotFound => {
            ErrorKind::Refused
        }
        _ => ErrorKind::Unavailable,
    }
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
    use rusqlite::ffi;

    use super::{CLASSES, Class, Consequence, OTHER, explain, explain_opening};

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn each_code_has_its_kind_and_names_the_file() {
        use Consequence::{EndOfMessage, EndOfStore, TriedAgain};
        for (code, kind, consequence, word) in [
            (ffi::SQLITE_FULL, ErrorKind::Unavailable, TriedAgain, "full"),
            (ffi::SQLITE_IOERR_SHMSIZE, ErrorKind::Unavailable, TriedAgain, "full"),
            (ffi::SQLITE_READONLY, ErrorKind::Unavailable, TriedAgain, "read-only"),
            (ffi::SQLITE_READONLY_DIRECTORY, ErrorKind::Unavailable, TriedAgain, "read-only"),
            (ffi::SQLITE_CORRUPT, ErrorKind::Corrupt, EndOfStore, "damaged"),
            (ffi::SQLITE_NOTADB, ErrorKind::Corrupt, EndOfStore, "no SQLite database"),
            (ffi::SQLITE_BUSY, ErrorKind::Timeout, TriedAgain, "another process"),
            (ffi::SQLITE_BUSY_SNAPSHOT, ErrorKind::Timeout, TriedAgain, "another process"),
            (ffi::SQLITE_IOERR, ErrorKind::Unavailable, TriedAgain, "disk"),
            (ffi::SQLITE_IOERR_WRITE, ErrorKind::Unavailable, TriedAgain, "disk"),
            (ffi::SQLITE_IOERR_FSYNC, ErrorKind::Unusable, EndOfStore, "lost"),
            (ffi::SQLITE_IOERR_DIR_FSYNC, ErrorKind::Unusable, EndOfStore, "lost"),
            (ffi::SQLITE_TOOBIG, ErrorKind::TooLarge, EndOfMessage, "larger"),
            (ffi::SQLITE_CONSTRAINT, ErrorKind::Other, EndOfMessage, "unexpected"),
        ] {
            let error = explain(Path::new("/var/q.db"), "publish", failure(code));
            assert_eq!(error.kind(), kind, "{code}");
            assert_eq!(Class::of(&failure(code)).consequence(), consequence, "{code}");
            assert!(error.to_string().starts_with("publish in /var/q.db: "), "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn a_file_that_may_not_be_written_is_refused_when_it_is_opened() {
        for code in [ffi::SQLITE_READONLY, ffi::SQLITE_CANTOPEN, ffi::SQLITE_PERM] {
            let error = explain_opening(Path::new("/var/q.db"), failure(code));
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().starts_with("open the store in /var/q.db: "), "{error}");
        }
        let error = explain_opening(Path::new("/q.db"), failure(ffi::SQLITE_CANTOPEN));
        assert!(error.to_string().contains("root folder"), "{error}");
        let error = explain_opening(Path::new("/var/q.db"), failure(ffi::SQLITE_FULL));
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/SQLITE.md");
        let page = std::fs::read_to_string(page).unwrap();
        let shown: Vec<&str> =
            page.lines().filter(|line| line.contains("| tried again") || line.contains("| end of")).collect();
        let row = |class: &Class| {
            let consequence = match class.consequence {
                Consequence::TriedAgain => "tried again",
                Consequence::EndOfMessage => "end of this message",
                Consequence::EndOfStore => "end of this worker",
            };
            let opening = class.opening.map_or_else(String::new, |kind| format!(" (while opening: `{kind:?}`)"));
            format!("| {} | {} | `{:?}`{opening} | {consequence} |", class.name, codes(class), class.kind)
        };
        let rows: Vec<String> = CLASSES.iter().chain([&OTHER]).map(row).collect();
        assert_eq!(shown, rows, "docs/SQLITE.md shows another table:\n{}", rows.join("\n"));
    }

    /// The names of the codes of a class.
    fn codes(class: &Class) -> String {
        let names: Vec<String> = class.codes.iter().map(|code| format!("`{}`", name(*code))).collect();
        if names.is_empty() { "the rest".to_owned() } else { names.join(", ") }
    }

    fn name(code: i32) -> &'static str {
        match code {
            ffi::SQLITE_FULL => "SQLITE_FULL",
            ffi::SQLITE_IOERR_SHMSIZE => "SQLITE_IOERR_SHMSIZE",
            ffi::SQLITE_BUSY => "SQLITE_BUSY",
            ffi::SQLITE_LOCKED => "SQLITE_LOCKED",
            ffi::SQLITE_PROTOCOL => "SQLITE_PROTOCOL",
            ffi::SQLITE_IOERR_FSYNC => "SQLITE_IOERR_FSYNC",
            ffi::SQLITE_IOERR_DIR_FSYNC => "SQLITE_IOERR_DIR_FSYNC",
            ffi::SQLITE_CORRUPT => "SQLITE_CORRUPT",
            ffi::SQLITE_IOERR_CORRUPTFS => "SQLITE_IOERR_CORRUPTFS",
            ffi::SQLITE_IOERR_DATA => "SQLITE_IOERR_DATA",
            ffi::SQLITE_NOTADB => "SQLITE_NOTADB",
            ffi::SQLITE_IOERR => "SQLITE_IOERR",
            ffi::SQLITE_READONLY => "SQLITE_READONLY",
            ffi::SQLITE_CANTOPEN => "SQLITE_CANTOPEN",
            ffi::SQLITE_PERM => "SQLITE_PERM",
            ffi::SQLITE_AUTH => "SQLITE_AUTH",
            ffi::SQLITE_NOMEM => "SQLITE_NOMEM",
            ffi::SQLITE_TOOBIG => "SQLITE_TOOBIG",
            other => panic!("the code {other} has no name here"),
        }
    }
}
