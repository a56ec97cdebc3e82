//! Counting, peeking, purging and deleting of the memory driver's queues.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::broker::broker::{QueueAdmin, QueueStats};
use crate::broker::consumer::Content;
use crate::broker::outgoing::Outgoing;
use crate::error::Result;
use crate::memory::broker::MemoryBroker;
use crate::memory::store::namespace::World;
use crate::memory::store::queue::{Letter, Queue};

impl QueueAdmin for MemoryBroker {
    fn stats(&self) -> BoxFuture<'_, Result<Vec<QueueStats>>> {
        Box::pin(async move {
            self.check_open("count the queues")?;
            let now = self.store.clock.now();
            let mut all: Vec<QueueStats> = {
                let mut world = self.store.lock();
                world.ripen_all(now);
                world.queues.iter().map(|(name, queue)| count(&world, name, queue)).collect()
            };
            all.sort_by(|a, b| a.queue.cmp(&b.queue));
            Ok(all)
        })
    }

    fn peek<'a>(&'a self, queue: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Outgoing>>> {
        Box::pin(async move {
            self.check_open("look into the queue")?;
            let now = self.store.clock.now();
            let letters: Vec<Arc<Letter>> = {
                let mut world = self.store.lock();
                world.ripen_all(now);
                let found = world.queues.get(queue);
                found.map(|q| q.peek(limit).map(|entry| entry.letter.clone()).collect()).unwrap_or_default()
            };
            Ok(letters.iter().filter_map(|letter| outgoing(letter)).collect())
        })
    }

    fn purge<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            self.check_open("purge the queue")?;
            let purged = self.store.lock().queues.get_mut(queue).map(Queue::clear).unwrap_or_default();
            Ok(purged.len() as u64)
        })
    }

    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.check_open("delete the queue")?;
            let deleted = {
                let mut world = self.store.lock();
                world.exchanges.unbind(queue);
                world.queues.remove(queue)
            };
            drop(deleted);
            Ok(())
        })
    }

    fn consumers_named<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            self.check_open("count the consumers")?;
            Ok(self.store.lock().seats.values().filter(|seat| seat.node == node).count() as u64)
        })
    }
}

fn count(world: &World, name: &str, queue: &Queue) -> QueueStats {
    let held = world.seats.values().flat_map(|seat| seat.held.values());
    QueueStats {
        queue: name.to_owned(),
        ready: queue.ready() as u64,
        unacked: held.filter(|held| &*held.entry.queue == name).count() as u64,
        parked: queue.parked() as u64,
        consumers: world.seats.values().filter(|seat| seat.reads(name)).count() as u64,
    }
}

fn outgoing(letter: &Letter) -> Option<Outgoing> {
    match &letter.content {
        Content::Message(message) => Some(Outgoing {
            exchange: letter.exchange.clone(),
            routing_key: letter.routing_key.clone(),
            message: message.clone(),
            eta: None,
        }),
        Content::Unreadable { .. } => None,
    }
}
