//! A log of executions that survives `kill -9`: who ran which number, and when. Apium's tasks and Celery's (`faults.py`) write the same.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use apium_transport::clock::Clock;

/// A run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// The number of the task.
    pub number: u64,
    /// The process that ran it.
    pub pid: u64,
    /// When, in microseconds.
    pub at: i64,
}

/// A part of a page: a write that crosses the end of one can be torn by `kill -9`, and all behind it would be read askew.
const SIZE: usize = 32;

/// The time as the log has it.
pub fn now() -> i64 {
    Clock::system().now().as_microsecond()
}

static OF_PROCESS: OnceLock<RunLog> = OnceLock::new();

/// From now on the tasks of this process write to the log at `path`.
pub fn log_to(path: &Path) -> io::Result<()> {
    // Set once in the life of a process.
    let _ = OF_PROCESS.set(RunLog::open(path)?);
    Ok(())
}

/// Notes a run of `number` in the log of this process, if it has one.
pub fn note_run(number: u64) -> io::Result<()> {
    OF_PROCESS.get().map_or(Ok(()), |log| log.note(number))
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

    /// Notes a run of `number` by this process.
    pub fn note(&self, number: u64) -> io::Result<()> {
        let mut entry = [0; SIZE];
        entry[..8].copy_from_slice(&number.to_le_bytes());
        entry[8..16].copy_from_slice(&u64::from(std::process::id()).to_le_bytes());
        entry[16..24].copy_from_slice(&now().to_le_bytes());
        (&self.file).write_all(&entry)
    }

    /// All runs so far.
    pub fn read(&self) -> io::Result<Vec<Ran>> {
        let bytes = fs::read(&self.path)?;
        let word = |entry: &[u8], at: usize| entry[at..at + 8].try_into().map(u64::from_le_bytes).unwrap_or_default();
        let ran = |entry: &[u8]| Ran { number: word(entry, 0), pid: word(entry, 8), at: word(entry, 16).cast_signed() };
        Ok(bytes.chunks_exact(SIZE).map(ran).collect())
    }

    /// The runs of each number.
    pub fn by_number(&self) -> io::Result<BTreeMap<u64, Vec<Ran>>> {
        let mut all: BTreeMap<u64, Vec<Ran>> = BTreeMap::new();
        for ran in self.read()? {
            all.entry(ran.number).or_default().push(ran);
        }
        Ok(all)
    }

    /// Runs of one number.
    pub fn runs_of(&self, number: u64) -> io::Result<Vec<Ran>> {
        Ok(self.read()?.into_iter().filter(|ran| ran.number == number).collect())
    }

    /// Waits until `pleases`, for `patience` at the most; whether it did.
    pub async fn wait(&self, patience: Duration, pleases: impl Fn(&[Ran]) -> bool) -> io::Result<bool> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            if pleases(&self.read()?) {
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
    use crate::place::Place;

    #[tokio::test]
    async fn runs_are_read_as_they_were_written() {
        let place = Place::new().unwrap();
        let log = RunLog::open(&place.folder().join("runs")).unwrap();
        let before = now();
        log.note(7).unwrap();
        log.note(7).unwrap();
        let runs = log.runs_of(7).unwrap();
        assert_eq!(runs.len(), 2);
        assert!(runs[0].at >= before && runs[0].pid == u64::from(std::process::id()), "{runs:?}");
        assert!(log.wait(Duration::ZERO, |runs| runs.len() == 2).await.unwrap());
        assert!(!log.wait(Duration::ZERO, |runs| runs.len() == 3).await.unwrap());
    }
}
