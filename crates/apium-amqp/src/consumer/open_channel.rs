//! The channel of a consumer, and its subscriptions, one for each queue.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_transport::error::{ErrorKind, Result};
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::{Stream as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use tokio::task::JoinHandle;

use crate::connection::live_channel::LiveChannel;
use crate::connection::runtime;
use crate::consumer::crash_records;
use crate::consumer::late_settlements::MessageKey;
use crate::consumer::run_marks::RunMarks;
use crate::consumer::state::ConsumerState;
use crate::publish::properties::{crashes_before, decode};
use crate::publish::table::short;
use crate::shared::BrokerShared;

/// How long deliveries that came again wait for the count of their crashes.
const COUNTING: Duration = Duration::from_secs(2);

/// A subscription to a queue.
pub(crate) struct Subscription {
    pub(crate) queue: Arc<str>,
    /// The stream of deliveries; `None` while the consumer pauses, or after the server has ended it.
    stream: Option<lapin::Consumer>,
    /// Whether the server has ended it, as it does when the queue is deleted.
    is_gone: bool,
    /// What came and is not handed out.
    pub(crate) ready: VecDeque<Delivery>,
}

/// The channel of a consumer.
pub(crate) struct OpenChannel {
    channel: LiveChannel,
    pub(crate) subscriptions: Vec<Subscription>,
    /// The limit of unsettled deliveries of each subscription, as the server has it.
    qos: Option<u16>,
    /// The crashes of messages that are in `ready` and were delivered before, by their tags.
    crashes: HashMap<u64, u32>,
    /// The crashes that are being counted. That goes on when its caller is dropped.
    counting: Option<JoinHandle<HashMap<u64, u32>>>,
}

/// What a consumer wants of its channel.
#[derive(Debug, Clone)]
pub(crate) struct WantedSubscriptions {
    pub(crate) queues: Vec<Arc<str>>,
    pub(crate) node: String,
    /// How many deliveries may be in flight; 0 is unlimited.
    pub(crate) prefetch: usize,
}

impl WantedSubscriptions {
    fn qos(&self) -> u16 {
        u16::try_from(self.prefetch).unwrap_or(u16::MAX)
    }
}

impl OpenChannel {
    /// Whether it can be used, and has what is wanted.
    pub(crate) fn has(&self, wanted: &WantedSubscriptions) -> bool {
        let has = |queue: &Arc<str>| {
            let found = self.subscriptions.iter().find(|one| one.queue == *queue);
            found.is_some_and(|one| one.stream.is_some())
        };
        self.is_open() && wanted.queues.iter().all(has)
    }

    fn is_open(&self) -> bool {
        self.channel.is_open()
    }

    /// Opens a channel if there is none that can be used, and subscribes to what is wanted. What was open before is
    /// given back, also with an error.
    pub(crate) async fn bring_up(
        shared: &BrokerShared,
        state: &ConsumerState,
        marks: &Arc<RunMarks>,
        wanted: &WantedSubscriptions,
        before: Option<Self>,
    ) -> (Option<Self>, Result<()>) {
        let mut before = before;
        let mut again = true;
        loop {
            let mut open = match before.filter(Self::is_open) {
                Some(open) => open,
                None => {
                    state.lose_channel();
                    marks.lose();
                    match Self::open(shared).await {
                        Ok(open) => {
                            // Others may read the records at this moment, and nothing here waits for that.
                            if let Ok(handle) = runtime::handle() {
                                let marks = marks.clone();
                                handle.spawn(async move { marks.restore().await });
                            }
                            open
                        }
                        Err(error) => return (None, Err(error)),
                    }
                }
            };
            state.set_channel(open.channel.clone());
            match open.subscribe_all(shared, wanted).await {
                // A queue was deleted that was there a moment ago.
                Err(error) if error.kind() == ErrorKind::NotFound && again => {
                    again = false;
                    before = Some(open);
                }
                subscribed => return (Some(open), subscribed),
            }
        }
    }

    async fn open(shared: &BrokerShared) -> Result<Self> {
        let live = shared.consuming.get("consume").await?;
        let channel = live.channel("consume").await?;
        Ok(Self { channel, subscriptions: Vec::new(), qos: None, crashes: HashMap::new(), counting: None })
    }

    async fn subscribe_all(&mut self, shared: &BrokerShared, wanted: &WantedSubscriptions) -> Result<()> {
        for queue in &wanted.queues {
            let index = self.subscriptions.iter().position(|one| one.queue == *queue);
            if index.is_some_and(|index| self.subscriptions[index].stream.is_some()) {
                continue;
            }
            if index.is_some_and(|index| self.subscriptions[index].is_gone) {
                shared.declared.forget_queue(queue);
            }
            shared.ensure_queue(queue).await?;
            let what = format!("consume from the queue {queue:?}");
            let stream = self.subscribe(&what, queue, wanted).await;
            let stream = stream.map_err(|error| {
                if crate::errors::is_not_found(&error) {
                    shared.declared.forget_queue(queue);
                }
                self.channel.error(&what, &error)
            })?;
            match index {
                Some(index) => {
                    self.subscriptions[index].stream = Some(stream);
                    self.subscriptions[index].is_gone = false;
                }
                None => {
                    let (queue, ready) = (queue.clone(), VecDeque::new());
                    self.subscriptions.push(Subscription { queue, stream: Some(stream), is_gone: false, ready });
                }
            }
        }
        Ok(())
    }

    async fn subscribe(
        &mut self,
        what: &str,
        queue: &str,
        wanted: &WantedSubscriptions,
    ) -> lapin::Result<lapin::Consumer> {
        let qos = wanted.qos();
        if self.qos != Some(qos) {
            // It counts for the subscriptions that are made after it.
            self.set_qos(qos).await?;
            self.qos = Some(qos);
        }
        // The tag is what the server's operator sees.
        let tag = short("consumer tag", &format!("{}.{}", wanted.node, uuid::Uuid::new_v4().simple()))
            .unwrap_or_else(|_| uuid::Uuid::new_v4().to_string().as_str().into());
        // Queues with long names were declared, so they fit.
        let Ok(queue) = short(what, queue) else {
            return Err(lapin::ErrorKind::InvalidChannel(0).into());
        };
        self.channel.consume(queue, tag, BasicConsumeOptions::default()).await
    }

    async fn set_qos(&self, limit: u16) -> lapin::Result<()> {
        self.channel.attempt(|channel| channel.basic_qos(limit, BasicQosOptions { global: false })).await
    }

    /// Takes what has come into `ready`. Returns whether a subscription has ended, or the channel is lost.
    pub(crate) fn poll_deliveries(&mut self, state: &ConsumerState, cx: &mut Context<'_>) -> bool {
        let mut ended = false;
        for subscription in &mut self.subscriptions {
            while let Some(stream) = &mut subscription.stream {
                match Pin::new(stream).poll_next(cx) {
                    Poll::Ready(Some(Ok(delivery))) => {
                        state.received(delivery.delivery_tag);
                        subscription.ready.push_back(delivery);
                    }
                    Poll::Ready(Some(Err(_)) | None) => {
                        subscription.stream = None;
                        subscription.is_gone = true;
                        ended = true;
                    }
                    Poll::Pending => break,
                }
            }
        }
        ended
    }

    /// How many crashes a message in `ready` had; `None` if that must be counted first.
    pub(crate) fn crashes_of(&self, delivery: &Delivery) -> Option<u32> {
        match delivery.redelivered || crashes_before(&delivery.properties) > 0 {
            true => self.crashes.get(&delivery.delivery_tag).copied(),
            false => Some(0),
        }
    }

    /// Counts the crashes of what is in `ready` and was delivered before. Cancel-safe.
    pub(crate) async fn count_crashes(&mut self, shared: &Arc<BrokerShared>) -> Result<()> {
        let counting = match &mut self.counting {
            Some(counting) => counting,
            None => {
                let mut keys = HashMap::new();
                let mut before = HashMap::new();
                for (queue, delivery) in
                    self.subscriptions.iter().flat_map(|one| one.ready.iter().map(|d| (&one.queue, d)))
                {
                    if self.crashes_of(delivery).is_none() {
                        before.insert(delivery.delivery_tag, crashes_before(&delivery.properties));
                        let message = decode(&delivery.properties, Bytes::new()).ok();
                        let key = message.and_then(|message| MessageKey::of(queue, &message));
                        keys.extend(key.map(|key| (delivery.delivery_tag, key)));
                    }
                }
                let shared = shared.clone();
                self.counting.insert(runtime::handle()?.spawn(async move { count(&shared, keys, before).await }))
            }
        };
        let counted = counting.await;
        self.counting = None;
        self.crashes.extend(counted.unwrap_or_default());
        Ok(())
    }

    /// Whether the limit at the server is far from what is wanted, so that the subscriptions must be made again.
    pub(crate) fn misfits(&self, wanted: &WantedSubscriptions) -> bool {
        let new = usize::from(wanted.qos());
        match self.qos.map(usize::from) {
            None => false,
            Some(0) => new != 0,
            Some(old) => new == 0 || new > old || new * 2 <= old,
        }
    }

    /// Ends subscriptions: all, or that of one queue. What came before that is in `ready`. Cancel-safe.
    pub(crate) async fn cancel(&mut self, state: &ConsumerState, only: Option<&str>) {
        for index in 0..self.subscriptions.len() {
            let subscription = &self.subscriptions[index];
            let is_meant = only.is_none_or(|queue| *subscription.queue == *queue);
            let Some(stream) = subscription.stream.as_ref().filter(|_| is_meant) else { continue };
            let (tag, options) = (stream.tag(), BasicCancelOptions::default());
            let is_cancelled = self.channel.attempt(|channel| channel.basic_cancel(tag, options)).await.is_ok();
            let subscription = &mut self.subscriptions[index];
            if is_cancelled && let Some(stream) = &mut subscription.stream {
                while let Some(Ok(delivery)) = stream.next().await {
                    state.received(delivery.delivery_tag);
                    subscription.ready.push_back(delivery);
                }
            }
            // Otherwise the channel is lost, and everything comes again.
            subscription.stream = None;
        }
    }

    /// Gives back what came and is not handed out: all, or that of one queue. Cancel-safe: all commands are on their
    /// way with the first poll.
    pub(crate) async fn give_back(&mut self, state: &ConsumerState, only: Option<&str>) {
        let mut tags = Vec::new();
        for subscription in &mut self.subscriptions {
            if only.is_none_or(|queue| *subscription.queue == *queue) {
                tags.extend(subscription.ready.drain(..).map(|delivery| delivery.delivery_tag));
            }
        }
        if let Some(queue) = only {
            self.subscriptions.retain(|subscription| *subscription.queue != *queue);
        }
        if tags.is_empty() {
            return;
        }
        let groups = state.group(tags);
        // If one fails, the channel is lost, and everything comes again.
        let _ = self
            .channel
            .attempt(|channel| {
                let nack = |(tag, multiple)| channel.basic_nack(tag, BasicNackOptions { multiple, requeue: true });
                try_join_all(groups.into_iter().map(nack))
            })
            .await;
        // The server answers no reject. After the answer to this, it has requeued all of them.
        let limit = self.qos.unwrap_or_default();
        let _ = self.set_qos(limit).await;
    }

    /// The channel, to settle what came by it.
    pub(crate) fn channel(&self) -> &LiveChannel {
        &self.channel
    }
}

/// Counts crashes by tag. What cannot be counted within two seconds has those that it had before.
async fn count(shared: &BrokerShared, keys: HashMap<u64, MessageKey>, before: HashMap<u64, u32>) -> HashMap<u64, u32> {
    let wanted = keys.values().cloned().collect();
    let counted = match tokio::time::timeout(COUNTING, crash_records::count(shared, &wanted)).await {
        Ok(Ok(counted)) => counted,
        Ok(Err(error)) => {
            tracing::debug!(error = %with_causes(&error), "could not count the crashes of messages that came again");
            HashMap::new()
        }
        Err(_) => {
            tracing::debug!("could not count the crashes of messages that came again in time");
            HashMap::new()
        }
    };
    let counted = |tag: u64| keys.get(&tag).and_then(|key| counted.get(key)).copied().unwrap_or_default();
    before.into_iter().map(|(tag, before)| (tag, before.max(counted(tag)))).collect()
}
