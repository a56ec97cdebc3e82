//! Broadcasts: sending, and the two kinds of mailboxes. Who listens to a fanout or topic exchange hears its channels on
//! the broker's one subscribing connection. Replies come by a list, which is asked only while somebody waits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_protocol::message::envelope::Envelope;
use apium_protocol::value::printable::printable;
use apium_transport::broker::broadcast::{Broadcast, BroadcastExchange, Broadcasted, Mailbox, MailboxSpec, Received};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topic::topic_matches;
use apium_transport::broker::topology::ExchangeType;
use apium_transport::error::{Error, Result};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use redis::Value;
use tokio::time::Instant;

use crate::broker::RedisBroker;
use crate::errors::unexpected_reply;
use crate::publish::broadcast::{fanout_names, topic_names};
use crate::publish::replies::RENEW_AFTER;
use crate::publish::reply_lists::ReplyList;
use crate::pubsub::listeners::{HeardMessage, ListenerState};
use crate::shared::BrokerShared;

/// How many messages one call of `next` returns at most.
const MOST_AT_ONCE: usize = 256;
/// The first pause before a list is asked again, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The pause while the server does not answer.
const TROUBLE_PAUSE: Duration = Duration::from_millis(250);
/// How often it is logged that messages cannot be read.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Reads envelopes. Those that cannot be read are left out, and logged from time to time.
#[derive(Debug)]
struct EnvelopeReader {
    spec: MailboxSpec,
    logged_at: Option<Instant>,
    left_out: u64,
}

impl EnvelopeReader {
    fn new(spec: MailboxSpec) -> Self {
        Self { spec, logged_at: None, left_out: 0 }
    }

    /// Reads an envelope that came with this routing key, as far as the channel says.
    fn read(&mut self, raw: &Bytes, routing_key: Option<&str>) -> Option<Broadcasted> {
        match Envelope::decode(raw) {
            Ok(envelope) => {
                let key = envelope.routing_key.or_else(|| routing_key.map(Arc::from)).unwrap_or_default();
                Some(Broadcasted::new(key, envelope.message))
            }
            Err(error) => {
                self.left_out += 1;
                if self.logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                    self.logged_at = Some(Instant::now());
                    tracing::warn!(
                        exchange = %printable(&self.spec.exchange.name),
                        bytes = raw.len(),
                        left_out = std::mem::take(&mut self.left_out),
                        error = %with_causes(&error),
                        "left out what came by a broadcast and is no message"
                    );
                }
                None
            }
        }
    }
}

/// A mailbox on a fanout or topic exchange.
struct ChannelMailbox {
    shared: Arc<BrokerShared>,
    state: Arc<ListenerState>,
    reader: EnvelopeReader,
    /// Whether messages are missing before the next ones that can be read.
    missed: bool,
}

impl ChannelMailbox {
    async fn open(shared: &Arc<BrokerShared>, spec: MailboxSpec) -> Result<Self> {
        let names = match spec.exchange.kind {
            ExchangeType::Topic => topic_names(&shared.keys, &spec.exchange.name, &spec.binding),
            _ => fanout_names(&shared.keys, &spec.exchange.name),
        };
        let state = ListenerState::new(names, spec.capacity);
        let subscriber = shared.subscriber();
        shared.channels.listeners.add(&state);
        subscriber.need(&state.names);
        // If it cannot be opened, dropping it needs the names no more.
        let mailbox = Self { shared: shared.clone(), state, reader: EnvelopeReader::new(spec), missed: false };
        subscriber.caught_up().await?;
        mailbox.state.begin();
        Ok(mailbox)
    }

    /// Takes what has come.
    fn take(&mut self) -> Option<Received> {
        loop {
            let (heard, missed) = self.state.take(MOST_AT_ONCE);
            if heard.is_empty() {
                return None;
            }
            self.missed |= missed;
            let messages: Vec<Broadcasted> = heard.into_iter().filter_map(|message| self.read(message)).collect();
            if !messages.is_empty() {
                return Some(Received::new(messages, std::mem::take(&mut self.missed)));
            }
        }
    }

    fn read(&mut self, HeardMessage { channel, envelope }: HeardMessage) -> Option<Broadcasted> {
        let key = self.shared.keys.routing_key_of(&channel, &self.reader.spec.exchange.name);
        let message = self.reader.read(&envelope, key)?;
        let MailboxSpec { exchange, binding, .. } = &self.reader.spec;
        let is_meant = exchange.kind != ExchangeType::Topic || topic_matches(binding, &message.routing_key);
        is_meant.then_some(message)
    }
}

impl Mailbox for ChannelMailbox {
    fn next(&mut self) -> BoxFuture<'_, Result<Received>> {
        Box::pin(async {
            // The runtime that served the connection may have ended.
            self.shared.subscriber().keep_running();
            loop {
                self.shared.check_open("listen")?;
                if let Some(received) = self.take() {
                    return Ok(received);
                }
                tokio::select! {
                    () = self.state.wake.notified() => {}
                    () = self.shared.connection.wait_closed() => {}
                }
            }
        })
    }
}

impl Drop for ChannelMailbox {
    fn drop(&mut self) {
        self.shared.channels.listeners.remove(&self.state);
        self.shared.subscriber().unsubscribe(self.state.names.clone());
    }
}

/// A mailbox on a direct exchange.
struct ReplyMailbox {
    shared: Arc<BrokerShared>,
    list: Arc<ReplyList>,
    reader: EnvelopeReader,
    /// The question that is under way. It outlives a `next` that is dropped: its answer is the only one.
    asking: Option<BoxFuture<'static, Result<Vec<Bytes>>>>,
    ask_at: Instant,
    pause: Duration,
    /// When the binding was written last, and on which connection.
    renewed: (Instant, u64),
    missed: bool,
}

impl ReplyMailbox {
    async fn open(shared: &Arc<BrokerShared>, spec: MailboxSpec) -> Result<Self> {
        let list = ReplyList::new(&shared.keys, &spec);
        shared.open_replies(&list).await?;
        Ok(Self {
            renewed: (Instant::now(), shared.connection.number()),
            shared: shared.clone(),
            list,
            reader: EnvelopeReader::new(spec),
            asking: None,
            ask_at: Instant::now(),
            pause: FIRST_PAUSE,
            missed: false,
        })
    }

    /// Asks the list, and writes the binding again from time to time.
    fn ask(&mut self) -> BoxFuture<'static, Result<Vec<Bytes>>> {
        let number = self.shared.connection.number();
        let is_renewed = self.renewed.0.elapsed() >= RENEW_AFTER || self.renewed.1 != number;
        if is_renewed {
            // A server that was away may have lost the list.
            self.missed |= self.renewed.1 != number;
            self.renewed = (Instant::now(), number);
        }
        let (shared, list) = (self.shared.clone(), self.list.clone());
        Box::pin(async move {
            if is_renewed {
                shared.renew_replies(&list).await?;
            }
            let mut command = redis::cmd("RPOP");
            command.arg(list.list()).arg(MOST_AT_ONCE);
            match shared.connection.command("read replies", &command).await? {
                Value::Nil => Ok(Vec::new()),
                answer => redis::from_redis_value(answer).map_err(|_| unexpected_reply("read replies")),
            }
        })
    }

    /// Takes an answer. `None`: go on waiting.
    fn answered(&mut self, answer: Result<Vec<Bytes>>) -> Option<Result<Received>> {
        let replies = match answer {
            Ok(replies) => replies,
            Err(error) if error.is_retryable() => {
                // The answer that broke may have had replies in it.
                self.missed = true;
                // What was to be written with it is written with the next one.
                self.renewed.1 = u64::MAX;
                self.ask_at = Instant::now() + TROUBLE_PAUSE;
                return None;
            }
            Err(error) => return Some(Err(error)),
        };
        if replies.is_empty() {
            self.ask_at = Instant::now() + self.pause;
            self.pause = self.pause.mul_f64(1.5).min(LONGEST_PAUSE);
            return None;
        }
        self.pause = FIRST_PAUSE;
        self.ask_at = Instant::now();
        let messages: Vec<Broadcasted> = replies.iter().filter_map(|raw| self.reader.read(raw, None)).collect();
        (!messages.is_empty()).then(|| Ok(Received::new(messages, std::mem::take(&mut self.missed))))
    }
}

impl Mailbox for ReplyMailbox {
    fn next(&mut self) -> BoxFuture<'_, Result<Received>> {
        Box::pin(async {
            loop {
                self.shared.check_open("listen")?;
                let shared = self.shared.clone();
                let Some(asking) = &mut self.asking else {
                    if self.ask_at > Instant::now() {
                        tokio::select! {
                            () = tokio::time::sleep_until(self.ask_at) => {}
                            () = shared.connection.wait_closed() => continue,
                        }
                    }
                    self.asking = Some(self.ask());
                    continue;
                };
                let answer = tokio::select! {
                    answer = asking => answer,
                    () = shared.connection.wait_closed() => continue,
                };
                self.asking = None;
                if let Some(received) = self.answered(answer) {
                    return received;
                }
            }
        })
    }
}

impl Drop for ReplyMailbox {
    fn drop(&mut self) {
        self.shared.drop_replies(&self.list);
    }
}

impl fmt::Debug for ReplyMailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyMailbox").field("list", &self.list).finish_non_exhaustive()
    }
}

impl Broadcast for RedisBroker {
    fn send<'a>(&'a self, exchange: &'a BroadcastExchange, batch: Vec<Outgoing>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.shared().send_broadcast(exchange, &batch).await.map(drop) })
    }

    fn send_counted<'a>(
        &'a self,
        exchange: &'a BroadcastExchange,
        batch: Vec<Outgoing>,
    ) -> BoxFuture<'a, Result<Option<usize>>> {
        Box::pin(async move { self.shared().send_broadcast(exchange, &batch).await })
    }

    fn listen(&self, spec: MailboxSpec) -> BoxFuture<'_, Result<Box<dyn Mailbox>>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open("listen")?;
            let failed = |error: Error| {
                let kind = error.kind();
                Error::new(kind, "listen to a broadcast").with_source(error)
            };
            match spec.exchange.kind {
                ExchangeType::Direct => {
                    let mailbox = ReplyMailbox::open(shared, spec).await.map_err(failed)?;
                    Ok(Box::new(mailbox) as Box<dyn Mailbox>)
                }
                ExchangeType::Fanout | ExchangeType::Topic | ExchangeType::Headers => {
                    let mailbox = ChannelMailbox::open(shared, spec).await.map_err(failed)?;
                    Ok(Box::new(mailbox) as Box<dyn Mailbox>)
                }
            }
        })
    }
}
