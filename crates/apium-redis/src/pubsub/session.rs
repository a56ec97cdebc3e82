//! One connection for subscriptions, from its first channel to its end.
//!
//! It does one thing at a time (a change of the subscriptions, or a ping) and hands on messages all the while. Requests that
//! come meanwhile are served together by the next.

use std::collections::HashSet;
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
use crate::pubsub::subscriber::{ChannelMessage, Event, Shared};

/// How long names that nobody needs any more wait for others.
const GATHER_TIME: Duration = Duration::from_millis(50);

/// Names in one command.
const MAX_NAMES: usize = 1000;

/// How a session ended.
pub(crate) enum SessionEnd {
    /// Nobody needs a subscription.
    Idle,
    Broken {
        error: Error,
        was_subscribed: bool,
    },
}

/// The connection with what is subscribed on it.
pub(crate) struct PubSubSession<'a> {
    shared: &'a Shared,
    sink: PubSubSink,
    confirmed: HashSet<ChannelName>,
    /// Whether everything that was needed at the beginning is subscribed.
    was_subscribed: bool,
}

/// Why a change was not made, and whether the connection is of no use any more.
struct FailedChange {
    error: Error,
    connection_broken: bool,
}

/// What is under way.
struct PendingChange {
    add: Vec<ChannelName>,
    requests: Vec<ConfirmRequest>,
    answer: BoxFuture<'static, Result<(), FailedChange>>,
}

impl<'a> PubSubSession<'a> {
    /// Serves until the connection breaks or nobody needs it.
    pub(crate) async fn serve(shared: &'a Shared, connection: PubSub) -> SessionEnd {
        let (sink, mut stream) = connection.split();
        let mut session = Self { shared, sink, confirmed: HashSet::new(), was_subscribed: false };
        let first = shared.channels().connected();
        let mut work = Some(session.start_change(first));
        let ended = session.run(&mut stream, &mut work).await;
        // Who waits is served by the next connection.
        let waiting = work.map(|work| work.requests).unwrap_or_default();
        shared.channels().disconnected(waiting);
        match ended {
            None => SessionEnd::Idle,
            Some(error) => SessionEnd::Broken { error, was_subscribed: session.was_subscribed },
        }
    }

    /// Ends with the error that broke the connection, or without one when nobody needs it.
    async fn run(&mut self, stream: &mut PubSubStream, work: &mut Option<PendingChange>) -> Option<Error> {
        let mut heard = Instant::now();
        loop {
            let due = self.due(heard);
            tokio::select! {
                message = stream.next() => {
                    let Some(message) = message else { return Some(self.lost()) };
                    heard = Instant::now();
                    self.hand_on(message);
                }
                answer = answer_of(work), if work.is_some() => {
                    let refused = match answer {
                        Err(FailedChange { error, connection_broken: true }) => return Some(error),
                        Err(FailedChange { error, connection_broken: false }) => Some(error),
                        Ok(()) => None,
                    };
                    heard = Instant::now();
                    // What the server sent before the answer lies in the stream already. All of it is told first.
                    while let Some(message) = tokio::task::unconstrained(stream.next()).now_or_never() {
                        let Some(message) = message else { return Some(self.lost()) };
                        self.hand_on(message);
                    }
                    if let Some(work) = work.take() {
                        self.finish_change(work, refused);
                    }
                }
                () = self.shared.changed.notified(), if work.is_none() => {}
                () = tokio::time::sleep_until(due), if work.is_none() => {}
            }
            if work.is_none() {
                *work = match self.next_change() {
                    Some(change) => Some(self.start_change(change)),
                    None if heard + self.shared.ping_after() > Instant::now() => None,
                    None if self.shared.channels().is_idle() => return None,
                    None => Some(self.start_change(Change::default())),
                };
            }
        }
    }

    fn hand_on(&self, message: Msg) {
        let message = ChannelMessage {
            channel: message.get_channel_name().to_owned(),
            payload: Bytes::copy_from_slice(message.get_payload_bytes()),
        };
        self.shared.notify(Event::Message(message));
    }

    /// When to look again although nothing happened.
    fn due(&self, heard: Instant) -> Instant {
        let quiet = heard + self.shared.ping_after();
        match self.shared.channels().unneeded_since {
            Some(ended) => quiet.min(ended + GATHER_TIME),
            None => quiet,
        }
    }

    fn next_change(&self) -> Option<Change> {
        let mut wanted = self.shared.channels();
        let gathered = wanted.unneeded_since.is_some_and(|ended| ended + GATHER_TIME <= Instant::now());
        if wanted.requests.is_empty() && !wanted.has_new && !gathered {
            return None;
        }
        let change = wanted.change(&self.confirmed);
        let nothing = change.add.is_empty() && change.remove.is_empty() && change.requests.is_empty();
        (!nothing).then_some(change)
    }

    /// Begins a change; one that changes nothing asks for a sign of life.
    fn start_change(&mut self, change: Change) -> PendingChange {
        let Change { add, remove, requests } = change;
        for name in &remove {
            self.confirmed.remove(name);
        }
        let asked = requests.is_empty() || requests.iter().any(|request| request.round_trip);
        let ping = asked && add.is_empty() && remove.is_empty();
        let answer = perform(self.sink.clone(), add.clone(), remove, ping);
        let (place, limit) = (self.shared.server(), self.shared.target.answer_timeout);
        let answer = async move {
            match tokio::time::timeout(limit, answer).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => {
                    let spoiled = breaks_connection(&error);
                    Err(FailedChange { error: from_redis("subscribe", &place, error), connection_broken: spoiled })
                }
                Err(_) => Err(FailedChange { error: timed_out("subscribe", &place, limit), connection_broken: true }),
            }
        };
        PendingChange { add, requests, answer: answer.boxed() }
    }

    /// The server has answered, or refused.
    fn finish_change(&mut self, work: PendingChange, refused: Option<Error>) {
        if refused.is_none() {
            self.confirmed.extend(work.add);
        }
        if !self.was_subscribed {
            self.was_subscribed = true;
            if let Some((since, _)) = self.shared.channels().broken.take() {
                tracing::info!(%since, "subscribed again");
            }
            self.shared.notify(Event::Connected);
        }
        for request in work.requests {
            let answer = match &refused {
                None => Ok(()),
                Some(error) => Err(Error::new(error.kind(), error.to_string())),
            };
            // Who asked may have gone.
            let _ = request.done.send(answer);
        }
    }

    fn lost(&self) -> Error {
        let place = self.shared.server();
        Error::new(ErrorKind::Connection, format!("keep the subscriptions at {place}: the connection broke"))
    }
}

/// The answer of what is under way.
async fn answer_of(work: &mut Option<PendingChange>) -> Result<(), FailedChange> {
    match work {
        Some(work) => (&mut work.answer).await,
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

/// Channels and patterns.
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
