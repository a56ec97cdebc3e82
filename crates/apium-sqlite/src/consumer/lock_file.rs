//! A consumer's mark of life: a locked file beside the database. The system drops the lock when the process dies, however it
//! dies, so who gets the lock knows that the consumer is dead. In the file stand the deliveries whose runs have begun (P4):
//! what was written to it outlives the process, without a transaction and without flushing the disk.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Bytes of one slot: id and fence of a delivery, each as eight bytes, the lowest first.
const SLOT: usize = 16;

/// The locked file of a consumer of this process.
#[derive(Debug)]
pub(crate) struct Mark {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    slots: Slots,
}

/// Which slots of the file are taken.
#[derive(Debug, Default)]
struct Slots {
    taken: Vec<bool>,
    free: usize,
    cursor: usize,
}

impl Slots {
    /// Takes the next free slot, going round so that those taken one after the other mostly lie side by side.
    fn take(&mut self) -> usize {
        if self.free * 2 <= self.taken.len() {
            self.cursor = self.taken.len();
            let more = self.taken.len().max(256);
            self.taken.resize(self.taken.len() + more, false);
            self.free += more;
        }
        while self.taken[self.cursor % self.taken.len()] {
            self.cursor += 1;
        }
        let slot = self.cursor % self.taken.len();
        self.cursor = slot + 1;
        self.taken[slot] = true;
        self.free -= 1;
        slot
    }

    fn give_back(&mut self, slot: usize) {
        if std::mem::take(&mut self.taken[slot]) {
            self.free += 1;
        }
    }
}

impl Mark {
    /// Makes the file of consumer `id` in `folder`, locked.
    pub(crate) fn make(folder: &Path, id: i64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        // Locked before it gets the name under which others look for it.
        let draft = folder.join(format!("{id}.new-{:08x}", fastrand::u32(..)));
        let file = File::options().read(true).write(true).create_new(true).open(&draft)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::other("somebody else has locked a new file"),
        })?;
        let path = folder.join(id.to_string());
        fs::rename(&draft, &path)?;
        Ok(Self { path, inner: Mutex::new(Inner { file, slots: Slots::default() }) })
    }

    /// Notes that runs of these deliveries (id and fence) begin; returns the slots, to be given back when they have ended.
    pub(crate) fn begin(&self, deliveries: &[(u64, u64)]) -> io::Result<Vec<usize>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let slots: Vec<usize> = deliveries.iter().map(|_| inner.slots.take()).collect();
        let mut bytes = Vec::with_capacity(deliveries.len() * SLOT);
        let mut start = 0;
        for (at, (id, fence)) in deliveries.iter().enumerate() {
            bytes.extend_from_slice(&id.to_le_bytes());
            bytes.extend_from_slice(&fence.to_le_bytes());
            if slots.get(at + 1) != Some(&(slots[at] + 1)) {
                inner.file.seek(SeekFrom::Start((slots[start] * SLOT) as u64))?;
                inner.file.write_all(&bytes)?;
                bytes.clear();
                start = at + 1;
            }
        }
        Ok(slots)
    }

    /// The runs in these slots have ended and are settled. What stands in the file is not looked at any more, since the store
    /// no longer has those deliveries.
    pub(crate) fn end(&self, slots: impl Iterator<Item = usize>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots {
            inner.slots.give_back(slot);
        }
    }

    /// Removes the file, before the lock goes: nobody takes it for that of a dead consumer.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the file of a consumer could not be removed");
        }
    }
}

/// What another consumer's file says about it.
#[derive(Debug)]
pub(crate) enum Life {
    /// It holds its lock.
    Alive,
    /// It is dead; these deliveries (id and fence) had begun.
    Dead(Remains),
    /// There is no such file, so only its lease tells.
    Unknown,
}

/// The file of a dead consumer. As long as this is held, nobody else buries it.
#[derive(Debug)]
pub(crate) struct Remains {
    path: PathBuf,
    _lock: File,
    begun: HashSet<(i64, i64)>,
}

impl Remains {
    /// Whether a run of the delivery with this id and fence had begun.
    pub(crate) fn had_begun(&self, id: i64, fence: i64) -> bool {
        self.begun.contains(&(id, fence))
    }

    /// Removes the file.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the file of a dead consumer could not be removed");
        }
    }
}

/// Looks whether the consumer `id` lives.
pub(crate) fn look(folder: &Path, id: i64) -> Life {
    let path = folder.join(id.to_string());
    let Ok(mut file) = File::options().read(true).write(true).open(&path) else { return Life::Unknown };
    if file.try_lock().is_err() {
        return Life::Alive;
    }
    let mut bytes = Vec::new();
    if let Err(error) = file.read_to_end(&mut bytes) {
        tracing::warn!(path = %path.display(), %error, "could not read which runs of a dead consumer had begun");
    }
    let number = |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes).unwrap_or_default();
    let begun = bytes.chunks_exact(SLOT).map(|slot| (number(&slot[..8]), number(&slot[8..]))).collect();
    Life::Dead(Remains { path, _lock: file, begun })
}

/// The consumers that have a file in `folder`.
pub(crate) fn listed(folder: &Path) -> Vec<i64> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Life, Mark, listed, look};

    #[test]
    fn a_dropped_mark_is_that_of_a_dead_consumer_and_says_what_had_begun() {
        let folder = tempfile::tempdir().unwrap();
        let mark = Mark::make(folder.path(), 7).unwrap();
        assert!(matches!(look(folder.path(), 7), Life::Alive));
        assert!(matches!(look(folder.path(), 8), Life::Unknown));
        assert_eq!(listed(folder.path()), [7]);
        let many: Vec<(u64, u64)> = (0..1000).map(|n| (n, 1)).collect();
        let slots = mark.begin(&many).unwrap();
        mark.end(slots.into_iter().filter(|slot| slot % 3 == 0));
        mark.begin(&[(5000, 2), (5001, 1), (5002, 1)]).unwrap();
        drop(mark);
        let Life::Dead(remains) = look(folder.path(), 7) else { panic!("alive") };
        assert!(remains.had_begun(1, 1) && remains.had_begun(999, 1) && remains.had_begun(5000, 2));
        assert!(remains.had_begun(5001, 1) && remains.had_begun(5002, 1));
        assert!(!remains.had_begun(5000, 1) && !remains.had_begun(1000, 1));
        remains.remove();
        assert!(listed(folder.path()).is_empty());
    }

    #[test]
    fn slots_are_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let mark = Mark::make(folder.path(), 1).unwrap();
        for n in 0..100_000 {
            let slots = mark.begin(&[(n, 1), (n + 1, 1)]).unwrap();
            mark.end(slots.into_iter());
        }
        drop(mark);
        assert!(std::fs::metadata(folder.path().join("1")).unwrap().len() <= 16 * 512);
    }
}
