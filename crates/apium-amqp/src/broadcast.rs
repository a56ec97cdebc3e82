//! Broadcasts: remote control and events, on the exchanges of kombu, with mailboxes that are queues of their own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_transport::broker::broadcast::{Broadcast, BroadcastExchange, Broadcasted, Mailbox, MailboxSpec, Received};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::error::{ErrorKind, Result};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use lapin::Consumer;
use lapin::options::{BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::broker::AmqpBroker;
use crate::connection::live_channel::LiveChannel;
use crate::connection::runtime;
use crate::errors::closed;
use crate::publish::declare::kind_of;
use crate::publish::properties::{decode, encode};
use crate::publish::publisher::Ready;
use crate::publish::table::{int, short, table};
use crate::shared::BrokerShared;

/// How long a mailbox waits before it tries to connect again.
const PAUSE: Duration = Duration::from_millis(200);

/// The messages of a mailbox that wait in this process.
#[derive(Debug, Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Broadcasted>,
    missed: bool,
    closed: bool,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, message: Broadcasted, capacity: usize) {
        let mut waiting = self.lock();
        while waiting.messages.len() >= capacity.max(1) {
            waiting.messages.pop_front();
            waiting.missed = true;
        }
        waiting.messages.push_back(message);
        drop(waiting);
        self.changed.notify_one();
    }

    fn set_missed(&self) {
        self.lock().missed = true;
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    fn take(&self) -> Option<Result<Received>> {
        let mut waiting = self.lock();
        if !waiting.messages.is_empty() {
            let messages = std::mem::take(&mut waiting.messages).into();
            let missed = std::mem::take(&mut waiting.missed);
            return Some(Ok(Received::new(messages, missed)));
        }
        waiting.closed.then(|| Err(closed("listen")))
    }
}

/// A mailbox: a queue of this connection alone, which goes with it.
#[derive(Debug)]
struct AmqpMailbox {
    shared: Arc<BrokerShared>,
    queue: String,
    inbox: Arc<Inbox>,
    /// Dropped to end the loop.
    stop: Option<watch::Sender<()>>,
    serving: Option<JoinHandle<()>>,
}

impl Mailbox for AmqpMailbox {
    fn next(&mut self) -> BoxFuture<'_, Result<Received>> {
        Box::pin(async move {
            loop {
                if self.shared.consuming.is_closed() {
                    return Err(closed("listen"));
                }
                if let Some(received) = self.inbox.take() {
                    return received;
                }
                self.inbox.changed.notified().await;
            }
        })
    }
}

impl Drop for AmqpMailbox {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(serving) = self.serving.take() {
            self.shared.mailbox_names.closing(std::mem::take(&mut self.queue), serving);
        }
    }
}

/// Declares the queue of a mailbox and consumes from it.
async fn open(shared: &BrokerShared, spec: &MailboxSpec) -> Result<(LiveChannel, Consumer)> {
    let what = format!("listen to the exchange {:?}", spec.exchange.name);
    let live = shared.consuming.get(&what).await?;
    let channel = live.channel(&what).await?;
    let (exchange, queue) =
        (short("name of an exchange", &spec.exchange.name)?, short("name of a queue", &spec.queue)?);
    let binding = short("routing key", &spec.binding)?;
    let millis = |span: Duration| int(i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
    let arguments = table([("x-expires", millis(spec.expires)), ("x-message-ttl", millis(spec.message_ttl))]);
    let opened = channel.attempt(async |channel| {
        let durable = ExchangeDeclareOptions { durable: spec.exchange.durable, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare(exchange.clone(), kind_of(spec.exchange.kind), durable, FieldTable::default()).await?;
        let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.clone(), own, arguments).await?;
        channel.queue_bind(queue.clone(), exchange, binding, QueueBindOptions::default(), FieldTable::default()).await
    });
    opened.await.map_err(|error| channel.error(&what, &error))?;
    let unacked = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let stream = channel.consume(queue, "".into(), unacked).await.map_err(|error| channel.error(&what, &error))?;
    Ok((channel, stream))
}

/// Brings what comes into the inbox, and opens the queue again after the connection was lost.
async fn serve(
    shared: Arc<BrokerShared>,
    spec: MailboxSpec,
    mut opened: (LiveChannel, Consumer),
    inbox: Arc<Inbox>,
    mut stopped: watch::Receiver<()>,
) {
    loop {
        let ended = tokio::select! {
            biased;
            _ = stopped.changed() => true,
            () = receive(&mut opened.1, &inbox, &spec) => false,
        };
        if ended {
            // With its only consumer the queue goes. If this fails, the connection is gone, and the queue with it.
            let _ = opened.0.close().await;
            return;
        }
        inbox.set_missed();
        opened = loop {
            if shared.consuming.is_closed() {
                return inbox.close();
            }
            let again = tokio::select! {
                biased;
                _ = stopped.changed() => return,
                again = open(&shared, &spec) => again,
            };
            match again {
                Ok(opened) => break opened,
                Err(error) if error.kind() == ErrorKind::Closed => return inbox.close(),
                Err(error) => {
                    tracing::debug!(error = %format!("{error:#}"), queue = &*spec.queue, "could not listen again yet");
                }
            }
            tokio::select! {
                biased;
                _ = stopped.changed() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        };
    }
}

/// Returns when the stream has ended.
async fn receive(stream: &mut Consumer, inbox: &Inbox, spec: &MailboxSpec) {
    while let Some(Ok(delivery)) = stream.next().await {
        match decode(&delivery.properties, Bytes::from(delivery.data)) {
            Ok(message) => {
                inbox.push(Broadcasted::new(delivery.routing_key.as_str().into(), message), spec.capacity);
            }
            Err(reason) => tracing::warn!(queue = &*spec.queue, reason, "a broadcast is no message"),
        }
    }
}

impl AmqpBroker {
    async fn send_once(&self, exchange: &BroadcastExchange, batch: &[Outgoing]) -> Result<()> {
        let shared = self.shared();
        if shared.declared.exchange(&exchange.name).is_none() {
            let mut commands = shared.commands("send a broadcast").await?;
            shared.declare_exchange(&mut commands, &exchange.name, exchange.kind, exchange.durable).await?;
        }
        let ready = |out: &Outgoing| {
            Ok(Ready {
                exchange: short("name of an exchange", &exchange.name)?,
                routing_key: short("routing key", &out.routing_key)?,
                properties: encode(&out.message)?,
                body: out.message.body.clone(),
                mandatory: false,
            })
        };
        let ready: Result<Vec<Ready>> = batch.iter().map(ready).collect();
        shared.publish_ready(ready?).await
    }
}

impl Broadcast for AmqpBroker {
    fn send<'a>(&'a self, exchange: &'a BroadcastExchange, batch: Vec<Outgoing>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.shared().check_open("send a broadcast")?;
            match self.send_once(exchange, &batch).await {
                // A restart of the server took the exchange.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.shared().declared.forget_exchange(&exchange.name);
                    self.send_once(exchange, &batch).await
                }
                sent => sent,
            }
        })
    }

    fn listen(&self, spec: MailboxSpec) -> BoxFuture<'_, Result<Box<dyn Mailbox>>> {
        Box::pin(async move {
            let shared = self.shared().clone();
            shared.check_open("listen")?;
            shared.mailbox_names.wait(&spec.queue).await;
            let opened = open(&shared, &spec).await?;
            let (inbox, queue) = (Arc::new(Inbox::default()), spec.queue.to_string());
            let (stop, stopped) = watch::channel(());
            let serving = runtime::handle()?.spawn(serve(shared.clone(), spec, opened, inbox.clone(), stopped));
            Ok(Box::new(AmqpMailbox { shared, queue, inbox, stop: Some(stop), serving: Some(serving) })
                as Box<dyn Mailbox>)
        })
    }
}
