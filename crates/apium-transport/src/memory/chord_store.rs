//! The chord store of the memory driver.

use std::time::Duration;

use apium_protocol::message::task_id::TaskId;
use futures_util::future::BoxFuture;

use crate::backend::chord::{ChordCount, ChordEnd, ChordHeader, ChordPart, ChordProgress, ChordStore};
use crate::error::Result;
use crate::memory::backend::MemoryBackend;
use crate::memory::store::chords::Changes;
use crate::memory::store::namespace::Namespace;

impl ChordStore for MemoryBackend {
    fn open(&self, header: ChordHeader) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.check_open("open the chord")?;
            let now = self.store.clock.now();
            self.store.lock().chords.open(header, now, &mut Changes::default());
            Ok(())
        })
    }

    fn part_done(&self, part: ChordPart) -> BoxFuture<'_, Result<ChordProgress>> {
        Box::pin(async move {
            self.check_open("count the part of the chord")?;
            let now = self.store.clock.now();
            let mut namespace = self.store.lock();
            let Namespace { chords, results, .. } = &mut *namespace;
            chords.part_done(&part, now, &mut Changes::default(), |id| results.document(id, now))
        })
    }

    fn part_unless_last(&self, part: ChordPart) -> BoxFuture<'_, Result<Option<ChordProgress>>> {
        Box::pin(async move {
            self.check_open("count the part of the chord")?;
            let now = self.store.clock.now();
            let mut namespace = self.store.lock();
            let Namespace { chords, results, .. } = &mut *namespace;
            if chords.count(&part.group, now).is_some_and(ChordCount::may_end) {
                return Ok(None);
            }
            chords.part_done(&part, now, &mut Changes::default(), |id| results.document(id, now)).map(Some)
        })
    }

    fn grow<'a>(&'a self, group: &'a str, added: &'a TaskId, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.check_open("add parts to the chord")?;
            let now = self.store.clock.now();
            self.store.lock().chords.grow(group, added, ttl, now);
            Ok(())
        })
    }

    fn count<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Option<ChordCount>>> {
        Box::pin(async move {
            self.check_open("count the parts of the chord")?;
            let now = self.store.clock.now();
            Ok(self.store.lock().chords.count(group, now))
        })
    }

    fn end<'a>(&'a self, group: &'a str, claimant: &'a str, end: ChordEnd) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            self.check_open("end the chord")?;
            let now = self.store.clock.now();
            // `changes` keeps what was counted, so that it is dropped without the lock.
            let mut changes = Changes::default();
            let ended = self.store.lock().chords.end(group, claimant, end, now, &mut changes);
            Ok(ended)
        })
    }
}
