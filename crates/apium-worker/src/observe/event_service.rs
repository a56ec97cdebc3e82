//! The service that sends events: it puts facts into words and sends them in batches, outside of the slots. A broker
//! that is slow or away delays no task; what it misses waits, and the oldest go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use apium_app::observe::event_sender::{EventBatch, EventMessage, EventSender};
use apium_protocol::error::with_causes;
use tokio::time::Instant;

use crate::observe::event_queue::EventQueue;
use crate::pipeline::complete::outage::Outage;
use crate::service::Stopping;

/// How many events are sent at once.
const MOST_AT_ONCE: usize = 24 * 40;
/// How long to wait after a batch for the next one to fill up. Celery waits for a turn of its event loop.
const GATHER: Duration = Duration::from_millis(10);
/// How many events end the wait: as many as fill a message.
const ENOUGH: usize = 24;
/// How long a worker that stops tries to send what is left.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends the events of a worker.
pub(crate) struct EventService {
    pub(crate) queue: Arc<EventQueue>,
    pub(crate) sender: EventSender,
}

impl EventService {
    /// Sends what comes until it is asked to stop, then what is left.
    pub(crate) async fn serve(self, mut stopping: Stopping) {
        loop {
            let mut sending = std::pin::pin!(self.send_all());
            tokio::select! {
                biased;
                () = &mut sending => {}
                () = stopping.wait() => match self.send_last(sending).await {
                    true => break,
                    false => return,
                }
            }
            tokio::select! {
                biased;
                () = stopping.wait() => break,
                () = self.queue.wake.notified() => {}
            }
            // A worker with much to tell waits for a batch, and one with little waits no longer than this.
            if self.queue.len() < ENOUGH {
                tokio::select! {
                    () = stopping.wait() => break,
                    () = tokio::time::sleep(GATHER) => {}
                }
            }
        }
        self.send_last(self.send_all()).await;
    }

    /// Sends within the time that a worker which stops has for it. Returns whether it could.
    async fn send_last(&self, sending: impl Future<Output = ()>) -> bool {
        let is_sent = tokio::time::timeout(LAST_TIMEOUT, sending).await.is_ok();
        if !is_sent {
            tracing::warn!(waiting = self.queue.len(), "some events were not sent before the worker stopped");
        }
        is_sent
    }

    /// Sends everything that waits. When this is dropped, the batch under way is lost: nobody knows how much of it was
    /// sent.
    async fn send_all(&self) {
        loop {
            let (taken, dropped) = self.queue.take(MOST_AT_ONCE);
            self.note_dropped(dropped);
            if taken.is_empty() {
                return;
            }
            let mut batch = EventBatch::new(&self.sender);
            taken.into_iter().for_each(|(clock, queued)| queued.add_to(&mut batch, &self.sender, clock));
            self.send(batch.into_messages()).await;
        }
    }

    /// Sends a batch, and again while the broker is away.
    async fn send(&self, messages: Vec<EventMessage>) {
        let mut outage = Outage::default();
        let mut left = &messages[..];
        // Heartbeats are sent alone, since it counts whom they reach.
        while let Some(first) = left.first() {
            let together = match first.is_heartbeat {
                true => 1,
                false => left.iter().take_while(|message| !message.is_heartbeat).count(),
            };
            let (batch, rest) = left.split_at(together);
            let count: usize = batch.iter().map(|message| message.count).sum();
            let began = Instant::now();
            match self.sender.send_batched(batch).await {
                Ok(listeners) => {
                    if first.is_heartbeat {
                        self.queue.set_listeners(listeners);
                    }
                    self.queue.sent.fetch_add(count as u64, Ordering::Relaxed);
                    outage = Outage::default();
                    left = rest;
                }
                Err(error) if error.is_retryable() => {
                    let pause = outage.pause(&error, began);
                    if outage.warns() {
                        tracing::warn!(error = %with_causes(&error), waiting = self.queue.len(), "could not send events; trying again until it works");
                    }
                    tokio::time::sleep(pause).await;
                }
                Err(error) => {
                    tracing::warn!(error = %with_causes(&error), events = count, "could not send events; they are dropped");
                    self.queue.dropped.fetch_add(count as u64, Ordering::Relaxed);
                    left = rest;
                }
            }
        }
    }

    fn note_dropped(&self, dropped: u64) {
        if dropped > 0 {
            self.queue.dropped.fetch_add(dropped, Ordering::Relaxed);
            tracing::warn!(dropped, "too many events waited for the broker: the oldest were dropped");
        }
    }
}
