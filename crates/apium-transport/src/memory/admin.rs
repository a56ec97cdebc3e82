//! Administration of the memory driver's queues.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::broker::consumer::Content;
use crate::broker::outgoing::Outgoing;
use crate::broker::queue_admin::{ConsumerCounts, QueueAdmin, QueueCounts, QueuePeek, QueueStats};
use crate::error::Result;
use crate::memory::broker::MemoryBroker;
use crate::memory::store::namespace::Namespace;
use crate::memory::store::queue::{StoredMessage, StoredQueue};

impl QueueAdmin for MemoryBroker {
    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            self.check_open("count the messages of a queue")?;
            let now = self.store.clock.now();
            let mut namespace = self.store.lock();
            namespace.promote_due(now);
            Ok(namespace.queues.get(queue).map_or(0, |queue| queue.ready() as u64))
        })
    }

    fn purge<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            self.check_open("purge the queue")?;
            let purged = self.store.lock().queues.get_mut(queue).map(StoredQueue::clear).unwrap_or_default();
            Ok(purged.len() as u64)
        })
    }

    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.check_open("delete the queue")?;
            let deleted = {
                let mut namespace = self.store.lock();
                namespace.exchanges.unbind(queue);
                namespace.queues.remove(queue)
            };
            drop(deleted);
            Ok(())
        })
    }

    fn messages(&self) -> Option<&dyn QueuePeek> {
        Some(self)
    }

    fn counts(&self) -> Option<&dyn QueueCounts> {
        Some(self)
    }

    fn consumers(&self) -> Option<&dyn ConsumerCounts> {
        Some(self)
    }
}

impl QueuePeek for MemoryBroker {
    fn peek<'a>(&'a self, queue: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Outgoing>>> {
        Box::pin(async move {
            self.check_open("look into the queue")?;
            let now = self.store.clock.now();
            let messages: Vec<Arc<StoredMessage>> = {
                let mut namespace = self.store.lock();
                namespace.promote_due(now);
                let found = namespace.queues.get(queue);
                found.map(|q| q.peek(limit).map(|entry| entry.message.clone()).collect()).unwrap_or_default()
            };
            Ok(messages.iter().filter_map(|message| outgoing(message)).collect())
        })
    }

    fn peek_delayed<'a>(&'a self, queue: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Outgoing>>> {
        Box::pin(async move {
            self.check_open("look into the queue")?;
            let now = self.store.clock.now();
            let messages: Vec<(Timestamp, Arc<StoredMessage>)> = {
                let mut namespace = self.store.lock();
                namespace.promote_due(now);
                let found = namespace.queues.get(queue).map(|queue| queue.peek_delayed(limit)).unwrap_or_default();
                found.into_iter().map(|(due, entry)| (due, entry.message.clone())).collect()
            };
            Ok(messages.iter().filter_map(|(due, message)| Some(outgoing(message)?.at(Some(*due)))).collect())
        })
    }
}

impl QueueCounts for MemoryBroker {
    fn sees_every_worker(&self) -> bool {
        true
    }

    fn stats(&self) -> BoxFuture<'_, Result<Vec<QueueStats>>> {
        Box::pin(async move {
            self.check_open("count the queues")?;
            let now = self.store.clock.now();
            let mut all: Vec<QueueStats> = {
                let mut namespace = self.store.lock();
                namespace.promote_due(now);
                namespace.queues.iter().map(|(name, queue)| count(&namespace, name, queue)).collect()
            };
            all.sort_by(|a, b| a.queue.cmp(&b.queue));
            Ok(all)
        })
    }
}

impl ConsumerCounts for MemoryBroker {
    fn consumers_named<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            self.check_open("count the consumers")?;
            Ok(self.store.lock().consumers.values().filter(|consumer| consumer.node == node).count() as u64)
        })
    }
}

fn count(namespace: &Namespace, name: &str, queue: &StoredQueue) -> QueueStats {
    let in_flight = namespace.consumers.values().flat_map(|consumer| consumer.in_flight.values());
    QueueStats {
        queue: name.to_owned(),
        ready: queue.ready() as u64,
        unacked: in_flight.filter(|in_flight| &*in_flight.entry.queue == name).count() as u64,
        delayed: queue.delayed() as u64,
        consumers: namespace.consumers.values().filter(|consumer| consumer.reads(name)).count() as u64,
    }
}

fn outgoing(stored: &StoredMessage) -> Option<Outgoing> {
    match &stored.content {
        Content::Message(message) => Some(Outgoing {
            exchange: stored.exchange.clone(),
            routing_key: stored.routing_key.clone(),
            message: message.clone(),
            eta: None,
        }),
        Content::Unreadable { .. } => None,
    }
}
