//! Receiving events (Celery: `app.events.Receiver`).

use std::collections::VecDeque;
use std::fmt;

use apium_protocol::codecs::accept::Accept;
use apium_protocol::error::with_causes;
use apium_protocol::message::event::Event;
use apium_protocol::message::message::Message;
use apium_transport::broker::broadcast::{BroadcastExchange, Mailbox, MailboxSpec};
use apium_transport::broker::topology::ExchangeType;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use jiff::Timestamp;
use uuid::Uuid;

use crate::app::app::App;
use crate::control::exchange::broadcast;
use crate::error::{Error, ErrorKind, Result};

/// Says which events are to be received. [`listen`](Self::listen) begins.
#[derive(Debug, Clone)]
#[must_use = "nothing is received until `listen` is called"]
pub struct Events {
    app: App,
    routing_key: String,
    capacity: usize,
    wake: bool,
}

impl App {
    /// Events of the app's broker: what happens to workers and tasks (Celery: `app.events`).
    ///
    /// Workers send events of tasks only where they were started with `-E` or told to by
    /// [`enable_events`](crate::control::control::Control::enable_events).
    pub fn events(&self) -> Events {
        Events { app: self.clone(), routing_key: "#".to_owned(), capacity: 10_000, wake: true }
    }
}

impl Events {
    /// Receives only what was sent with such a routing key: the type of the event with dots, such as `task.failed`.
    /// In a pattern `*` is one word and `#` any number of them: `worker.#`. Batches of events of tasks have the key
    /// `task.multi`, so `task.#` is the pattern for events of tasks. The default is `#`, all events.
    pub fn routing_key(mut self, pattern: impl Into<String>) -> Self {
        self.routing_key = pattern.into();
        self
    }

    /// How many messages may wait to be read (default: 10,000). When there are more, the oldest go, and the receiver
    /// [says so](EventReceiver::missed).
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages.max(1);
        self
    }

    /// Whether workers are told to send their heartbeat at once, so that they are seen without a wait (default: yes;
    /// Celery: `wakeup`).
    pub fn wake(mut self, yes: bool) -> Self {
        self.wake = yes;
        self
    }

    /// Begins to receive. What is sent after this has returned is received.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a broker without broadcasts, [`ErrorKind::Call`] for an empty routing key,
    /// [`ErrorKind::Publish`] when the broker cannot be reached.
    pub async fn listen(self) -> Result<EventReceiver> {
        let Self { app, routing_key, capacity, wake } = self;
        if routing_key.is_empty() {
            return Err(Error::new(ErrorKind::Call, "receive events: the routing key is empty; # means all of them"));
        }
        let config = app.config().clone();
        let exchange = BroadcastExchange::new(&*config.event_exchange, ExchangeType::Topic).durable();
        let queue = format!("{}.{}", config.event_queue_prefix, Uuid::new_v4());
        let mut spec = MailboxSpec::new(exchange, queue, routing_key);
        spec.message_ttl = config.event_queue_ttl;
        spec.expires = config.event_queue_expires;
        spec.capacity = capacity;
        let at = app.broker().address();
        let seam = broadcast(&app, "receive events")?;
        let mailbox = app.ask(at, || seam.listen(spec.clone())).await;
        let mailbox = mailbox
            .map_err(|error| Error::new(ErrorKind::Publish, format!("receive events of {at}")).with_source(error))?;
        if wake {
            app.control().heartbeat().send().await?;
        }
        let accept = Accept::names([config.event_serializer.clone(), "json".to_owned()]);
        Ok(EventReceiver { accept, app, mailbox, waiting: VecDeque::new(), missed: false })
    }

    /// As [`listen`](Self::listen), on this thread. For code that is not async; it reads on by
    /// [`next_blocking`](EventReceiver::next_blocking).
    ///
    /// # Errors
    /// As [`listen`](Self::listen).
    pub fn listen_blocking(self) -> Result<EventReceiver> {
        let app = self.app.clone();
        app.blocking().run(self.listen())?
    }
}

/// An event, and when it was received.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReceivedEvent {
    /// The event as it was sent. Its clock is one of this process where the sender's cannot be trusted: `task-sent`
    /// comes from callers, which count for themselves, and some senders have none.
    pub event: Event,
    /// When it was received, by the clock of this process.
    pub at: Timestamp,
}

impl ReceivedEvent {
    /// An event that was received at this time.
    pub fn new(event: Event, at: Timestamp) -> Self {
        Self { event, at }
    }
}

/// Receives events, one by one. Dropping it ends the listening.
pub struct EventReceiver {
    app: App,
    accept: Accept,
    mailbox: Box<dyn Mailbox>,
    waiting: VecDeque<ReceivedEvent>,
    missed: bool,
}

impl EventReceiver {
    /// Waits for the next event; those of a batch come one by one. What cannot be read as an event is logged and left
    /// out. While the broker is away it waits. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`] when the broker was closed.
    pub async fn next(&mut self) -> Result<ReceivedEvent> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(event);
            }
            let received = self.mailbox.next().await.map_err(|error| {
                let text = format!("receive events of {}", self.app.broker().address());
                Error::new(ErrorKind::Publish, text).with_source(error)
            })?;
            self.missed |= received.missed;
            let now = self.app.clock().now();
            for message in received.messages {
                self.read(&message.message, now);
            }
        }
    }

    /// The next event, if one was received already.
    pub fn try_next(&mut self) -> Option<ReceivedEvent> {
        self.waiting.pop_front()
    }

    /// As [`next`](Self::next), on this thread: gives the receiver back with the event. For code that is not async.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_blocking(mut self) -> Result<(Self, ReceivedEvent)> {
        let app = self.app.clone();
        app.blocking().run(async move {
            let event = self.next().await?;
            Ok((self, event))
        })?
    }

    /// Whether events were missed since this was asked last: the connection was gone for a while, or too many waited.
    pub fn missed(&mut self) -> bool {
        std::mem::take(&mut self.missed)
    }

    /// The events as a stream. It ends with the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<ReceivedEvent>> + Send {
        try_unfold(self, async |mut receiver| {
            let event = receiver.next().await?;
            Ok(Some((event, receiver)))
        })
    }

    fn read(&mut self, message: &Message, now: Timestamp) {
        let content_type = message.properties.content_type.as_deref().unwrap_or("application/json");
        let body = self.app.codecs().decode_value(&message.body, content_type, &self.accept);
        match body.and_then(|body| Event::read_all(&body.into_bytes())) {
            Ok(events) => {
                let received = events.into_iter().map(|event| ReceivedEvent::new(self.with_clock(event), now));
                let received: Vec<_> = received.collect();
                self.waiting.extend(received);
            }
            Err(error) => tracing::warn!(error = %with_causes(&error), "an event cannot be read"),
        }
    }

    fn with_clock(&self, mut event: Event) -> Event {
        let clock = self.app.lamport_clock();
        if event.kind == "task-sent" {
            event.clock = clock.value().max(1) - 1;
        } else if event.clock == 0 {
            event.clock = clock.forward();
        } else {
            clock.adjust(event.clock);
        }
        event
    }
}

impl fmt::Debug for EventReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReceiver").field("app", &self.app).field("waiting", &self.waiting.len()).finish()
    }
}
