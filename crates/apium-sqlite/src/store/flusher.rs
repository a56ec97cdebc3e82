//! The flusher thread. SQLite commits without a flush (`synchronous = NORMAL`, which never damages the file). Requests
//! that must be durable are answered after this thread has flushed the write-ahead log. So the writer goes on while the
//! disk works, one flush serves all commits before it, and the file is not locked meanwhile, so that other processes
//! can write. An answer means the same as with `synchronous = FULL`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use apium_protocol::error::with_causes;
use apium_transport::error::{Error, ErrorKind};

use crate::crash_points::reached;
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
        let flushed = log.flush();
        reached("after-flush");
        if let Err(error) = &flushed {
            tracing::error!(path = %log.path.display(), error = %with_causes(&error), "could not flush the write-ahead log");
        }
        for Committed { requests, effects } in commits {
            for request in requests {
                let failed = flushed.as_ref().err().map(|error| log.explain(request.what(), error));
                request.answer(failed);
            }
            store.announce(&mut ringer, effects);
        }
    }
}

/// SQLite's write-ahead log. It stays the same file as long as a connection of this process is open.
struct Log {
    path: PathBuf,
    file: Option<File>,
}

impl Log {
    fn flush(&mut self) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::options().read(true).write(true).open(&self.path)?,
        };
        let flushed = file.sync_data();
        self.file = Some(file);
        flushed
    }

    fn explain(&self, what: &str, error: &io::Error) -> Error {
        let path = self.path.display();
        let context =
            format!("{what}: flush {path}: it is written, but may be lost when the power fails; check the disk");
        Error::new(ErrorKind::Other, context).with_source(io::Error::new(error.kind(), error.to_string()))
    }
}

/// The path of SQLite's write-ahead log of a file.
fn log_path(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push("-wal");
    name.into()
}
