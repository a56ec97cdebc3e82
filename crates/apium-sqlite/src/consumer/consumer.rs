//! The consumer. It sends its claims to the writer thread. It decodes the messages itself, which saves the writer
//! time.

use std::collections::VecDeque;
use std::sync::Arc;

use apium_transport::broker::consumer::{Consumer, Delivery};
use apium_transport::broker::settlement::{Acker, Disposition, Receipt, Tag, lost_receipts};
use apium_transport::error::Result;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::consumer::claim::{Claimed, claim};
use crate::consumer::reclaim::reclaim;
use crate::consumer::registration::{ensure_registered, subscribe, unsubscribe};
use crate::consumer::state::ConsumerState;
use crate::handle::Handle;
use crate::publish::message_row::{StoredMessage, instant};
use crate::settle::acker::SqliteAcker;
use crate::store::request::RequestCost;
use crate::store::topology::ensure_queue;
use crate::store::transaction::Tx;

/// The most messages of one claim.
const MAX_CLAIM: usize = 1024;

/// A consumer of a [`SqliteBroker`](crate::SqliteBroker). Dropping it without [`close`](Consumer::close) counts as the
/// death of its worker: its in-flight messages are requeued, and each run that had started counts a crash.
#[derive(Debug)]
pub struct SqliteConsumer {
    handle: Handle,
    state: Arc<ConsumerState>,
    /// A claim that was sent to the writer. It is kept here, so that a dropped `next` loses nothing.
    pending_claim: Option<oneshot::Receiver<Result<Claimed>>>,
    /// Claimed and not yet returned by `next`.
    buffer: VecDeque<StoredMessage>,
    default_exchange: Arc<str>,
}

impl SqliteConsumer {
    pub(crate) fn new(handle: Handle, state: Arc<ConsumerState>) -> Self {
        Self { handle, state, pending_claim: None, buffer: VecDeque::new(), default_exchange: "".into() }
    }

    async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>> {
        let max = max.max(1);
        loop {
            self.handle.check_open("wait for messages")?;
            if !self.buffer.is_empty() {
                let count = self.buffer.len().min(max);
                let exchange = &self.default_exchange;
                return Ok(self.buffer.drain(..count).map(|stored| stored.into_delivery(exchange)).collect());
            }
            let Some(claimed) = self.claimed().await else {
                self.request_claim(max).await?;
                continue;
            };
            let next_due = claimed?;
            if self.buffer.is_empty() {
                self.wait_for_wake(next_due).await;
            }
        }
    }

    /// Waits for the claim that was sent, and puts what it brought into the buffer. Returns when the next delayed
    /// message is due; `None` if no claim was sent.
    async fn claimed(&mut self) -> Option<Result<Option<i64>>> {
        let claimed = self.pending_claim.as_mut()?.await;
        self.pending_claim = None;
        let claimed = claimed.unwrap_or_else(|_| Ok(Claimed::default())).map(|claimed| {
            let deliveries =
                claimed.messages.iter().map(|stored| (stored.id.cast_unsigned(), stored.fence.cast_unsigned()));
            self.state.add_in_flight(deliveries);
            self.buffer.extend(claimed.messages);
            claimed.next_due
        });
        Some(claimed)
    }

    /// Requeues what was claimed and not handed out.
    async fn return_buffer(&mut self) -> Result<()> {
        if let Some(claimed) = self.claimed().await {
            claimed?;
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        let requeue = |stored: &StoredMessage| {
            let receipt = Receipt::new(Tag::Number(stored.id.cast_unsigned()), stored.fence.cast_unsigned());
            (receipt, Disposition::Requeue)
        };
        let receipts = self.buffer.iter().map(requeue).collect();
        match self.acker().reject(receipts).await {
            Err(error) if lost_receipts(&error).is_empty() => return Err(error),
            // What is lost is in flight at another consumer.
            _ => self.buffer.clear(),
        }
        Ok(())
    }

    /// Sends a claim to the writer, or waits until there is free prefetch.
    async fn request_claim(&mut self, max: usize) -> Result<()> {
        let free = self.state.free_prefetch();
        if free == 0 {
            self.state.notify.notified().await;
            return Ok(());
        }
        let (state, max) = (self.state.clone(), max.min(free).min(MAX_CLAIM));
        let queues = state.queues_in_turn();
        let operation = move |tx: &mut Tx<'_>| {
            ensure_registered(tx, &state)?;
            claim(tx, state.id, &queues, max)
        };
        self.pending_claim =
            Some(self.handle.file.store.send_write("claim", RequestCost::volatile(max), operation).await?);
        Ok(())
    }

    /// Waits until there may be new messages, or until the next delayed one is due.
    async fn wait_for_wake(&self, next_due: Option<i64>) {
        match next_due {
            None => self.state.notify.notified().await,
            Some(due) => tokio::select! {
                biased;
                () = self.state.notify.notified() => {}
                () = self.handle.file.store.clock.sleep_until(instant(due)) => {}
            },
        }
    }
}

impl Drop for SqliteConsumer {
    fn drop(&mut self) {
        if self.state.close() {
            let (state, started) = (self.state.clone(), self.state.started());
            self.handle.file.store.write_detached(
                "requeue the deliveries of a dropped consumer",
                RequestCost::durable(64),
                move |tx: &mut Tx<'_>| {
                    reclaim(tx, state.id, |id, fence| started.contains(&(id, fence)))?;
                    state.remove_lock_file();
                    Ok(())
                },
            );
        }
    }
}

impl Consumer for SqliteConsumer {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        Box::pin(self.next_batch(max))
    }

    fn acker(&self) -> Arc<dyn Acker> {
        Arc::new(SqliteAcker::new(self.handle.clone(), self.state.clone()))
    }

    fn set_prefetch(&mut self, prefetch: usize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.state.set_prefetch(prefetch);
            Ok(())
        })
    }

    fn pause(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.return_buffer())
    }

    fn subscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (name, id) = (queue.to_owned(), self.state.id);
            let operation = move |tx: &mut Tx<'_>| {
                let queue = ensure_queue(tx, &name)?;
                subscribe(tx, id, queue.id)?;
                Ok(queue)
            };
            let queue = self.handle.write("subscribe to a queue", RequestCost::durable(1), operation).await?;
            self.state.add_queue(queue);
            self.state.notify.notify_one();
            Ok(())
        })
    }

    fn unsubscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let Some(queue) = self.state.remove_queue(queue) else { return Ok(()) };
            let id = self.state.id;
            let operation = move |tx: &mut Tx<'_>| unsubscribe(tx, id, queue.id);
            self.handle.write("unsubscribe from a queue", RequestCost::volatile(1), operation).await
        })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            if !self.state.close() {
                return Ok(());
            }
            let (state, id) = (self.state.clone(), self.state.id);
            let operation = move |tx: &mut Tx<'_>| reclaim(tx, id, |_, _| false);
            let what = "requeue the deliveries of a closed consumer";
            let cost = RequestCost::durable(64).outliving_caller();
            let closed = self.handle.file.store.write(what, cost, operation).await;
            if closed.is_ok() {
                state.remove_lock_file();
            }
            closed.map(|_| ())
        })
    }
}
