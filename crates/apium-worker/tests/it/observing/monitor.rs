//! A monitor: it listens to events and collects them.

use std::time::Duration;

use apium_app::app::app::App;
use apium_protocol::message::event::Event;
use apium_transport::broker::broadcast::{BroadcastExchange, Mailbox, MailboxSpec};
use apium_transport::broker::topology::ExchangeType;

/// Listens to events of an app.
pub(crate) struct Monitor {
    mailbox: Box<dyn Mailbox>,
    /// The events so far, each with the routing key of its message.
    pub(crate) seen: Vec<(String, Event)>,
    /// How many events each message had.
    pub(crate) batches: Vec<usize>,
}

impl Monitor {
    pub(crate) async fn open(app: &App) -> Self {
        let exchange = BroadcastExchange::new("celeryev", ExchangeType::Topic);
        let spec = MailboxSpec::new(exchange, format!("celeryev.{}", uuid::Uuid::new_v4()), "#");
        let mailbox = app.broker().broadcast().unwrap().listen(spec).await.unwrap();
        Self { mailbox, seen: Vec::new(), batches: Vec::new() }
    }

    /// Collects events until `is_enough` says so.
    pub(crate) async fn until(&mut self, what: &str, is_enough: impl Fn(&Self) -> bool) {
        while !is_enough(self) {
            let received = tokio::time::timeout(Duration::from_secs(20), self.mailbox.next()).await;
            let Ok(received) = received else { panic!("waited in vain: {what}: {:#?}", self.kinds()) };
            for broadcasted in received.unwrap().messages {
                let events = Event::read_all(&broadcasted.message.body).unwrap();
                self.batches.push(events.len());
                self.seen.extend(events.into_iter().map(|event| (broadcasted.routing_key.to_string(), event)));
            }
        }
    }

    /// Collects events until there is one of this type.
    pub(crate) async fn until_kind(&mut self, kind: &str) -> Event {
        self.until(kind, |monitor| monitor.count(kind) > 0).await;
        self.seen.iter().find(|(_, event)| event.kind == kind).unwrap().1.clone()
    }

    pub(crate) fn count(&self, kind: &str) -> usize {
        self.seen.iter().filter(|(_, event)| event.kind == kind).count()
    }

    pub(crate) fn kinds(&self) -> Vec<&str> {
        self.seen.iter().map(|(_, event)| &*event.kind).collect()
    }

    /// The events of one task.
    pub(crate) fn of(&self, id: &str) -> Vec<&Event> {
        let is_of = |event: &Event| event.field("uuid").is_some_and(|uuid| uuid.as_str() == format!("\"{id}\""));
        self.seen.iter().map(|(_, event)| event).filter(|event| is_of(event)).collect()
    }

    /// The types of the events of one task.
    pub(crate) fn kinds_of(&self, id: &str) -> Vec<&str> {
        self.of(id).into_iter().map(|event| &*event.kind).collect()
    }

    /// Whether the last event of a task is of this type.
    pub(crate) fn has(&self, id: &str, kind: &str) -> bool {
        self.kinds_of(id).contains(&kind)
    }
}

/// The value of a field, as JSON.
pub(crate) fn field(event: &Event, name: &str) -> serde_json::Value {
    let found = event.fields.iter().find(|(key, _)| key == name);
    let (_, value) = found.unwrap_or_else(|| panic!("{} has no field {name}", event.kind));
    serde_json::from_str(value.as_str()).unwrap()
}
