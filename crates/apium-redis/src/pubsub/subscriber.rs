//! The subscriber: a handle on subscriptions, and the loop that connects and connects again.
//!
//! It connects when the first channel is needed, and disconnects when none has been needed for a while. Needs are
//! counted, so that two callers can need the same channel.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_transport::clock::Clock;
use apium_transport::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::connection::background::Background;
use crate::connection::connect::connect_pubsub;
use crate::options::target::Target;
use crate::pubsub::channels::{ChannelName, Channels, ConfirmRequest};
use crate::pubsub::session::{PubSubSession, SessionEnd};

/// How long a broken connection is not spoken of.
const AT_THE_END: Duration = Duration::from_millis(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What a listener gets, in order. It must not block.
#[derive(Debug)]
pub(crate) enum SubscriberEvent {
    /// There is a new connection, and all that was needed is subscribed on it. What was published while there was none
    /// is lost; the listener has to read it elsewhere.
    Connected,
    /// The connection broke, or some channels were refused for a while: until the next `Connected` messages were lost.
    Lost,
    Message(ChannelMessage),
}

/// A message of a channel. It comes once for each name of the subscriber that matches the channel.
#[derive(Debug)]
pub(crate) struct ChannelMessage {
    pub(crate) channel: String,
    /// The pattern by which it came; `None` if by the name of the channel.
    pub(crate) pattern: Option<String>,
    pub(crate) payload: Bytes,
}

impl ChannelMessage {
    /// The name of the subscriber by which it came.
    pub(crate) fn name(&self) -> ChannelName {
        match &self.pattern {
            Some(pattern) => ChannelName::Pattern(pattern.clone()),
            None => ChannelName::Channel(self.channel.clone()),
        }
    }
}

/// The function that gets the events.
pub(crate) type Listener = Box<dyn Fn(SubscriberEvent) + Send + Sync>;

/// Subscriptions. Dropping it ends them.
pub(crate) struct Subscriber {
    shared: Arc<Shared>,
    background: Mutex<Option<Background>>,
}

/// What the callers and the connection share.
pub(crate) struct Shared {
    pub(crate) target: Target,
    clock: Clock,
    ping_after: Duration,
    listener: Listener,
    channels: Mutex<Channels>,
    pub(crate) changed: Notify,
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("channels", &*self.shared.channels()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn channels(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notify(&self, event: SubscriberEvent) {
        (self.listener)(event);
    }

    /// The first server of the target, for errors.
    pub(crate) fn server(&self) -> String {
        self.target.servers.first().map(|(server, _)| server.to_string()).unwrap_or_default()
    }

    /// Remembers that not all is subscribed, and warns the first time.
    pub(crate) fn broken_by(&self, error: &Error, warning: &str) {
        let reason = format!("{error:#}");
        match &mut self.channels().broken {
            Some((_, last)) => *last = reason,
            none => {
                tracing::warn!(error = %reason, "{warning}");
                *none = Some((self.clock.now(), reason));
            }
        }
    }

    /// How long a connection may be silent before a ping is sent.
    pub(crate) fn ping_after(&self) -> Duration {
        self.ping_after
    }
}

impl Subscriber {
    /// A subscriber without subscriptions. A silent connection gets a ping after `ping_after`: choose a short time if
    /// callers wait for messages that may have been lost.
    pub(crate) fn new(target: Target, clock: Clock, ping_after: Duration, listener: Listener) -> Self {
        let shared = Shared { target, clock, ping_after, listener, channels: Mutex::default(), changed: Notify::new() };
        Self { shared: Arc::new(shared), background: Mutex::default() }
    }

    /// Needs `names` no more. They are unsubscribed a moment later, together with others.
    pub(crate) fn unsubscribe(&self, names: Vec<ChannelName>) {
        if !names.is_empty() {
            self.shared.channels().release(names, Instant::now());
            self.shared.changed.notify_one();
        }
    }

    /// Needs `names` from now on. [`confirmed`](Self::confirmed) has to follow, which subscribes to them.
    pub(crate) fn need(&self, names: &[ChannelName]) {
        self.shared.channels().need(names.iter().cloned());
    }

    /// Needs `names` from now on and subscribes to them, without waiting for the confirmation.
    pub(crate) fn need_now(&self, names: &[ChannelName]) {
        self.need(names);
        self.keep_running();
        self.shared.changed.notify_one();
    }

    /// Waits until all that is needed now is subscribed.
    pub(crate) async fn confirmed(&self) -> Result<()> {
        self.request(false).await
    }

    /// Waits until the listener got every message that was published before now.
    pub(crate) async fn caught_up(&self) -> Result<()> {
        self.request(true).await
    }

    /// Since when and why there is no connection; `None` while there is one, or while none is needed.
    pub(crate) fn broken(&self) -> Option<(Timestamp, String)> {
        self.shared.channels().broken.clone()
    }

    /// Ends all subscriptions. Callers that wait get the error that it was closed.
    pub(crate) fn close(&self) {
        let requests = {
            let mut channels = self.shared.channels();
            channels.closed = true;
            std::mem::take(&mut channels.requests)
        };
        drop(requests);
        self.lock_background().take();
    }

    fn lock_background(&self) -> MutexGuard<'_, Option<Background>> {
        self.background.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn request(&self, round_trip: bool) -> Result<()> {
        let closed = || Error::new(ErrorKind::Closed, "subscribe: this handle was closed");
        let (done, answer) = oneshot::channel();
        {
            let mut channels = self.shared.channels();
            if channels.closed {
                return Err(closed());
            }
            channels.requests.retain(|request| !request.done.is_closed());
            channels.requests.push(ConfirmRequest { round_trip, done });
        }
        self.keep_running();
        self.shared.changed.notify_one();
        let limit = self.shared.target.answer_timeout;
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(closed()),
            Err(_) => {
                let text = format!("subscribe at {}: not confirmed within {limit:?}", self.shared.server());
                Err(match self.broken() {
                    Some((since, why)) => {
                        Error::new(ErrorKind::Connection, format!("{text}; no connection since {since}: {why}"))
                    }
                    None => Error::new(ErrorKind::Timeout, text),
                })
            }
        }
    }

    /// Starts the loop, also when it has ended with the runtime that ran it.
    pub(crate) fn keep_running(&self) {
        let mut background = self.lock_background();
        if background.as_ref().is_none_or(Background::is_finished) {
            *background = Some(Background::start(run(self.shared.clone())));
        }
    }
}

/// Connects while something is needed, and connects again after a failure.
async fn run(shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        loop {
            let changed = shared.changed.notified();
            if !shared.channels().is_idle() {
                break;
            }
            changed.await;
        }
        let error = match connect_pubsub(&shared.target).await {
            Ok(connection) => match PubSubSession::serve(&shared, connection).await {
                SessionEnd::Idle => continue,
                SessionEnd::Broken { error, was_subscribed } => {
                    if was_subscribed {
                        pause = FIRST_PAUSE;
                    }
                    error
                }
            },
            Err(error) => error,
        };
        // Where the runtime ends, the task of the connection may end before this one, which is not polled again then.
        tokio::time::sleep(AT_THE_END).await;
        failed(&shared, &error);
        // So that processes that lost the same server do not all come back at once.
        tokio::time::sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Remembers that there is no connection. Callers go on waiting, unless to try again is useless.
fn failed(shared: &Shared, error: &Error) {
    shared.broken_by(error, "subscriptions are broken; connecting again");
    let mut channels = shared.channels();
    if !error.is_retryable() {
        for request in std::mem::take(&mut channels.requests) {
            // The caller may have gone.
            let _ = request.done.send(Err(Error::new(error.kind(), format!("{error:#}"))));
        }
    }
}
