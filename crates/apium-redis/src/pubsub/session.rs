//! One connection for subscriptions, from its first channel to its end.
//!
//! It does one change of the subscriptions, or one ping, at a time, and hands on messages meanwhile. Requests that come
//! during a change are served together by the next one.
//!
//! A server that refuses one of many names refuses the command. Then each name is subscribed by a command of its own,
//! and those that are refused are tried again from time to time: somebody may have given the user the right meanwhile.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use apium_transport::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::StreamExt;
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use redis::{Msg, RedisResult};
use tokio::time::Instant;

use crate::connection::connect::timed_out;
use crate::errors::{breaks_connection, from_redis};
use crate::pubsub::channels::{Change, ChannelName, ConfirmRequest};
use crate::pubsub::subscriber::{ChannelMessage, Shared, SubscriberEvent};

/// How long a name that nobody needs stays subscribed, so that several are unsubscribed with one command.
const GATHER_TIME: Duration = Duration::from_millis(50);

/// How many names are in one command at most.
const MAX_NAMES: usize = 1000;

/// The first pause before refused names are tried again. It doubles with each refusal.
const FIRST_REFUSED_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// How a session ended.
pub(crate) enum SessionEnd {
    /// No subscription is needed any more.
    Idle,
    /// The connection broke, before or after all that was needed was subscribed.
    Broken { error: Error, was_subscribed: bool },
}

/// A connection, and what is subscribed on it.
pub(crate) struct PubSubSession<'a> {
    shared: &'a Shared,
    sink: PubSubSink,
    confirmed: HashSet<ChannelName>,
    /// Whether the server has answered for all that was needed at the beginning.
    was_subscribed: bool,
    /// Names of a refused command, which are now subscribed one by one.
    singly: VecDeque<ChannelName>,
    /// Those who wait for the answers to these and to the present change.
    waiting: Vec<ConfirmRequest>,
    /// The first error among these answers.
    refusal: Option<Error>,
    /// Names that the server refuses, when they are tried again, and the pause after that.
    refused: HashSet<ChannelName>,
    refused_due: Option<Instant>,
    refused_pause: Duration,
}

/// Why a change failed.
struct FailedChange {
    error: Error,
    connection_broken: bool,
}

/// A change that the server has not answered yet.
struct PendingChange {
    add: Vec<ChannelName>,
    requests: Vec<ConfirmRequest>,
    reply: BoxFuture<'static, Result<(), FailedChange>>,
}

impl<'a> PubSubSession<'a> {
    /// Serves until the connection breaks or is not needed any more.
    pub(crate) async fn serve(shared: &'a Shared, connection: PubSub) -> SessionEnd {
        let (sink, mut stream) = connection.split();
        let mut session = Self {
            shared,
            sink,
            confirmed: HashSet::new(),
            was_subscribed: false,
            singly: VecDeque::new(),
            waiting: Vec::new(),
            refusal: None,
            refused: HashSet::new(),
            refused_due: None,
            refused_pause: FIRST_REFUSED_PAUSE,
        };
        let first = shared.channels().connected();
        let mut change = Some(session.start_change(first));
        let error = session.run(&mut stream, &mut change).await;
        // Those that still wait are served by the next connection.
        let mut waiting = std::mem::take(&mut session.waiting);
        waiting.extend(change.map(|change| change.requests).unwrap_or_default());
        shared.channels().disconnected(waiting);
        match error {
            None => SessionEnd::Idle,
            Some(error) => {
                shared.notify(SubscriberEvent::Lost);
                SessionEnd::Broken { error, was_subscribed: session.was_subscribed }
            }
        }
    }

    /// Returns the error that broke the connection, or `None` when it is not needed any more.
    async fn run(&mut self, stream: &mut PubSubStream, change: &mut Option<PendingChange>) -> Option<Error> {
        let mut last_reply = Instant::now();
        loop {
            let due = self.due(last_reply);
            tokio::select! {
                message = stream.next() => {
                    let Some(message) = message else { return Some(self.lost()) };
                    last_reply = Instant::now();
                    self.hand_on(message);
                }
                reply = reply_of(change), if change.is_some() => {
                    let refused = match reply {
                        Err(FailedChange { error, connection_broken: true }) => return Some(error),
                        Err(FailedChange { error, connection_broken: false }) => Some(error),
                        Ok(()) => None,
                    };
                    last_reply = Instant::now();
                    // Messages that the server sent before this reply are in the stream already, and are handed on
                    // first.
                    while let Some(message) = tokio::task::unconstrained(stream.next()).now_or_never() {
                        let Some(message) = message else { return Some(self.lost()) };
                        self.hand_on(message);
                    }
                    if let Some(change) = change.take() {
                        self.finish_change(change, refused);
                    }
                }
                () = self.shared.changed.notified(), if change.is_none() => {}
                () = tokio::time::sleep_until(due), if change.is_none() => {}
            }
            if change.is_none() {
                *change = match self.next_change() {
                    Some(change) => Some(self.start_change(change)),
                    None if last_reply + self.shared.ping_after() > Instant::now() => None,
                    None if self.shared.channels().is_idle() => return None,
                    None => Some(self.start_change(Change::default())),
                };
            }
        }
    }

    /// Passes a message to the listener.
    fn hand_on(&self, message: Msg) {
        let message = ChannelMessage {
            channel: message.get_channel_name().to_owned(),
            pattern: message.get_pattern::<Option<String>>().ok().flatten(),
            payload: Bytes::copy_from_slice(message.get_payload_bytes()),
        };
        self.shared.notify(SubscriberEvent::Message(message));
    }

    /// When to send a ping, or to unsubscribe, if nothing happens before.
    fn due(&self, last_reply: Instant) -> Instant {
        let ping = last_reply + self.shared.ping_after();
        let gathered = self.shared.channels().unneeded_since.map(|since| since + GATHER_TIME);
        [Some(ping), gathered, self.refused_due].into_iter().flatten().min().unwrap_or(ping)
    }

    fn next_change(&mut self) -> Option<Change> {
        if self.refused_due.is_some_and(|due| due <= Instant::now()) {
            self.refused_due = None;
            let channels = self.shared.channels();
            self.singly.extend(self.refused.drain().filter(|name| channels.is_needed(name)));
            drop(channels);
            if self.singly.is_empty() {
                self.all_answered();
            }
        }
        if let Some(name) = self.singly.pop_front() {
            return Some(Change { add: vec![name], ..Change::default() });
        }
        let mut channels = self.shared.channels();
        let gathered = channels.unneeded_since.is_some_and(|since| since + GATHER_TIME <= Instant::now());
        if channels.requests.is_empty() && !channels.has_new && !gathered {
            return None;
        }
        let change = channels.change(&self.confirmed);
        let nothing = change.add.is_empty() && change.remove.is_empty() && change.requests.is_empty();
        (!nothing).then_some(change)
    }

    /// Starts a change. One that changes nothing is a ping.
    fn start_change(&mut self, change: Change) -> PendingChange {
        let Change { add, remove, requests } = change;
        for name in &remove {
            self.confirmed.remove(name);
        }
        let needs_reply = requests.is_empty() || requests.iter().any(|request| request.round_trip);
        let ping = needs_reply && add.is_empty() && remove.is_empty();
        let reply = perform(self.sink.clone(), add.clone(), remove, ping);
        let (server, limit) = (self.shared.server(), self.shared.target.answer_timeout);
        let reply = async move {
            match tokio::time::timeout(limit, reply).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => {
                    let connection_broken = breaks_connection(&error);
                    Err(FailedChange { error: from_redis("subscribe", &server, error), connection_broken })
                }
                Err(_) => Err(FailedChange { error: timed_out("subscribe", &server, limit), connection_broken: true }),
            }
        };
        PendingChange { add, requests, reply: reply.boxed() }
    }

    /// Finishes a change that the server has done or refused.
    fn finish_change(&mut self, change: PendingChange, refused: Option<Error>) {
        self.waiting.extend(change.requests);
        match refused {
            None => self.confirmed.extend(change.add),
            Some(_) if change.add.len() > 1 => self.singly.extend(change.add),
            Some(error) => {
                self.refused.extend(change.add);
                self.refusal.get_or_insert(error);
            }
        }
        if self.singly.is_empty() {
            self.all_answered();
        }
    }

    /// The server has answered for all names that were sent to it. Says so to those who wait.
    fn all_answered(&mut self) {
        let refusal = self.refusal.take();
        match &refusal {
            Some(error) if !self.refused.is_empty() => {
                self.refused_due = Some(Instant::now() + self.refused_pause);
                self.refused_pause = (self.refused_pause * 2).min(LONGEST_REFUSED_PAUSE);
                self.shared.broken_by(error, "could not subscribe to all channels; trying again");
            }
            _ if self.refused.is_empty() => {
                let broken = self.shared.channels().broken.take();
                if let Some((since, _)) = &broken {
                    tracing::info!(%since, "subscribed again");
                }
                if broken.is_some() && self.was_subscribed {
                    // What was published on the channels that were refused is lost.
                    self.shared.notify(SubscriberEvent::Lost);
                    self.shared.notify(SubscriberEvent::Connected);
                }
                self.refused_pause = FIRST_REFUSED_PAUSE;
            }
            _ => {}
        }
        if !self.was_subscribed {
            self.was_subscribed = true;
            self.shared.notify(SubscriberEvent::Connected);
        }
        for request in self.waiting.drain(..) {
            let answer = match &refusal {
                None => Ok(()),
                Some(error) => Err(Error::new(error.kind(), format!("{error:#}"))),
            };
            // The caller may have gone.
            let _ = request.done.send(answer);
        }
    }

    fn lost(&self) -> Error {
        let server = self.shared.server();
        Error::new(ErrorKind::Connection, format!("keep the subscriptions at {server}: the connection broke"))
    }
}

/// The reply to the pending change.
async fn reply_of(change: &mut Option<PendingChange>) -> Result<(), FailedChange> {
    match change {
        Some(change) => (&mut change.reply).await,
        None => std::future::pending().await,
    }
}

/// Sends the commands of a change.
async fn perform(mut sink: PubSubSink, add: Vec<ChannelName>, remove: Vec<ChannelName>, ping: bool) -> RedisResult<()> {
    let (channels, patterns) = by_kind(add);
    for names in channels.chunks(MAX_NAMES) {
        sink.subscribe(names).await?;
    }
    for names in patterns.chunks(MAX_NAMES) {
        sink.psubscribe(names).await?;
    }
    let (channels, patterns) = by_kind(remove);
    for names in channels.chunks(MAX_NAMES) {
        sink.unsubscribe(names).await?;
    }
    for names in patterns.chunks(MAX_NAMES) {
        sink.punsubscribe(names).await?;
    }
    if ping {
        sink.ping::<redis::Value>().await?;
    }
    Ok(())
}

/// Splits names into channels and patterns.
fn by_kind(names: Vec<ChannelName>) -> (Vec<String>, Vec<String>) {
    let (mut channels, mut patterns) = (Vec::new(), Vec::new());
    for name in names {
        match name {
            ChannelName::Channel(name) => channels.push(name),
            ChannelName::Pattern(name) => patterns.push(name),
        }
    }
    (channels, patterns)
}
