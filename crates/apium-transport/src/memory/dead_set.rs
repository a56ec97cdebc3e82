//! Listing, replaying and dropping of a namespace's dead messages.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::broker::consumer::Content;
use crate::broker::dead_set::{DeadLetter, DeadSet, Kept};
use crate::error::Result;
use crate::memory::broker::MemoryBroker;
use crate::memory::store::after_unlock::Later;
use crate::memory::store::dead_letters::{Dead, Found};
use crate::memory::store::queue::{Entry, Letter};

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

    fn keep(&self, messages: Vec<Kept>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.check_open("keep messages in the dead set")?;
            let now = self.store.clock.now();
            let mut world = self.store.lock();
            for Kept { queue, message, reason } in messages {
                let (id, order) = (world.number(), world.number());
                let priority = message.properties.priority.unwrap_or(0);
                let content = Content::Message(message);
                let letter = Arc::new(Letter { exchange: "".into(), routing_key: queue.clone(), content });
                let entry = Entry { id, order, fence: 0, priority, redelivered: false, crashes: 0, queue, letter };
                world.dead.bury(entry, reason, now);
            }
            Ok(())
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
