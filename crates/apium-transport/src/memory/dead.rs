//! The dead set of a namespace.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::consumer::Content;
use crate::dead::{DeadLetter, DeadReason, DeadSet};
use crate::error::Result;
use crate::memory::broker::MemoryBroker;
use crate::memory::queue::{Entry, Letter};
use crate::memory::store::Later;

/// The dead messages by key.
#[derive(Debug, Default)]
pub(super) struct Graveyard {
    letters: BTreeMap<u64, Dead>,
    last: u64,
}

#[derive(Debug)]
struct Dead {
    reason: DeadReason,
    at: Timestamp,
    entry: Entry,
}

/// What a listing shows, copied under the lock and made into a letter outside.
struct Found {
    key: u64,
    reason: DeadReason,
    at: Timestamp,
    queue: Arc<str>,
    letter: Arc<Letter>,
}

impl Graveyard {
    /// Keeps a message that could not be handled.
    pub(super) fn bury(&mut self, entry: Entry, reason: DeadReason, at: Timestamp) {
        self.last += 1;
        self.letters.insert(self.last, Dead { reason, at, entry });
    }

    /// Keeps a message whose runs killed their worker too often.
    pub(super) fn bury_crashed(&mut self, entry: Entry, at: Timestamp) {
        let text = format!(
            "its worker died during {} of its runs, which is as many as worker_max_crashes allows",
            entry.crashes
        );
        self.bury(entry, DeadReason { code: "crash-loop", text }, at);
    }

    fn find(&self, key: u64, dead: &Dead) -> Found {
        Found {
            key,
            reason: dead.reason.clone(),
            at: dead.at,
            queue: dead.entry.queue.clone(),
            letter: dead.entry.letter.clone(),
        }
    }
}

impl From<Found> for DeadLetter {
    fn from(found: Found) -> Self {
        let (message, raw) = match &found.letter.content {
            Content::Message(message) => (Some(message.clone()), None),
            Content::Unreadable { raw, .. } => (None, Some(raw.clone())),
        };
        Self {
            key: found.key,
            code: found.reason.code.to_owned(),
            reason: found.reason.text,
            at: found.at,
            queue: found.queue.to_string(),
            task_id: message.as_ref().and_then(|message| {
                let id = message.headers.id.as_ref().map(|id| id.as_str());
                id.or(message.properties.correlation_id.as_deref()).map(str::to_owned)
            }),
            task: message.as_ref().and_then(|message| message.headers.task.as_deref().map(str::to_owned)),
            message,
            raw,
        }
    }
}

impl DeadSet for MemoryBroker {
    fn list(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>>> {
        Box::pin(async move {
            self.check_open("list the dead set")?;
            let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
            let found: Vec<Found> = {
                let world = self.store.lock();
                let dead = world.dead.letters.range(first..).take(limit);
                dead.map(|(key, dead)| world.dead.find(*key, dead)).collect()
            };
            Ok(found.into_iter().map(DeadLetter::from).collect())
        })
    }

    fn get(&self, key: u64) -> BoxFuture<'_, Result<Option<DeadLetter>>> {
        Box::pin(async move {
            self.check_open("read the dead set")?;
            let found = {
                let world = self.store.lock();
                world.dead.letters.get(&key).map(|dead| world.dead.find(key, dead))
            };
            Ok(found.map(DeadLetter::from))
        })
    }

    fn replay(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            self.check_open("replay dead messages")?;
            let (now, mut later, mut count) = (self.store.clock.now(), Later::default(), 0);
            {
                let mut world = self.store.lock();
                for key in keys {
                    let Some(Dead { mut entry, .. }) = world.dead.letters.remove(&key) else { continue };
                    entry.crashes = 0;
                    entry.order = world.number();
                    world.put(entry, None, now, &mut later);
                    count += 1;
                }
            }
            later.run();
            Ok(count)
        })
    }

    fn remove(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            self.check_open("remove dead messages")?;
            let removed: Vec<Dead> = {
                let mut world = self.store.lock();
                keys.iter().filter_map(|key| world.dead.letters.remove(key)).collect()
            };
            Ok(removed.len() as u64)
        })
    }

    fn count(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            self.check_open("count the dead set")?;
            Ok(self.store.lock().dead.letters.len() as u64)
        })
    }
}
