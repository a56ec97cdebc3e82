//! Makes the events of one node and sends them to the exchange of events (Celery: `EventDispatcher`).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use apium_protocol::codecs::codecs::Codecs;
use apium_protocol::error::with_causes;
use apium_protocol::message::event::Event;
use apium_protocol::message::message::Message;
use apium_protocol::message::outgoing_event::{BATCH_ROUTING_KEY, EventHead, EventList, OutgoingEvent};
use apium_protocol::value::printable::printable_text;
use apium_transport::broker::broadcast::BroadcastExchange;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::ExchangeType;
use apium_transport::error::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::table::Config;
use crate::observe::lamport_clock::LamportClock;

/// How many events of tasks go into one message, as in Celery (`buffer_limit`).
const MOST_IN_BATCH: usize = 24;

/// Makes events of one node, and sends them. Cheap to clone.
#[derive(Clone)]
pub struct EventSender {
    broker: SharedBroker,
    exchange: Arc<BroadcastExchange>,
    lamport: LamportClock,
    hostname: Arc<str>,
    /// The machine's own zone: receivers turn times into theirs by it.
    zone: TimeZone,
    codecs: Codecs,
    /// What writes them (`event_serializer`).
    serializer: Arc<str>,
}

impl EventSender {
    /// A sender for the node `hostname`, with the settings for events and with a logical clock of its own.
    pub(crate) fn new(broker: SharedBroker, config: &Config, codecs: Codecs, hostname: Arc<str>) -> Self {
        let exchange = BroadcastExchange::new(&*config.event_exchange, ExchangeType::Topic).durable();
        let (lamport, zone) = (LamportClock::default(), TimeZone::system());
        let (exchange, serializer) = (Arc::new(exchange), config.event_serializer.as_str().into());
        Self { broker, exchange, lamport, hostname, zone, codecs, serializer }
    }

    /// The same sender for another node.
    #[must_use]
    pub fn of_node(&self, hostname: Arc<str>) -> Self {
        Self { hostname, ..self.clone() }
    }

    /// The exchange of events.
    pub fn exchange(&self) -> &BroadcastExchange {
        &self.exchange
    }

    /// The logical clock of the app.
    pub fn lamport(&self) -> &LamportClock {
        &self.lamport
    }

    /// The node whose events it sends.
    pub fn hostname(&self) -> &Arc<str> {
        &self.hostname
    }

    /// Whether the broker can send to all who listen. If not, nothing is sent.
    pub fn can_send(&self) -> bool {
        self.broker.broadcast().is_some()
    }

    /// An event of this node with all common fields, at a time of its logical clock ([`LamportClock::forward`]).
    pub fn event(&self, kind: impl Into<Cow<'static, str>>, at: Timestamp, clock: u64) -> OutgoingEvent {
        OutgoingEvent::new(kind, &self.head(at, clock), epoch_seconds(at))
    }

    fn head(&self, at: Timestamp, clock: u64) -> EventHead<'_> {
        // Whole hours, rounded down, as Celery computes it.
        let utcoffset = f64::from(-self.zone.to_offset(at).seconds()).div_euclid(3_600.0);
        EventHead { hostname: &self.hostname, utcoffset, pid: std::process::id(), clock }
    }

    /// Sends messages of an [`EventBatch`] in their order. Returns how many listeners got the last one, where the
    /// broker can tell. Sends nothing where the broker has no broadcasts. Not cancel-safe: what was sent is not known
    /// then.
    ///
    /// # Errors
    /// The broker's. Nothing is tried again.
    pub async fn send_batched(&self, messages: &[EventMessage]) -> Result<Option<usize>> {
        self.send(messages.iter().map(|message| message.outgoing.clone()).collect()).await
    }

    /// Sends events one by one, as a caller does. Returns what [`send_batched`](Self::send_batched) does.
    ///
    /// # Errors
    /// The broker's. Nothing is tried again.
    pub async fn send_singly(&self, events: &[OutgoingEvent]) -> Result<Option<usize>> {
        self.send(events.iter().filter_map(|event| self.outgoing(event)).collect()).await
    }

    /// The message of one event; `None`, and a warning in the log, where the serializer cannot write it.
    fn outgoing(&self, event: &OutgoingEvent) -> Option<Outgoing> {
        let mut message = event.to_message(&self.hostname);
        match self.format(&mut message) {
            Ok(()) => Some(self.to_exchange(event.routing_key().into(), message)),
            Err(error) => {
                let (kind, serializer) = (printable_text(event.kind()), &*self.serializer);
                tracing::warn!(error = %with_causes(&error), %kind, serializer, "could not write an event; it is dropped");
                None
            }
        }
    }

    /// Writes a message, which is JSON so far, with the serializer of the setting. After an error it is still JSON.
    fn format(&self, message: &mut Message) -> apium_protocol::error::Result<()> {
        self.codecs.reformat(message, &self.serializer)
    }

    fn to_exchange(&self, routing_key: Arc<str>, message: Message) -> Outgoing {
        Outgoing::new(self.exchange.name.clone(), routing_key, message)
    }

    async fn send(&self, batch: Vec<Outgoing>) -> Result<Option<usize>> {
        match self.broker.broadcast() {
            Some(broadcast) if !batch.is_empty() => broadcast.send_counted(&self.exchange, batch).await,
            _ => Ok(None),
        }
    }
}

/// A message with events.
#[derive(Debug)]
pub struct EventMessage {
    outgoing: Outgoing,
    /// How many events are in it.
    pub count: usize,
    /// Whether it says that the node lives, so that it counts whom it reaches.
    pub is_heartbeat: bool,
}

/// Collects the events of one node into messages, in their order: those of tasks that follow each other in lists of 24
/// at most, others one by one. An event that the serializer cannot write is logged and left out.
#[derive(Debug)]
pub struct EventBatch<'a> {
    sender: &'a EventSender,
    messages: Vec<EventMessage>,
    list: EventList,
}

impl<'a> EventBatch<'a> {
    /// An empty one.
    pub fn new(sender: &'a EventSender) -> Self {
        Self { sender, messages: Vec::new(), list: EventList::default() }
    }

    /// Adds an event of a task at a time of the logical clock, with the fields that `fields` adds.
    pub fn add_of_task(
        &mut self,
        kind: &'static str,
        (at, clock): (Timestamp, u64),
        fields: impl FnOnce(OutgoingEvent) -> OutgoingEvent,
    ) {
        let event = self.list.begin(kind, &self.sender.head(at, clock), epoch_seconds(at));
        self.list.end(fields(event));
        if self.list.count() == MOST_IN_BATCH {
            self.end_list();
        }
    }

    /// Adds an event that was made before.
    pub fn add(&mut self, event: &OutgoingEvent) {
        if event.is_of_task() {
            self.list.add(event);
            if self.list.count() == MOST_IN_BATCH {
                self.end_list();
            }
            return;
        }
        self.end_list();
        self.add_single(event);
    }

    fn add_single(&mut self, event: &OutgoingEvent) {
        let is_heartbeat = matches!(event.kind(), "worker-heartbeat" | "worker-online");
        let outgoing = self.sender.outgoing(event);
        self.messages.extend(outgoing.map(|outgoing| EventMessage { outgoing, count: 1, is_heartbeat }));
    }

    /// Ends the list. Where one of its events cannot be written, the others go one by one.
    fn end_list(&mut self) {
        let count = self.list.count();
        if count == 0 {
            return;
        }
        let mut message = self.list.take_message(&self.sender.hostname);
        let Err(error) = self.sender.format(&mut message) else {
            let outgoing = self.sender.to_exchange(BATCH_ROUTING_KEY.into(), message);
            self.messages.push(EventMessage { outgoing, count, is_heartbeat: false });
            return;
        };
        match Event::read_all(&message.body) {
            Ok(events) => events.iter().for_each(|event| self.add_single(&event.to_text())),
            Err(_) => tracing::warn!(error = %with_causes(&error), count, "could not write events; they are dropped"),
        }
    }

    /// The messages.
    pub fn into_messages(mut self) -> Vec<EventMessage> {
        self.end_list();
        self.messages
    }
}

/// Seconds since 1970, exact to the microsecond.
fn epoch_seconds(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}

impl fmt::Debug for EventSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSender").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}
