//! The thread that flushes the disk. A commit leaves SQLite without a flush (`synchronous = NORMAL` keeps the file sound in any
//! case); what promised to be durable is answered after this thread has flushed the write-ahead log behind it. So the writer
//! goes on while the disk works, one flush serves all commits before it, and the lock of the file is not held meanwhile:
//! other processes get their turn. Answers are as good as those of `synchronous = FULL`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use apium_transport::error::{Error, ErrorKind};

use crate::crash_points::reached;
use crate::store::request::Committed;
use crate::store::store::Store;
use crate::wake::ringer::Ringer;

/// Commits that may wait for a flush before the writer waits itself.
pub(crate) const AHEAD: usize = 64;

/// Flushes and answers until the writer has ended.
pub(crate) fn run(store: &Store) {
    let mut log = Log { path: log_path(&store.options.path), file: None };
    let mut ringer = Ringer::new();
    let _serving = store.flushes.serving();
    while let Some(commits) = store.flushes.take() {
        let flushed = log.flush();
        reached("after-flush");
        if let Err(error) = &flushed {
            tracing::error!(path = %log.path.display(), %error, "the log could not be flushed");
        }
        for Committed { jobs, effects } in commits {
            for job in jobs {
                let failed = flushed.as_ref().err().map(|error| log.explain(job.what(), error));
                job.finish(failed);
            }
            store.tell(&mut ringer, effects);
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
            format!("{what}: flush {path}; it is written but may be lost when the power fails; check the disk");
        Error::new(ErrorKind::Other, context).with_source(io::Error::new(error.kind(), error.to_string()))
    }
}

/// Where SQLite keeps the write-ahead log of a file.
fn log_path(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push("-wal");
    name.into()
}
