//! A log of runs that survives `kill -9`: which process ran which number, and when. Celery's tasks (`faults.py`) write
//! the same format.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use apium_transport::clock::Clock;

/// A run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedRun {
    /// The number of the task.
    pub number: u64,
    /// The process that ran it.
    pub pid: u64,
    /// When, in microseconds.
    pub at: i64,
}

/// The size of an entry. It divides a page: a write that crosses the end of a page can be torn by `kill -9`, and all
/// later entries would be misread.
const SIZE: usize = 32;

/// The time as the log records it, in microseconds.
pub fn now() -> i64 {
    Clock::system().now().as_microsecond()
}

static OF_PROCESS: OnceLock<RunLog> = OnceLock::new();

/// Lets the tasks of this process write to the log at `path`.
pub fn log_to(path: &Path) -> io::Result<()> {
    // A process sets it once.
    let _ = OF_PROCESS.set(RunLog::open(path)?);
    Ok(())
}

/// Records a run of `number` in the log of this process, if it has one.
pub fn record_run(number: u64) -> io::Result<()> {
    OF_PROCESS.get().map_or(Ok(()), |log| log.record(number))
}

/// The log. Several processes may have it open.
#[derive(Debug)]
pub struct RunLog {
    path: PathBuf,
    file: File,
}

impl RunLog {
    /// Opens it.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: OpenOptions::new().create(true).append(true).open(path)? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records a run of `number` by this process.
    pub fn record(&self, number: u64) -> io::Result<()> {
        let mut entry = [0; SIZE];
        entry[..8].copy_from_slice(&number.to_le_bytes());
        entry[8..16].copy_from_slice(&u64::from(std::process::id()).to_le_bytes());
        entry[16..24].copy_from_slice(&now().to_le_bytes());
        (&self.file).write_all(&entry)
    }

    /// All runs so far.
    pub fn read(&self) -> io::Result<Vec<LoggedRun>> {
        let bytes = fs::read(&self.path)?;
        let word = |entry: &[u8], at: usize| entry[at..at + 8].try_into().map(u64::from_le_bytes).unwrap_or_default();
        let ran =
            |entry: &[u8]| LoggedRun { number: word(entry, 0), pid: word(entry, 8), at: word(entry, 16).cast_signed() };
        Ok(bytes.chunks_exact(SIZE).map(ran).collect())
    }

    /// The runs of each number.
    pub fn by_number(&self) -> io::Result<BTreeMap<u64, Vec<LoggedRun>>> {
        let mut all: BTreeMap<u64, Vec<LoggedRun>> = BTreeMap::new();
        for ran in self.read()? {
            all.entry(ran.number).or_default().push(ran);
        }
        Ok(all)
    }

    /// Runs of one number.
    pub fn runs_of(&self, number: u64) -> io::Result<Vec<LoggedRun>> {
        Ok(self.read()?.into_iter().filter(|ran| ran.number == number).collect())
    }

    /// Waits until `holds` is true of the runs, for `patience` at most; whether it became true.
    pub async fn wait(&self, patience: Duration, holds: impl Fn(&[LoggedRun]) -> bool) -> io::Result<bool> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            if holds(&self.read()?) {
                return Ok(true);
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchFolder;

    #[tokio::test]
    async fn runs_are_read_as_they_were_written() {
        let scratch = ScratchFolder::new().unwrap();
        let log = RunLog::open(&scratch.folder().join("runs")).unwrap();
        let before = now();
        log.record(7).unwrap();
        log.record(7).unwrap();
        let runs = log.runs_of(7).unwrap();
        assert_eq!(runs.len(), 2);
        assert!(runs[0].at >= before && runs[0].pid == u64::from(std::process::id()), "{runs:?}");
        assert!(log.wait(Duration::ZERO, |runs| runs.len() == 2).await.unwrap());
        assert!(!log.wait(Duration::ZERO, |runs| runs.len() == 3).await.unwrap());
    }
}
