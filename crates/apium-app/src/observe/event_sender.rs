//! Makes the events of one node and sends them to the exchange of events (Celery: `EventDispatcher`).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use apium_protocol::message::event::{BATCH_ROUTING_KEY, Event};
use apium_transport::broker::broadcast::BroadcastExchange;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::ExchangeType;
use apium_transport::error::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;

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
}

impl EventSender {
    /// A sender for the node `hostname`, on the exchange of this name (`event_exchange`), with a logical clock of its
    /// own.
    pub(crate) fn new(broker: SharedBroker, exchange: &str, hostname: Arc<str>) -> Self {
        let exchange = Arc::new(BroadcastExchange::new(exchange, ExchangeType::Topic).durable());
        Self { broker, exchange, lamport: LamportClock::default(), hostname, zone: TimeZone::system() }
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
    pub fn event(&self, kind: impl Into<Cow<'static, str>>, at: Timestamp, clock: u64) -> Event {
        let mut event = Event::new(kind, self.hostname.clone(), epoch_seconds(at));
        // Whole hours, rounded down, as Celery computes it.
        event.utcoffset = f64::from(-self.zone.to_offset(at).seconds()).div_euclid(3_600.0);
        (event.pid, event.clock) = (std::process::id(), clock);
        event
    }

    /// Sends events in their order: those of tasks that follow each other in lists of 24 at most, others one by one.
    /// Returns how many listeners got the last message, where the broker can tell. Sends nothing where the broker has
    /// no broadcasts. Not cancel-safe: what was sent is not known then.
    ///
    /// # Errors
    /// The broker's. Nothing is tried again.
    pub async fn send_batched(&self, events: &[Event]) -> Result<Option<usize>> {
        let mut batch = Vec::new();
        for run in events.chunk_by(|a, b| a.is_of_task() && b.is_of_task()) {
            match run {
                [one] if !one.is_of_task() => batch.push(self.outgoing(one)),
                of_tasks => batch.extend(of_tasks.chunks(MOST_IN_BATCH).map(|events| {
                    let message = Event::batch_message(events, &self.hostname);
                    Outgoing::new(self.exchange.name.clone(), BATCH_ROUTING_KEY.into(), message)
                })),
            }
        }
        self.send(batch).await
    }

    /// Sends events one by one, as a caller does.
    ///
    /// # Errors
    /// As [`send_batched`](Self::send_batched).
    pub async fn send_singly(&self, events: &[Event]) -> Result<Option<usize>> {
        self.send(events.iter().map(|event| self.outgoing(event)).collect()).await
    }

    fn outgoing(&self, event: &Event) -> Outgoing {
        Outgoing::new(self.exchange.name.clone(), event.routing_key().into(), event.to_message())
    }

    async fn send(&self, batch: Vec<Outgoing>) -> Result<Option<usize>> {
        match self.broker.broadcast() {
            Some(broadcast) if !batch.is_empty() => broadcast.send_counted(&self.exchange, batch).await,
            _ => Ok(None),
        }
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
