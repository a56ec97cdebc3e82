//! The lock file of a consumer: a locked file beside the database. The system drops the lock when the process dies, in
//! whatever way, so another process that gets the lock knows that the consumer is dead. The file lists the deliveries
//! whose runs have started, so that their crashes are counted. Its bytes survive the process without a transaction and
//! without a flush of the disk.

use apium_protocol::error::with_causes;
use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Bytes of one slot: message id and fence of a delivery, each as eight bytes in little-endian order.
const SLOT: usize = 16;

/// The lock file of a consumer of this process.
#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    slots: FileSlots,
}

/// Which slots of the file are used.
#[derive(Debug, Default)]
struct FileSlots {
    used: Vec<bool>,
    free_count: usize,
    cursor: usize,
}

impl FileSlots {
    /// Allocates the next free slot. The search goes round the file, so that slots which are allocated one after the
    /// other are mostly neighbours and can be written at once.
    fn allocate(&mut self) -> usize {
        if self.free_count * 2 <= self.used.len() {
            self.cursor = self.used.len();
            let more = self.used.len().max(256);
            self.used.resize(self.used.len() + more, false);
            self.free_count += more;
        }
        while self.used[self.cursor % self.used.len()] {
            self.cursor += 1;
        }
        let slot = self.cursor % self.used.len();
        self.cursor = slot + 1;
        self.used[slot] = true;
        self.free_count -= 1;
        slot
    }

    fn free(&mut self, slot: usize) {
        if std::mem::take(&mut self.used[slot]) {
            self.free_count += 1;
        }
    }
}

impl LockFile {
    /// Creates the file of consumer `id` in `folder`, locked.
    pub(crate) fn create(folder: &Path, id: i64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        // It is locked before it gets the name that others look for.
        let draft = folder.join(format!("{id}.new-{:08x}", fastrand::u32(..)));
        let file = File::options().read(true).write(true).create_new(true).open(&draft)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::other("another process has locked the new file"),
        })?;
        let path = folder.join(id.to_string());
        fs::rename(&draft, &path)?;
        Ok(Self { path, inner: Mutex::new(Inner { file, slots: FileSlots::default() }) })
    }

    /// Writes that runs of these deliveries (message id and fence) start. Returns their slots, which are to be freed
    /// when the deliveries are settled.
    pub(crate) fn add_started(&self, deliveries: &[(u64, u64)]) -> io::Result<Vec<usize>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let slots: Vec<usize> = deliveries.iter().map(|_| inner.slots.allocate()).collect();
        let written = write_slots(&mut inner.file, &slots, deliveries);
        if written.is_err() {
            // The disk may be full. Nothing is marked then, also of what was written.
            slots.iter().for_each(|slot| inner.slots.free(*slot));
        }
        written.map(|()| slots)
    }

    /// Frees the slots of deliveries that are not settled, and overwrites them, so that their runs do not count.
    pub(crate) fn remove_started(&self, slots: Vec<usize>) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots {
            // No message has the id 0.
            inner.file.seek(SeekFrom::Start((slot * SLOT) as u64))?;
            inner.file.write_all(&[0; SLOT])?;
            inner.slots.free(slot);
        }
        Ok(())
    }

    /// Frees the slots of settled deliveries. Their bytes stay in the file, but nobody looks at them, since the store
    /// no longer has those deliveries.
    pub(crate) fn free_slots(&self, slots: impl Iterator<Item = usize>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots {
            inner.slots.free(slot);
        }
    }

    /// Removes the file while it is still locked, so that nobody finds it unlocked and takes the consumer for dead.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), error = %with_causes(&error), "could not remove the lock file of a consumer");
        }
    }
}

/// Writes deliveries into their slots, neighbours at once.
fn write_slots(file: &mut File, slots: &[usize], deliveries: &[(u64, u64)]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(deliveries.len() * SLOT);
    let mut start = 0;
    for (at, (id, fence)) in deliveries.iter().enumerate() {
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.extend_from_slice(&fence.to_le_bytes());
        if slots.get(at + 1) != Some(&(slots[at] + 1)) {
            file.seek(SeekFrom::Start((slots[start] * SLOT) as u64))?;
            file.write_all(&bytes)?;
            bytes.clear();
            start = at + 1;
        }
    }
    Ok(())
}

/// What the lock file of another consumer says about it.
#[derive(Debug)]
pub(crate) enum LockState {
    /// The file is locked: the consumer is alive.
    Alive,
    /// The file is not locked: the consumer is dead.
    Dead(DeadConsumerFile),
    /// There is no such file: only the lease of the consumer tells.
    Unknown,
}

/// The lock file of a dead consumer, locked by this process: while this value exists, no other process reclaims from
/// that consumer.
#[derive(Debug)]
pub(crate) struct DeadConsumerFile {
    path: PathBuf,
    _lock: File,
    /// Message ids and fences.
    started: HashSet<(i64, i64)>,
}

impl DeadConsumerFile {
    /// Whether a run of the delivery with this message id and fence had started.
    pub(crate) fn had_started(&self, id: i64, fence: i64) -> bool {
        self.started.contains(&(id, fence))
    }

    /// Removes the file.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), error = %with_causes(&error), "could not remove the lock file of a dead consumer");
        }
    }
}

/// Checks whether the consumer `id` is alive.
pub(crate) fn check(folder: &Path, id: i64) -> LockState {
    let path = folder.join(id.to_string());
    let Ok(mut file) = File::options().read(true).write(true).open(&path) else { return LockState::Unknown };
    if file.try_lock().is_err() {
        return LockState::Alive;
    }
    let mut bytes = Vec::new();
    if let Err(error) = file.read_to_end(&mut bytes) {
        tracing::warn!(path = %path.display(), error = %with_causes(&error), "could not read which runs of a dead consumer had started");
    }
    let number = |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes).unwrap_or_default();
    let started = bytes.chunks_exact(SLOT).map(|slot| (number(&slot[..8]), number(&slot[8..]))).collect();
    LockState::Dead(DeadConsumerFile { path, _lock: file, started })
}

/// The ids of the consumers that have a lock file in `folder`.
pub(crate) fn consumer_ids(folder: &Path) -> Vec<i64> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{LockFile, LockState, check, consumer_ids};

    #[test]
    fn a_dropped_lock_file_is_that_of_a_dead_consumer_and_lists_what_had_started() {
        let folder = tempfile::tempdir().unwrap();
        let lock_file = LockFile::create(folder.path(), 7).unwrap();
        assert!(matches!(check(folder.path(), 7), LockState::Alive));
        assert!(matches!(check(folder.path(), 8), LockState::Unknown));
        assert_eq!(consumer_ids(folder.path()), [7]);
        let many: Vec<(u64, u64)> = (0..1000).map(|n| (n, 1)).collect();
        let slots = lock_file.add_started(&many).unwrap();
        lock_file.free_slots(slots.into_iter().filter(|slot| slot % 3 == 0));
        lock_file.add_started(&[(5000, 2), (5001, 1), (5002, 1)]).unwrap();
        drop(lock_file);
        let LockState::Dead(dead_file) = check(folder.path(), 7) else { panic!("alive") };
        assert!(dead_file.had_started(1, 1) && dead_file.had_started(999, 1) && dead_file.had_started(5000, 2));
        assert!(dead_file.had_started(5001, 1) && dead_file.had_started(5002, 1));
        assert!(!dead_file.had_started(5000, 1) && !dead_file.had_started(1000, 1));
        dead_file.remove();
        assert!(consumer_ids(folder.path()).is_empty());
    }

    #[test]
    fn a_removed_start_is_not_listed() {
        let folder = tempfile::tempdir().unwrap();
        let lock_file = LockFile::create(folder.path(), 7).unwrap();
        let slots = lock_file.add_started(&[(1, 1), (2, 1), (3, 1)]).unwrap();
        lock_file.remove_started(slots[..2].to_vec()).unwrap();
        drop(lock_file);
        let LockState::Dead(dead_file) = check(folder.path(), 7) else { panic!("alive") };
        assert_eq!([1, 2, 3].map(|id| dead_file.had_started(id, 1)), [false, false, true]);
    }

    #[test]
    fn slots_are_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let lock_file = LockFile::create(folder.path(), 1).unwrap();
        for n in 0..100_000 {
            let slots = lock_file.add_started(&[(n, 1), (n + 1, 1)]).unwrap();
            lock_file.free_slots(slots.into_iter());
        }
        drop(lock_file);
        assert!(std::fs::metadata(folder.path().join("1")).unwrap().len() <= 16 * 512);
    }
}
