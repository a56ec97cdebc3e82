//! A log of executed numbers that survives `kill -9`: each is appended to one file by one short write, which the kernel
//! does not tear, even when the process is killed in the next instant.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::{collections::BTreeMap, fs};

/// The log, open for appending. Several processes may have it open.
#[derive(Debug)]
pub struct NumberLog {
    file: File,
}

impl NumberLog {
    /// Opens the log.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().create(true).append(true).open(path)? })
    }

    /// Appends `number`, which was executed.
    pub fn record(&self, number: u64) -> io::Result<()> {
        (&self.file).write_all(&number.to_le_bytes())
    }
}

/// How often each number was executed.
pub fn read(path: &Path) -> io::Result<BTreeMap<u64, usize>> {
    let mut counts = BTreeMap::new();
    for chunk in fs::read(path)?.chunks_exact(size_of::<u64>()) {
        let mut bytes = [0; size_of::<u64>()];
        bytes.copy_from_slice(chunk);
        *counts.entry(u64::from_le_bytes(bytes)).or_default() += 1;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchFolder;

    #[test]
    fn two_writers_share_a_log() {
        let scratch = ScratchFolder::new().unwrap();
        let path = scratch.folder().join("numbers");
        let (a, b) = (NumberLog::open(&path).unwrap(), NumberLog::open(&path).unwrap());
        a.record(1).unwrap();
        b.record(2).unwrap();
        a.record(1).unwrap();
        assert_eq!(read(&path).unwrap(), BTreeMap::from([(1, 2), (2, 1)]));
    }
}
