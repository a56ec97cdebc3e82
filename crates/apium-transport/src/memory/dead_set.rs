//! The dead set of the memory driver.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::broker::consumer::Content;
use crate::broker::dead_set::{DeadLetter, DeadSet, NewDeadLetter};
use crate::error::Result;
use crate::memory::broker::MemoryBroker;
use crate::memory::store::after_unlock::AfterUnlock;
use crate::memory::store::dead_letters::{FoundDeadLetter, StoredDeadLetter};
use crate::memory::store::queue::{Entry, StoredMessage};

impl DeadSet for MemoryBroker {
    fn list(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>>> {
        Box::pin(async move {
            self.check_open("list the dead letters")?;
            let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
            let found: Vec<FoundDeadLetter> = {
                let namespace = self.store.lock();
                let dead = namespace.dead.messages.range(first..).take(limit);
                dead.map(|(key, dead)| namespace.dead.find(*key, dead)).collect()
            };
            Ok(found.into_iter().map(DeadLetter::from).collect())
        })
    }

    fn get(&self, key: u64) -> BoxFuture<'_, Result<Option<DeadLetter>>> {
        Box::pin(async move {
            self.check_open("read a dead letter")?;
            let found = {
                let namespace = self.store.lock();
                namespace.dead.messages.get(&key).map(|dead| namespace.dead.find(key, dead))
            };
            Ok(found.map(DeadLetter::from))
        })
    }

    fn add(&self, messages: Vec<NewDeadLetter>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.check_open("add to the dead set")?;
            let now = self.store.clock.now();
            let mut namespace = self.store.lock();
            for NewDeadLetter { queue, message, reason } in messages {
                let (id, order) = (namespace.number(), namespace.number());
                let priority = message.properties.priority.unwrap_or(0);
                let content = Content::Message(message);
                let message = Arc::new(StoredMessage { exchange: "".into(), routing_key: queue.clone(), content });
                let entry = Entry { id, order, fence: 0, priority, redelivered: false, crashes: 0, queue, message };
                namespace.dead.add(entry, reason, now);
            }
            Ok(())
        })
    }

    fn replay(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            self.check_open("replay dead letters")?;
            let (now, mut after_unlock, mut count) = (self.store.clock.now(), AfterUnlock::default(), 0);
            {
                let mut namespace = self.store.lock();
                for key in keys {
                    let Some(StoredDeadLetter { mut entry, .. }) = namespace.dead.messages.remove(&key) else {
                        continue;
                    };
                    entry.crashes = 0;
                    entry.order = namespace.number();
                    namespace.put(entry, None, now, &mut after_unlock);
                    count += 1;
                }
            }
            after_unlock.run();
            Ok(count)
        })
    }

    fn remove(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            self.check_open("remove dead letters")?;
            let removed: Vec<StoredDeadLetter> = {
                let mut namespace = self.store.lock();
                keys.iter().filter_map(|key| namespace.dead.messages.remove(key)).collect()
            };
            Ok(removed.len() as u64)
        })
    }

    fn count(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            self.check_open("count the dead letters")?;
            Ok(self.store.lock().dead.messages.len() as u64)
        })
    }
}
