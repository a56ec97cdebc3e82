//! Marks of runs that have begun, by which crashes are counted.
//!
//! A mark is a message that names runs. It goes to a queue of the consumer's own, and comes back to the consumer at
//! once, which acks it when all of its runs are over. If the consumer dies first, the server takes the mark back. In
//! that queue no message lives longer than a moment, so the server moves it on, to the records of crashes
//! ([`crash_records`](crate::consumer::crash_records)). Who gets one of the messages next finds the mark there.
//!
//! A run waits until its mark is written to the socket, and not for the server: what is written arrives, though this
//! process dies. The run of a message that comes again waits for the confirm, as it may be the one that kills workers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use apium_protocol::error::with_causes;
use apium_transport::error::{Error, ErrorKind, Result};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::connection::live_channel::LiveChannel;
use crate::connection::runtime;
use crate::consumer::crash_records::{self, QUEUE, marks_of};
use crate::consumer::mark_ledger::{MarkLedger, MarkedRun, Withdrawn};
use crate::errors::closed;
use crate::publish::publisher::{Published, Ready};
use crate::publish::table::{int, short, table};
use crate::shared::BrokerShared;

/// For how many milliseconds the queue of marks outlives its consumer.
const OUTLIVES: i64 = 60_000;

/// So many marks may be on their way. With 200 the server would find the consumer too slow, and take a mark of the
/// living for one of the dead.
const ON_THEIR_WAY: usize = 100;

/// How long a run waits for its mark. After that it begins without one.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a refusal is taken for one.
const REFUSED: Duration = Duration::from_secs(30);

/// The channel by which the marks come back.
#[derive(Debug)]
struct HeldMarks {
    channel: LiveChannel,
    holding: JoinHandle<()>,
}

impl Drop for HeldMarks {
    fn drop(&mut self) {
        self.holding.abort();
    }
}

/// The marks of a consumer.
#[derive(Debug)]
pub(crate) struct RunMarks {
    shared: Arc<BrokerShared>,
    /// Tells the consumer from all others.
    consumer: String,
    ledger: Arc<Mutex<MarkLedger>>,
    /// Something came back.
    came: Arc<Notify>,
    held: Mutex<Option<Arc<HeldMarks>>>,
    /// The channel by which they are sent.
    sending: Mutex<Option<LiveChannel>>,
    /// Held while the channels are opened.
    opening: tokio::sync::Mutex<()>,
    /// Whether the server may have taken marks of this consumer for those of a dead one.
    may_be_recorded: AtomicBool,
    is_over: AtomicBool,
    /// Until when nothing is tried, as the server has refused it.
    refused_until: Mutex<Option<Instant>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RunMarks {
    pub(crate) fn new(shared: Arc<BrokerShared>) -> Self {
        Self {
            shared,
            consumer: uuid::Uuid::new_v4().simple().to_string(),
            ledger: Arc::default(),
            came: Arc::default(),
            held: Mutex::default(),
            sending: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            may_be_recorded: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            refused_until: Mutex::default(),
        }
    }

    /// Marks runs. `surely` waits until the server has the mark.
    pub(crate) async fn mark_started(&self, runs: Vec<MarkedRun>, surely: bool) -> Result<()> {
        if runs.is_empty() {
            return Ok(());
        }
        self.check_reachable()?;
        let late = |_| Error::new(ErrorKind::Timeout, "mark runs as started: the server takes too long");
        tokio::time::timeout(PATIENCE.max(self.shared.options.target.timeout), self.open()).await.map_err(late)??;
        if lock(&self.ledger).unseen() >= ON_THEIR_WAY {
            return Err(Error::new(ErrorKind::Unavailable, "mark runs as started: the server is behind"));
        }
        let Some((number, runs)) = lock(&self.ledger).begin(runs) else { return Ok(()) };
        let sent = tokio::time::timeout(PATIENCE, self.send(number, &runs, surely)).await.map_err(late);
        let sent = sent.and_then(|sent| sent);
        if sent.is_err() {
            lock(&self.ledger).forget(number);
        }
        sent
    }

    /// Fails at once where a mark cannot be sent now: runs do not wait for a server that is away.
    fn check_reachable(&self) -> Result<()> {
        let what = "mark runs as started";
        if !self.usable() && !self.shared.consuming.health().is_green() {
            return Err(Error::new(ErrorKind::Unavailable, format!("{what}: the server is away")));
        }
        match lock(&self.refused_until).is_some_and(|until| Instant::now() < until) {
            true => Err(Error::new(ErrorKind::Refused, format!("{what}: the server refused it a moment ago"))),
            false => Ok(()),
        }
    }

    async fn send(&self, number: u64, runs: &[MarkedRun], surely: bool) -> Result<()> {
        let body = crash_records::body(&self.consumer, runs.iter().map(|(_, key)| key))?;
        let properties = crash_records::properties().with_message_id(number.to_string().as_str().into());
        let routing_key = short("name of a queue", &marks_of(&self.consumer))?;
        if surely {
            let ready = Ready { exchange: "".into(), routing_key, properties, body, mandatory: true };
            return match self.shared.publisher.publish(vec![ready]).await?.pop() {
                Some(Published::Confirmed) => Ok(()),
                _ => Err(Error::new(ErrorKind::Unavailable, "mark runs as started: the server did not take it")),
            };
        }
        let (what, sending) = ("mark runs as started", self.sending().await?);
        if let Some(reason) = sending.live().blocked() {
            return Err(Error::new(ErrorKind::Unavailable, format!("{what}: the server takes no messages ({reason})")));
        }
        let sent = sending.publish(("".into(), routing_key), false, &body, properties).await;
        sent.map(drop).map_err(|error| sending.error(what, &error))
    }

    async fn sending(&self) -> Result<LiveChannel> {
        let present = lock(&self.sending).clone();
        if let Some(sending) = present.filter(LiveChannel::is_open) {
            return Ok(sending);
        }
        let live = self.shared.publishing.get("mark runs as started").await?;
        let sending = live.channel("mark runs as started").await?;
        *lock(&self.sending) = Some(sending.clone());
        Ok(sending)
    }

    fn usable(&self) -> bool {
        let is_usable = |held: &Arc<HeldMarks>| held.channel.is_open() && !held.holding.is_finished();
        lock(&self.held).as_ref().is_some_and(is_usable)
    }

    /// Makes sure that marks can come back.
    async fn open(&self) -> Result<()> {
        if self.usable() {
            return Ok(());
        }
        let _opening = self.opening.lock().await;
        if self.usable() {
            return Ok(());
        }
        self.lose();
        let opened = self.open_anew().await;
        if let Err(error) = &opened
            && error.kind() == ErrorKind::Refused
        {
            *lock(&self.refused_until) = Some(Instant::now() + REFUSED);
            tracing::warn!(error = %with_causes(error), "crashes of tasks are not counted: the server refuses what that needs");
        }
        opened
    }

    async fn open_anew(&self) -> Result<()> {
        let what = "hold the marks of runs";
        let live = self.shared.consuming.get(what).await?;
        crash_records::ensure_queue(&self.shared).await?;
        let channel = live.channel(what).await?;
        let queue = short("name of a queue", &marks_of(&self.consumer))?;
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.run(what, |channel| channel.queue_declare(queue.clone(), options, arguments())).await?;
        let stream = channel.consume(queue, "".into(), BasicConsumeOptions::default()).await;
        let stream = stream.map_err(|error| channel.error(what, &error))?;
        let holding = runtime::handle()?.spawn(hold(channel.clone(), stream, self.ledger.clone(), self.came.clone()));
        let held = Arc::new(HeldMarks { channel, holding });
        if self.is_over.load(Ordering::Acquire) {
            return Err(closed(what));
        }
        *lock(&self.held) = Some(held);
        // From here on others see that this consumer lives.
        self.retract().await
    }

    /// Runs are over, and their messages are settled.
    pub(crate) async fn end(&self, fences: impl Iterator<Item = u64>) {
        let tags = lock(&self.ledger).end(fences);
        self.ack(tags).await;
    }

    /// Runs do not count from now on, though their messages come again.
    pub(crate) async fn withdraw(&self, fences: impl Iterator<Item = u64>) {
        let Withdrawn { tags, others } = lock(&self.ledger).withdraw(fences);
        if let Err(error) = self.mark_started(others, false).await {
            tracing::debug!(error = %with_causes(&error), "could not mark runs again; a crash of them may not be counted");
        }
        self.ack(tags).await;
        self.await_void().await;
    }

    /// No run counts from now on.
    pub(crate) async fn withdraw_all(&self) {
        let tags = lock(&self.ledger).withdraw_all();
        self.ack(tags).await;
        self.await_void().await;
    }

    /// Waits until marks have come back that nothing is left of: until then the server would count them.
    async fn await_void(&self) {
        let wait = async {
            loop {
                let came = self.came.notified();
                if !lock(&self.ledger).awaits_void() {
                    return;
                }
                came.await;
            }
        };
        // A mark that does not come is lost with its connection.
        let _ = tokio::time::timeout(PATIENCE, wait).await;
    }

    async fn ack(&self, tags: Vec<u64>) {
        let held = lock(&self.held).clone();
        let Some(held) = held.filter(|_| !tags.is_empty()) else { return };
        let acks = tags.into_iter().map(|tag| held.channel.ack(tag, false));
        // If the channel is lost, this consumer says that it lives when it opens the next one.
        join_all(acks).await;
    }

    /// The channel of the consumer is lost: its messages go to others, and its runs are marked no more.
    pub(crate) fn lose(&self) {
        let held = lock(&self.held).take();
        lock(&self.ledger).lose();
        if held.is_some() {
            self.may_be_recorded.store(true, Ordering::Release);
        }
    }

    /// Says that this consumer lives, if the server may have recorded the opposite.
    pub(crate) async fn restore(&self) {
        if self.may_be_recorded.load(Ordering::Acquire)
            && let Err(error) = self.open().await
        {
            tracing::debug!(error = %with_causes(&error), "could not take back what the server recorded of a lost connection");
        }
    }

    /// Takes back what the server may have recorded of this consumer, which lives. It may record something later, so
    /// this is done once more in the end.
    async fn retract(&self) -> Result<()> {
        match self.may_be_recorded.load(Ordering::Acquire) {
            true => crash_records::forget_consumer(&self.shared, &self.consumer).await,
            false => Ok(()),
        }
    }

    /// The consumer closes, which is no crash.
    pub(crate) async fn close(&self) {
        self.is_over.store(true, Ordering::Release);
        self.withdraw_all().await;
        let held = lock(&self.held).take();
        if let Some(held) = &held {
            if let Ok(queue) = short("name of a queue", &marks_of(&self.consumer)) {
                // What fails is gone with the connection.
                let _ =
                    held.channel.attempt(|channel| channel.queue_delete(queue, QueueDeleteOptions::default())).await;
            }
            let _ = held.channel.close().await;
        }
        let sending = lock(&self.sending).take();
        if let Some(sending) = sending {
            let _ = sending.close().await;
        }
        if let Err(error) = self.retract().await {
            tracing::debug!(error = %with_causes(&error), "could not take back what the server recorded of a lost connection");
        }
    }

    /// The consumer is gone as if its process had died.
    pub(crate) fn abandon(&self) {
        self.is_over.store(true, Ordering::Release);
        drop(lock(&self.held).take());
        drop(lock(&self.sending).take());
    }
}

/// The arguments of the queue of marks. What is not held by its consumer is taken for a crash.
fn arguments() -> FieldTable {
    table([
        ("x-queue-type", AMQPValue::LongString("classic".into())),
        ("x-message-ttl", int(0)),
        ("x-expires", int(OUTLIVES)),
        ("x-dead-letter-exchange", AMQPValue::LongString("".into())),
        ("x-dead-letter-routing-key", AMQPValue::LongString(QUEUE.into())),
    ])
}

/// Holds the marks that come back.
async fn hold(channel: LiveChannel, mut stream: lapin::Consumer, ledger: Arc<Mutex<MarkLedger>>, came: Arc<Notify>) {
    while let Some(Ok(mark)) = stream.next().await {
        let number = mark.properties.message_id().as_ref().and_then(|number| number.as_str().parse().ok());
        let is_void = lock(&ledger).arrived(number.unwrap_or_default(), mark.delivery_tag);
        if is_void && channel.ack(mark.delivery_tag, false).await.is_err() {
            return;
        }
        came.notify_waiters();
    }
}
