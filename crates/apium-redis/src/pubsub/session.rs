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

use crate::connection::connect::too_slow;
use crate::errors::{from_redis, spoils_connection};
use crate::pubsub::channels::{Change, Name, Request};
use crate::pubsub::subscriber::{Event, Message, Shared};

/// How long names that nobody needs any more wait for others.
const GATHERING: Duration = Duration::from_millis(50);

/// Names in one command.
const AT_ONCE: usize = 1000;

/// How a session ended.
pub(crate) enum Ended {
    /// Nobody needs a subscription.
    Idle,
    Broken {
        error: Error,
        was_there: bool,
    },
}

/// The connection with what is subscribed on it.
pub(crate) struct Session<'a> {
    shared: &'a Shared,
    sink: PubSubSink,
    confirmed: HashSet<Name>,
    /// Whether everything that was needed at the beginning is subscribed.
    was_there: bool,
}

/// Why a change was not made, and whether the connection is of no use any more.
struct Failed {
    error: Error,
    spoiled: bool,
}

/// What is under way.
struct Work {
    add: Vec<Name>,
    requests: Vec<Request>,
    answer: BoxFuture<'static, Result<(), Failed>>,
}

impl<'a> Session<'a> {
    /// Serves until the connection breaks or nobody needs it.
    pub(crate) async fn serve(shared: &'a Shared, connection: PubSub) -> Ended {
        let (sink, mut stream) = connection.split();
        let mut session = Self { shared, sink, confirmed: HashSet::new(), was_there: false };
        let first = shared.wanted().connected();
        let mut work = Some(session.work(first));
        let ended = session.run(&mut stream, &mut work).await;
        // Who waits is served by the next connection.
        let waiting = work.map(|work| work.requests).unwrap_or_default();
        shared.wanted().disconnected(waiting);
        match ended {
            None => Ended::Idle,
            Some(error) => Ended::Broken { error, was_there: session.was_there },
        }
    }

    /// Ends with the error that broke the connection, or without one when nobody needs it.
    async fn run(&mut self, stream: &mut PubSubStream, work: &mut Option<Work>) -> Option<Error> {
        let mut heard = Instant::now();
        loop {
            let due = self.due(heard);
            tokio::select! {
                message = stream.next() => {
                    let Some(message) = message else { return Some(self.lost()) };
                    heard = Instant::now();
                    self.tell(message);
                }
                answer = answer_of(work), if work.is_some() => {
                    let refused = match answer {
                        Err(Failed { error, spoiled: true }) => return Some(error),
                        Err(Failed { error, spoiled: false }) => Some(error),
                        Ok(()) => None,
                    };
                    heard = Instant::now();
                    // What the server sent before the answer lies in the stream already. All of it is told first.
                    while let Some(message) = tokio::task::unconstrained(stream.next()).now_or_never() {
                        let Some(message) = message else { return Some(self.lost()) };
                        self.tell(message);
                    }
                    if let Some(work) = work.take() {
                        self.done(work, refused);
                    }
                }
                () = self.shared.changed.notified(), if work.is_none() => {}
                () = tokio::time::sleep_until(due), if work.is_none() => {}
            }
            if work.is_none() {
                *work = match self.next_change() {
                    Some(change) => Some(self.work(change)),
                    None if heard + self.shared.quiet() > Instant::now() => None,
                    None if self.shared.wanted().is_idle() => return None,
                    None => Some(self.work(Change::default())),
                };
            }
        }
    }

    fn tell(&self, message: Msg) {
        let message = Message {
            channel: message.get_channel_name().to_owned(),
            payload: Bytes::copy_from_slice(message.get_payload_bytes()),
        };
        self.shared.tell(Event::Message(message));
    }

    /// When to look again although nothing happened.
    fn due(&self, heard: Instant) -> Instant {
        let quiet = heard + self.shared.quiet();
        match self.shared.wanted().ended {
            Some(ended) => quiet.min(ended + GATHERING),
            None => quiet,
        }
    }

    fn next_change(&self) -> Option<Change> {
        let mut wanted = self.shared.wanted();
        let gathered = wanted.ended.is_some_and(|ended| ended + GATHERING <= Instant::now());
        if wanted.requests.is_empty() && !wanted.begun && !gathered {
            return None;
        }
        let change = wanted.change(&self.confirmed);
        let nothing = change.add.is_empty() && change.remove.is_empty() && change.requests.is_empty();
        (!nothing).then_some(change)
    }

    /// Begins a change; one that changes nothing asks for a sign of life.
    fn work(&mut self, change: Change) -> Work {
        let Change { add, remove, requests } = change;
        for name in &remove {
            self.confirmed.remove(name);
        }
        let asked = requests.is_empty() || requests.iter().any(|request| request.round_trip);
        let ping = asked && add.is_empty() && remove.is_empty();
        let answer = perform(self.sink.clone(), add.clone(), remove, ping);
        let (place, limit) = (self.shared.place(), self.shared.target.answer_timeout);
        let answer = async move {
            match tokio::time::timeout(limit, answer).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => {
                    let spoiled = spoils_connection(&error);
                    Err(Failed { error: from_redis("subscribe", &place, error), spoiled })
                }
                Err(_) => Err(Failed { error: too_slow("subscribe", &place, limit), spoiled: true }),
            }
        };
        Work { add, requests, answer: answer.boxed() }
    }

    /// The server has answered, or refused.
    fn done(&mut self, work: Work, refused: Option<Error>) {
        if refused.is_none() {
            self.confirmed.extend(work.add);
        }
        if !self.was_there {
            self.was_there = true;
            if let Some((since, _)) = self.shared.wanted().broken.take() {
                tracing::info!(%since, "subscribed again");
            }
            self.shared.tell(Event::Connected);
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
        let place = self.shared.place();
        Error::new(ErrorKind::Connection, format!("keep the subscriptions at {place}: the connection broke"))
    }
}

/// The answer of what is under way.
async fn answer_of(work: &mut Option<Work>) -> Result<(), Failed> {
    match work {
        Some(work) => (&mut work.answer).await,
        None => std::future::pending().await,
    }
}

/// Sends the commands of a change.
async fn perform(mut sink: PubSubSink, add: Vec<Name>, remove: Vec<Name>, ping: bool) -> RedisResult<()> {
    let (channels, patterns) = parted(add);
    for names in channels.chunks(AT_ONCE) {
        sink.subscribe(names).await?;
    }
    for names in patterns.chunks(AT_ONCE) {
        sink.psubscribe(names).await?;
    }
    let (channels, patterns) = parted(remove);
    for names in channels.chunks(AT_ONCE) {
        sink.unsubscribe(names).await?;
    }
    for names in patterns.chunks(AT_ONCE) {
        sink.punsubscribe(names).await?;
    }
    if ping {
        sink.ping::<redis::Value>().await?;
    }
    Ok(())
}

/// Channels and patterns.
fn parted(names: Vec<Name>) -> (Vec<String>, Vec<String>) {
    let (mut channels, mut patterns) = (Vec::new(), Vec::new());
    for name in names {
        match name {
            Name::Channel(name) => channels.push(name),
            Name::Pattern(name) => patterns.push(name),
        }
    }
    (channels, patterns)
}
