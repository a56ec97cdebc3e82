//! The consuming half: claims are asked of the writer, and what they bring is decoded here, off its thread.

use std::collections::VecDeque;
use std::sync::Arc;

use apium_transport::broker::consumer::{Consumer, Delivery};
use apium_transport::broker::settlement::Acker;
use apium_transport::error::Result;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::consumer::claim::{Claimed, claim};
use crate::consumer::lease::{ensure_registered, remove, subscribe, unsubscribe};
use crate::consumer::state::Seat;
use crate::handle::Handle;
use crate::publish::message_row::{Stored, instant};
use crate::settle::acker::SqliteAcker;
use crate::store::request::Weight;
use crate::store::topology::ensure_queue;
use crate::store::transaction::Tx;

/// The most that one claim takes.
const MAX_CLAIM: usize = 1024;

/// A consumer of a [`SqliteBroker`](crate::SqliteBroker). Dropping it without [`close`](Consumer::close) is taken for the death
/// of its worker: what it holds is delivered again, and runs that had begun count a crash.
#[derive(Debug)]
pub struct SqliteConsumer {
    handle: Handle,
    seat: Arc<Seat>,
    /// A claim that was asked for; kept here so that a dropped `next` loses nothing.
    asked: Option<oneshot::Receiver<Result<Claimed>>>,
    /// Claimed and not yet handed out.
    waiting: VecDeque<Stored>,
    default_exchange: Arc<str>,
}

impl SqliteConsumer {
    pub(crate) fn new(handle: Handle, seat: Arc<Seat>) -> Self {
        Self { handle, seat, asked: None, waiting: VecDeque::new(), default_exchange: "".into() }
    }

    async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>> {
        let max = max.max(1);
        loop {
            self.handle.check_open("wait for messages")?;
            if !self.waiting.is_empty() {
                let count = self.waiting.len().min(max);
                let exchange = &self.default_exchange;
                return Ok(self.waiting.drain(..count).map(|stored| stored.into_delivery(exchange)).collect());
            }
            let Some(asked) = &mut self.asked else {
                self.ask(max).await?;
                continue;
            };
            let claimed = asked.await;
            self.asked = None;
            let claimed = claimed.unwrap_or_else(|_| Ok(Claimed::default()))?;
            if claimed.letters.is_empty() {
                self.wait_for_wake(claimed.next_due).await;
                continue;
            }
            let deliveries = claimed.letters.iter().map(|l| (l.id.cast_unsigned(), l.fence.cast_unsigned()));
            self.seat.hold(deliveries);
            self.waiting = claimed.letters.into();
        }
    }

    /// Asks for a claim, once there is room for it.
    async fn ask(&mut self, max: usize) -> Result<()> {
        let room = self.seat.room();
        if room == 0 {
            self.seat.notify.notified().await;
            return Ok(());
        }
        let (seat, max) = (self.seat.clone(), max.min(room).min(MAX_CLAIM));
        let queues = seat.queues_in_turn();
        let work = move |tx: &mut Tx<'_>| {
            ensure_registered(tx, &seat)?;
            claim(tx, seat.id, &queues, max)
        };
        self.asked = Some(self.handle.opened.store.write_soon("claim", Weight::passing(max), work).await?);
        Ok(())
    }

    /// Waits for a sign of new messages, or for the next one to be due.
    async fn wait_for_wake(&self, next_due: Option<i64>) {
        match next_due {
            None => self.seat.notify.notified().await,
            Some(due) => tokio::select! {
                biased;
                () = self.seat.notify.notified() => {}
                () = self.handle.opened.store.clock.sleep_until(instant(due)) => {}
            },
        }
    }
}

impl Drop for SqliteConsumer {
    fn drop(&mut self) {
        if self.seat.leave() {
            let (seat, begun) = (self.seat.clone(), self.seat.begun());
            self.handle.opened.store.write_unasked(
                "give back deliveries",
                Weight::durable(64),
                move |tx: &mut Tx<'_>| {
                    remove(tx, seat.id, |id, fence| begun.contains(&(id, fence)))?;
                    seat.remove_mark();
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
        Arc::new(SqliteAcker::new(self.handle.clone(), self.seat.clone()))
    }

    fn set_prefetch(&mut self, prefetch: usize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.seat.set_prefetch(prefetch);
            Ok(())
        })
    }

    fn subscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (name, id) = (queue.to_owned(), self.seat.id);
            let work = move |tx: &mut Tx<'_>| {
                let queue = ensure_queue(tx, &name)?;
                subscribe(tx, id, queue.id)?;
                Ok(queue)
            };
            let queue = self.handle.writing("subscribe to a queue", Weight::durable(1), work).await?;
            self.seat.add_queue(queue);
            self.seat.notify.notify_one();
            Ok(())
        })
    }

    fn unsubscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let Some(queue) = self.seat.remove_queue(queue) else { return Ok(()) };
            let id = self.seat.id;
            let work = move |tx: &mut Tx<'_>| unsubscribe(tx, id, queue.id);
            self.handle.writing("unsubscribe from a queue", Weight::passing(1), work).await
        })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            if !self.seat.leave() {
                return Ok(());
            }
            let (seat, id) = (self.seat.clone(), self.seat.id);
            let work = move |tx: &mut Tx<'_>| remove(tx, id, |_, _| false);
            let closed = self.handle.opened.store.write("give back deliveries", Weight::durable(64), work).await;
            if closed.is_ok() {
                seat.remove_mark();
            }
            closed.map(|_| ())
        })
    }
}
