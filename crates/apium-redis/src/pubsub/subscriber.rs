//! The handle on the subscriptions, and the loop that connects again.
//!
//! The connection is opened when the first channel is needed, and given up when none has been for a while. Names are counted,
//! so that two callers may need the same one.

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

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a listener is told. It is told in order and must not block.
#[derive(Debug)]
pub(crate) enum Event {
    /// A connection is there and everything needed is subscribed on it. What was published before, while there was none, is
    /// lost and must be read.
    Connected,
    Message(ChannelMessage),
}

/// A message of a channel. One that several names of this subscriber mean comes once for each.
#[derive(Debug)]
pub(crate) struct ChannelMessage {
    pub(crate) channel: String,
    pub(crate) payload: Bytes,
}

/// Who is told.
pub(crate) type Listener = Box<dyn Fn(Event) + Send + Sync>;

/// The subscriptions. Dropping it ends them.
pub(crate) struct Subscriber {
    shared: Arc<Shared>,
    background: Mutex<Option<Background>>,
}

/// What callers and the connection share.
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
        f.debug_struct("Subscriber").field("wanted", &*self.shared.channels()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn channels(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notify(&self, event: Event) {
        (self.listener)(event);
    }

    /// Where the server is looked for.
    pub(crate) fn server(&self) -> String {
        self.target.servers.first().map(|(place, _)| place.to_string()).unwrap_or_default()
    }

    /// A silent connection is asked for a sign of life after this time.
    pub(crate) fn ping_after(&self) -> Duration {
        self.ping_after
    }
}

impl Subscriber {
    /// Subscriptions whose silence is looked into after `quiet`: soon, where somebody waits for what may have been lost.
    pub(crate) fn new(target: Target, clock: Clock, quiet: Duration, listener: Listener) -> Self {
        let shared =
            Shared { target, clock, ping_after: quiet, listener, channels: Mutex::default(), changed: Notify::new() };
        Self { shared: Arc::new(shared), background: Mutex::default() }
    }

    /// Needs `names` no more. They are given up together with others, a moment later.
    pub(crate) fn unsubscribe(&self, names: Vec<ChannelName>) {
        if !names.is_empty() {
            self.shared.channels().release(names, Instant::now());
            self.shared.changed.notify_one();
        }
    }

    /// Needs `names` from now on, without waiting; [`confirmed`](Self::confirmed) has to follow.
    pub(crate) fn need(&self, names: &[ChannelName]) {
        self.shared.channels().need(names.iter().cloned());
    }

    /// Needs `names` from now on; nobody waits for the confirmation.
    pub(crate) fn need_now(&self, names: &[ChannelName]) {
        self.need(names);
        self.keep_running();
        self.shared.changed.notify_one();
    }

    /// Waits until everything that is needed now is subscribed.
    pub(crate) async fn confirmed(&self) -> Result<()> {
        self.request(false).await
    }

    /// Waits until the listener was told of every message that the server published before now.
    pub(crate) async fn caught_up(&self) -> Result<()> {
        self.request(true).await
    }

    /// Since when and why there is no connection; `None` while there is one, or while none is needed.
    pub(crate) fn broken(&self) -> Option<(Timestamp, String)> {
        self.shared.channels().broken.clone()
    }

    /// Ends all subscriptions; who waits is told that it was closed.
    pub(crate) fn close(&self) {
        let requests = {
            let mut wanted = self.shared.channels();
            wanted.closed = true;
            std::mem::take(&mut wanted.requests)
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
            let mut wanted = self.shared.channels();
            if wanted.closed {
                return Err(closed());
            }
            wanted.requests.retain(|request| !request.done.is_closed());
            wanted.requests.push(ConfirmRequest { round_trip, done });
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
    fn keep_running(&self) {
        let mut task = self.lock_background();
        if task.as_ref().is_none_or(Background::is_finished) {
            *task = Some(Background::start(run(self.shared.clone())));
        }
    }
}

/// Connects, and connects again.
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
                SessionEnd::Broken { error, was_subscribed: was_there } => {
                    if was_there {
                        pause = FIRST_PAUSE;
                    }
                    error
                }
            },
            Err(error) => error,
        };
        failed(&shared, &error);
        // Processes that lost the same server do not come back in step.
        tokio::time::sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Notes that there is no connection. Who waits goes on waiting, unless trying again cannot help.
fn failed(shared: &Shared, error: &Error) {
    let mut wanted = shared.channels();
    let reason = error.to_string();
    match &mut wanted.broken {
        Some((_, last)) => *last = reason,
        none => {
            tracing::warn!(error = %reason, "subscriptions are broken; connecting again");
            *none = Some((shared.clock.now(), reason));
        }
    }
    if !error.is_retryable() {
        for request in std::mem::take(&mut wanted.requests) {
            // Who asked may have gone.
            let _ = request.done.send(Err(Error::new(error.kind(), error.to_string())));
        }
    }
}
