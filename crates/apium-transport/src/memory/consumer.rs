//! The consumer of the memory driver: it claims what is there, or waits to be woken or for the next due time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::broker::consumer::{Consumer, Delivery};
use crate::broker::settlement::Acker;
use crate::error::Result;
use crate::memory::acker::MemoryAcker;
use crate::memory::handle::closed_error;
use crate::memory::store::after_unlock::AfterUnlock;
use crate::memory::store::namespace::{Claimed, SharedNamespace};

/// A consumer in this process. Dropping it without [`close`](Consumer::close) counts as the death of its worker: what
/// it has in flight is delivered again, and each started run counts a crash.
#[derive(Debug)]
pub struct MemoryConsumer {
    store: Arc<SharedNamespace>,
    closed: Arc<AtomicBool>,
    id: u64,
    wake: Arc<Notify>,
    acker: Arc<MemoryAcker>,
    left: bool,
}

/// A wait, which ends properly when its future is dropped.
struct Wait<'a> {
    store: &'a SharedNamespace,
    id: u64,
    over: bool,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if !self.over {
            let mut after_unlock = AfterUnlock::default();
            self.store.lock().stop_waiting(self.id, &mut after_unlock);
            after_unlock.run();
        }
    }
}

impl MemoryConsumer {
    pub(crate) fn new(store: Arc<SharedNamespace>, closed: Arc<AtomicBool>, id: u64, wake: Arc<Notify>) -> Self {
        let acker = Arc::new(MemoryAcker::new(store.clone(), closed.clone(), id));
        Self { store, closed, id, wake, acker, left: false }
    }

    /// [`Consumer::next`], called directly.
    pub async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>> {
        let max = max.max(1);
        loop {
            let (now, mut after_unlock) = (self.store.clock.now(), AfterUnlock::default());
            let (claimed, due) = {
                let mut namespace = self.store.lock();
                // Read under the lock: closing wakes only those who wait already.
                if self.closed.load(Ordering::Acquire) {
                    return Err(closed_error("wait for messages"));
                }
                let claimed = namespace.claim(self.id, max, now);
                match claimed.is_empty() {
                    true => (claimed, namespace.start_waiting(self.id)),
                    false => {
                        namespace.wake_another(self.id, &mut after_unlock);
                        (claimed, None)
                    }
                }
            };
            after_unlock.run();
            if !claimed.is_empty() {
                return Ok(claimed.into_iter().map(Delivery::from).collect());
            }
            let mut wait = Wait { store: &self.store, id: self.id, over: false };
            match due {
                None => self.wake.notified().await,
                Some(due) => tokio::select! {
                    biased;
                    () = self.wake.notified() => {}
                    () = self.store.clock.sleep_until(due) => {}
                },
            }
            wait.over = true;
        }
    }

    /// [`Consumer::acker`], with its own type.
    pub fn memory_acker(&self) -> Arc<MemoryAcker> {
        self.acker.clone()
    }

    fn leave(&mut self, died: bool) {
        if !std::mem::replace(&mut self.left, true) {
            let (now, mut after_unlock) = (self.store.clock.now(), AfterUnlock::default());
            self.store.lock().leave(self.id, died, now, &mut after_unlock);
            after_unlock.run();
        }
    }
}

impl From<Claimed> for Delivery {
    fn from(claimed: Claimed) -> Self {
        Self {
            receipt: claimed.receipt,
            queue: claimed.queue,
            exchange: claimed.message.exchange.clone(),
            routing_key: claimed.message.routing_key.clone(),
            redelivered: claimed.redelivered,
            crashes: claimed.crashes,
            started: false,
            content: claimed.message.content.clone(),
        }
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.leave(true);
    }
}

impl Consumer for MemoryConsumer {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        Box::pin(self.next_batch(max))
    }

    fn acker(&self) -> Arc<dyn Acker> {
        self.acker.clone()
    }

    fn set_prefetch(&mut self, prefetch: usize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if let Some(consumer) = self.store.lock().consumers.get_mut(&self.id) {
                consumer.prefetch = prefetch;
            }
            Ok(())
        })
    }

    fn subscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if self.closed.load(Ordering::Acquire) {
                return Err(closed_error("subscribe to a queue"));
            }
            let mut namespace = self.store.lock();
            let name: Arc<str> = queue.into();
            namespace.queues.entry(name.clone()).or_default();
            if let Some(consumer) = namespace.consumers.get_mut(&self.id)
                && !consumer.reads(queue)
            {
                consumer.queues.push(name);
            }
            Ok(())
        })
    }

    fn unsubscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if let Some(consumer) = self.store.lock().consumers.get_mut(&self.id) {
                consumer.queues.retain(|name| &**name != queue);
            }
            Ok(())
        })
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            self.leave(false);
            Ok(())
        })
    }
}
