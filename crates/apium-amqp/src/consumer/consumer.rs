//! The consumer: it hands out what the server sends, up to its prefetch, and opens its channel again when it is lost.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use apium_protocol::error::with_causes;
use apium_transport::broker::consumer::{ConsumeSpec, Consumer, Content, Delivery};
use apium_transport::broker::settlement::{Acker, Receipt, Tag};
use apium_transport::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use lapin::options::BasicNackOptions;
use tokio::task::JoinHandle;

use crate::connection::live_channel::LiveChannel;
use crate::connection::runtime;
use crate::consumer::late_settlements::{MessageKey, OneMessage, Settled};
use crate::consumer::mark_ledger::MarkedRun;
use crate::consumer::open_channel::{OpenChannel, WantedSubscriptions};
use crate::consumer::run_marks::RunMarks;
use crate::consumer::state::{Arrival, Carried, ConsumerState, Incoming};
use crate::crash_points::reached;
use crate::publish::delayed::target_of;
use crate::publish::properties::{copy_number, decode};
use crate::settle::acker::AmqpAcker;
use crate::shared::{BrokerShared, next_number};

/// A consumer of queues of RabbitMQ. Dropping it without [`close`](Consumer::close) is like the death of its worker:
/// the server delivers what it has in flight again.
pub struct AmqpConsumer {
    shared: Arc<BrokerShared>,
    state: Arc<ConsumerState>,
    acker: Arc<AmqpAcker>,
    marks: Arc<RunMarks>,
    wanted: WantedSubscriptions,
    open: Option<OpenChannel>,
    /// The channel while it is opened. That goes on when a call of `next` is dropped.
    opening: Option<JoinHandle<(Option<OpenChannel>, Result<()>)>>,
    /// The subscription that is asked first.
    turn: usize,
}

/// What a look at the channel brought.
enum Look {
    /// Deliveries.
    Batch(Vec<Delivery>),
    /// Messages that were settled here already, with their tags.
    Settled(Vec<(u64, Settled)>),
    /// Messages came again, and their crashes must be counted.
    Uncounted,
    /// The channel must be looked after.
    ChannelLost,
}

impl std::fmt::Debug for AmqpConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AmqpConsumer").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl AmqpConsumer {
    pub(crate) fn new(shared: Arc<BrokerShared>, spec: ConsumeSpec) -> Self {
        let state = Arc::new(ConsumerState::new(spec.prefetch));
        let marks = Arc::new(RunMarks::new(shared.clone()));
        let acker = Arc::new(AmqpAcker::new(shared.clone(), state.clone(), marks.clone()));
        let mut queues: Vec<Arc<str>> = Vec::new();
        for queue in &spec.queues {
            if queues.iter().all(|other| **other != **queue) {
                queues.push(queue.as_str().into());
            }
        }
        let wanted = WantedSubscriptions { queues, node: spec.node, prefetch: spec.prefetch };
        Self { shared, state, acker, marks, wanted, open: None, opening: None, turn: 0 }
    }

    /// Waits until the channel is not being opened any more.
    async fn settle_opening(&mut self) -> Result<()> {
        let Some(opening) = &mut self.opening else { return Ok(()) };
        let opened = opening.await;
        self.opening = None;
        let interrupted = |_| Error::new(ErrorKind::Other, "consume: opening the channel was interrupted");
        let (open, result) = opened.map_err(interrupted)?;
        self.open = open;
        result
    }

    /// Opens the channel and subscribes, where that is needed. Cancel-safe.
    async fn bring_up(&mut self) -> Result<()> {
        // An error of an attempt that was dropped is one of this call.
        self.settle_opening().await?;
        if self.open.as_ref().is_some_and(|open| open.has(&self.wanted)) {
            return Ok(());
        }
        let (shared, state, marks) = (self.shared.clone(), self.state.clone(), self.marks.clone());
        let (wanted, open) = (self.wanted.clone(), self.open.take());
        let opening = async move { OpenChannel::bring_up(&shared, &state, &marks, &wanted, open).await };
        self.opening = Some(runtime::handle()?.spawn(opening));
        self.settle_opening().await
    }

    /// [`Consumer::next`], called directly.
    pub async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>> {
        let max = max.max(1);
        loop {
            self.shared.check_open("wait for messages")?;
            if let Err(error) = self.bring_up().await {
                self.shared.check_open("wait for messages")?;
                return Err(error);
            }
            match poll_fn(|cx| self.look(max, cx)).await {
                Look::Batch(batch) => {
                    reached("handed-out");
                    return Ok(batch);
                }
                Look::Settled(tags) => self.settle_again(tags).await,
                Look::Uncounted => {
                    if let Some(open) = &mut self.open {
                        open.count_crashes(&self.shared).await?;
                    }
                }
                Look::ChannelLost => {}
            }
        }
    }

    fn look(&mut self, max: usize, cx: &mut std::task::Context<'_>) -> Poll<Look> {
        let Some(open) = &mut self.open else { return Poll::Ready(Look::ChannelLost) };
        // Before the room is looked at, so that a settlement in between wakes this.
        self.state.wake_with(cx.waker());
        let ended = open.poll_deliveries(&self.state, cx);
        let (mut batch, mut settled, mut go_on) = (Vec::new(), Vec::new(), Vec::new());
        let mut uncounted = false;
        let count = open.subscriptions.len();
        let mut empty = 0;
        while empty < count && batch.len() < max && self.state.room() > 0 {
            let turn = self.turn % count;
            self.turn = (self.turn + 1) % count;
            let crashes = open.subscriptions[turn].ready.front().map(|first| open.crashes_of(first));
            let Some(Some(crashes)) = crashes else {
                uncounted |= crashes.is_some();
                empty += 1;
                continue;
            };
            let subscription = &mut open.subscriptions[turn];
            let Some(delivery) = subscription.ready.pop_front() else { continue };
            empty = 0;
            let queue = subscription.queue.clone();
            match hand_out(&self.shared, &self.state, queue, delivery, crashes) {
                Handed::New(delivery) => batch.push(*delivery),
                Handed::Attached(run) => go_on.extend(run),
                Handed::Settled(tag, how) => settled.push((tag, how)),
            }
        }
        self.mark_again(go_on);
        if !settled.is_empty() && batch.is_empty() {
            return Poll::Ready(Look::Settled(settled));
        }
        if !settled.is_empty() {
            // The next look finds none of them, so they are sent beside this batch.
            self.settle_beside(settled);
        }
        if !batch.is_empty() {
            return Poll::Ready(Look::Batch(batch));
        }
        if uncounted {
            return Poll::Ready(Look::Uncounted);
        }
        if ended { Poll::Ready(Look::ChannelLost) } else { Poll::Pending }
    }

    /// Settles messages that were settled before their channel was lost.
    async fn settle_again(&self, tags: Vec<(u64, Settled)>) {
        if let Some(open) = &self.open {
            settle_again(open.channel().clone(), &self.state, tags).await;
        }
    }

    fn settle_beside(&self, tags: Vec<(u64, Settled)>) {
        if let (Some(open), Ok(handle)) = (&self.open, runtime::handle()) {
            let (channel, state) = (open.channel().clone(), self.state.clone());
            handle.spawn(async move { settle_again(channel, &state, tags).await });
        }
    }

    /// Marks runs that go on after their mark was lost.
    fn mark_again(&self, runs: Vec<MarkedRun>) {
        if let (false, Ok(handle)) = (runs.is_empty(), runtime::handle()) {
            let marks = self.marks.clone();
            handle.spawn(async move {
                if let Err(error) = marks.mark_started(runs, false).await {
                    tracing::debug!(error = %with_causes(&error), "could not mark runs again after a cut");
                }
            });
        }
    }

    /// Ends the subscriptions and gives back what was not handed out.
    async fn stop_fetching(&mut self, only: Option<&str>) {
        // What it is an error of is opened by the next call of `next`.
        let _ = self.settle_opening().await;
        if let Some(open) = &mut self.open {
            open.cancel(&self.state, only).await;
            open.give_back(&self.state, only).await;
        }
    }
}

async fn settle_again(channel: LiveChannel, state: &ConsumerState, tags: Vec<(u64, Settled)>) {
    for (tag, how) in tags {
        // Alone: a group would settle what others still run.
        state.group(vec![tag]);
        let sent = match how {
            Settled::Acked => channel.ack(tag, false).await,
            Settled::Discarded => {
                let options = BasicNackOptions { multiple: false, requeue: false };
                channel.attempt(|channel| channel.basic_nack(tag, options)).await
            }
        };
        if let Err(error) = sent {
            tracing::debug!(error = %with_causes(&error), "a message that was settled before comes once more");
        }
    }
}

/// What becomes of a message that came.
enum Handed {
    New(Box<Delivery>),
    Attached(Option<MarkedRun>),
    Settled(u64, Settled),
}

fn hand_out(
    shared: &BrokerShared,
    state: &ConsumerState,
    queue: Arc<str>,
    delivery: lapin::message::Delivery,
    crashes: u32,
) -> Handed {
    let (tag, redelivered) = (delivery.delivery_tag, delivery.redelivered);
    let carried = Arc::new(Carried { properties: delivery.properties, body: Bytes::from(delivery.data) });
    let decoded = decode(&carried.properties, carried.body.clone());
    let key = decoded.as_ref().ok().and_then(|message| MessageKey::of(&queue, message));
    let fence = next_number(&shared.clock);
    let number = key.as_ref().map_or(fence, MessageKey::number);
    let message = key.map(|key| OneMessage::new(key, copy_number(&carried.properties)));
    let incoming =
        Incoming { tag, fence, redelivered, crashes, message, queue: queue.clone(), carried: carried.clone() };
    match state.arrive(incoming) {
        Arrival::Attached(run) => {
            tracing::debug!(queue = &*queue, "a message that is in a run came again; the run goes on");
            return Handed::Attached(run);
        }
        Arrival::Settled(how) => return Handed::Settled(tag, how),
        Arrival::New => {}
    }
    // The way through the queues of delays is no place to answer to.
    let (exchange, routing_key): (Arc<str>, Arc<str>) = match target_of(delivery.routing_key.as_str()) {
        Some(_) => ("".into(), queue.clone()),
        None => (delivery.exchange.as_str().into(), delivery.routing_key.as_str().into()),
    };
    let content = match decoded {
        Ok(message) => Content::Message(message),
        Err(reason) => Content::Unreadable { raw: carried.body.clone(), reason },
    };
    let mut handed = Delivery::new(Receipt::new(Tag::Number(number), fence), queue, exchange, routing_key, content);
    (handed.redelivered, handed.crashes) = (redelivered, crashes);
    Handed::New(Box::new(handed))
}

impl Drop for AmqpConsumer {
    fn drop(&mut self) {
        self.state.close();
        self.marks.abandon();
    }
}

impl Consumer for AmqpConsumer {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        Box::pin(self.next_batch(max))
    }

    fn acker(&self) -> Arc<dyn Acker> {
        self.acker.clone()
    }

    fn set_prefetch(&mut self, prefetch: usize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.wanted.prefetch = prefetch;
            self.state.set_prefetch(prefetch);
            let _ = self.settle_opening().await;
            let wanted = self.wanted.clone();
            if let Some(open) = self.open.as_mut().filter(|open| open.misfits(&wanted)) {
                // The server takes a new limit for new subscriptions only. The next call of `next` makes them.
                open.cancel(&self.state, None).await;
            }
            Ok(())
        })
    }

    fn pause(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.stop_fetching(None).await;
            Ok(())
        })
    }

    fn subscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.shared.check_open("subscribe to a queue")?;
            self.shared.ensure_queue(queue).await?;
            let _ = self.settle_opening().await;
            if self.wanted.queues.iter().all(|other| **other != *queue) {
                self.wanted.queues.push(queue.into());
            }
            Ok(())
        })
    }

    fn unsubscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.wanted.queues.retain(|other| **other != *queue);
            self.stop_fetching(Some(queue)).await;
            Ok(())
        })
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let _ = self.settle_opening().await;
            self.state.close();
            self.marks.close().await;
            reached("close-marks");
            if let Some(open) = self.open.take() {
                // The server requeues everything before it answers. If it does not answer, it has done so already.
                let _ = open.channel().close().await;
                reached("close-requeued");
            }
            Ok(())
        })
    }
}
