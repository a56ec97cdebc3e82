//! The flusher thread. SQLite commits without a flush (`synchronous = NORMAL`, which never damages the file). Requests
//! that must be durable are answered after this thread has flushed the write-ahead log. So the writer goes on while the
//! disk works, one flush serves all commits before it, and the file is not locked meanwhile, so that other processes
//! can write. An answer means the same as with `synchronous = FULL`.
//!
//! The first flush that fails is the last one: it closes the store for good (see `condition`). SQLite flushes the log
//! too, before it copies it into the file, and ignores it when that fails; the system tells this thread of the same
//! failure by its next flush.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use apium_protocol::error::with_causes;
use apium_transport::error::{Error, ErrorKind};

use crate::crash_points::reached;
use crate::faults::check_flush;
use crate::store::request::Committed;
use crate::store::store::Store;
use crate::wake::ringer::Ringer;

/// Commits that may wait for a flush; with more, the writer waits.
pub(crate) const MAX_UNFLUSHED: usize = 64;

/// Flushes and answers until the writer has ended.
pub(crate) fn run(store: &Store) {
    let mut log = Log { path: log_path(&store.options.path), file: None };
    let mut ringer = Ringer::new();
    let _close = store.flushes.close_on_drop();
    while let Some(commits) = store.flushes.take_all() {
        // A later flush may succeed although this one did not and the disk has lost what was written.
        let flushed = match store.condition.is_over() {
            true => Err(io::Error::other("an earlier flush failed")),
            false => log.flush(&store.options.path),
        };
        reached("after-flush");
        if let Err(error) = &flushed {
            tracing::error!(path = %log.path.display(), error = %with_causes(&error), "could not flush the write-ahead log");
            store.close_for_good(FAILED);
        }
        for Committed { requests, effects } in commits {
            let failed = |what| flushed.as_ref().err().map(|error| log.explain(what, error));
            for request in requests {
                let failed = failed(request.what());
                request.answer(failed);
            }
            if flushed.is_ok() {
                store.announce(&mut ringer, effects);
            }
        }
    }
}

/// Why the store is closed after a failed flush.
const FAILED: &str = "the write-ahead log could not be flushed; check the disk, then start again";

/// SQLite's write-ahead log. It stays the same file as long as a connection of this process is open.
struct Log {
    path: PathBuf,
    file: Option<File>,
}

impl Log {
    /// Flushes the log of the database `path`.
    fn flush(&mut self, path: &Path) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::options().read(true).write(true).open(&self.path)?,
        };
        let flushed = check_flush(path).and_then(|()| file.sync_data());
        self.file = Some(file);
        flushed
    }

    fn explain(&self, what: &str, error: &io::Error) -> Error {
        let path = self.path.display();
        let context = format!(
            "{what}: flush {path}: it was written, and the disk may have lost it; check the disk, then start again"
        );
        Error::new(ErrorKind::Unusable, context).with_source(io::Error::new(error.kind(), error.to_string()))
    }
}

/// The path of SQLite's write-ahead log of a file.
fn log_path(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push("-wal");
    name.into()
}
