//! Executions that Celery's processes count, each in a file with one byte for each number (`harness/celery/tally.py`).

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use crate::scratch::ScratchFolder;
use crate::speed::drained::Drained;

/// How often the files are read.
const INTERVAL: Duration = Duration::from_millis(5);

/// The folder with a file for each process.
#[derive(Debug)]
pub struct Tally {
    scratch: ScratchFolder,
}

impl Tally {
    /// Makes an empty folder.
    pub fn new() -> io::Result<Self> {
        Ok(Self { scratch: ScratchFolder::new()? })
    }

    /// The path of the folder, for the processes.
    pub fn folder(&self) -> String {
        self.scratch.folder().display().to_string()
    }

    /// How often each number was executed.
    pub fn read(&self) -> io::Result<Vec<u64>> {
        let mut counts = Vec::new();
        for file in fs::read_dir(self.scratch.folder())? {
            let bytes = fs::read(file?.path())?;
            counts.resize(counts.len().max(bytes.len()), 0);
            counts.iter_mut().zip(bytes).for_each(|(count, byte)| *count += u64::from(byte));
        }
        Ok(counts)
    }

    /// Waits until a task was executed.
    pub async fn started(&self, patience: Duration) -> io::Result<()> {
        let started = Instant::now();
        while self.read()?.iter().all(|&count| count == 0) {
            if started.elapsed() > patience {
                return Err(io::Error::other("no task was executed"));
            }
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(())
    }

    /// Waits until all `expected` numbers were executed. Gives up when nothing is executed for `patience`.
    pub async fn watch(&self, expected: u64, patience: Duration) -> io::Result<Drained> {
        let (mut first, mut last) = (None, (Instant::now(), 0));
        loop {
            let counts = self.read()?;
            let (now, done) = (Instant::now(), counts.iter().filter(|&&count| count > 0).count() as u64);
            if done > last.1 {
                last = (now, done);
                first.get_or_insert(last);
            }
            if done >= expected || now.duration_since(last.0) > patience {
                let (since, before) = first.unwrap_or(last);
                let span = last.0.duration_since(since).as_secs_f64();
                return Ok(Drained {
                    rate: (last.1 - before) as f64 / span,
                    lost: expected.saturating_sub(done),
                    repeated: counts.iter().map(|count| count.saturating_sub(1)).sum(),
                });
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// The file of this process in a tally.
#[derive(Debug)]
pub struct OwnTally(fs::File);

impl OwnTally {
    /// Makes the file, for numbers below `numbers`.
    pub fn open(folder: &Path, numbers: u64) -> io::Result<Self> {
        let path = folder.join(std::process::id().to_string());
        let file = fs::OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
        file.set_len(numbers)?;
        Ok(Self(file))
    }

    /// Counts an execution of `number`.
    pub fn record(&self, number: u64) -> io::Result<()> {
        let mut byte = [0];
        self.0.read_exact_at(&mut byte, number)?;
        self.0.write_all_at(&[byte[0].saturating_add(1)], number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn files_are_added_up_by_number() {
        let tally = Tally::new().unwrap();
        fs::write(tally.scratch.folder().join("1"), [1, 0, 1, 0]).unwrap();
        let own = OwnTally::open(tally.scratch.folder(), 4).unwrap();
        own.record(3).unwrap();
        fs::write(tally.scratch.folder().join("2"), [0, 0, 2, 1]).unwrap();
        assert_eq!(tally.read().unwrap(), [1, 0, 3, 2]);
        tally.started(Duration::ZERO).await.unwrap();
        let drained = tally.watch(4, Duration::ZERO).await.unwrap();
        assert_eq!((drained.lost, drained.repeated), (1, 3));
    }
}
