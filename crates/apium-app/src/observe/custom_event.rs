//! Events of a task's own (Celery: `Task.send_event`).

use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::message::event::Event;
use apium_protocol::message::outgoing_event::OutgoingEvent;
use jiff::Timestamp;
use serde::Serialize;

use crate::context::context::Ctx;
use crate::context::deferred::Deferred;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::event_sender::EventSender;

/// An event of a task's own, before it has a time of the logical clock.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CustomEvent {
    /// Its type, such as `billing-charged`.
    pub kind: String,
    /// When it happened.
    pub at: Timestamp,
    /// The task's id, and what the task gave.
    pub fields: Vec<(std::borrow::Cow<'static, str>, Json)>,
}

impl CustomEvent {
    /// The event as it is sent, at a time of the logical clock of `sender`.
    pub fn into_text(self, sender: &EventSender, clock: u64) -> OutgoingEvent {
        let event = sender.event(self.kind, self.at, clock);
        self.fields.iter().fold(event, |event, (name, value)| event.json(name, value))
    }
}

/// Takes the events of the tasks of a worker, which sends them together with its own.
pub trait EventSink: Send + Sync {
    /// Takes an event. Returns at once.
    fn take(&self, event: CustomEvent);
}

/// The sink of a worker, as a state of its runs.
#[derive(Clone)]
pub struct SharedEventSink(pub Arc<dyn EventSink>);

impl Ctx {
    /// Sends an event of the task's own to whoever listens to events (Celery: `Task.send_event`):
    /// `ctx.send_event("billing-charged", json!({"cents": 5}))`. Its type has a group, a hyphen and a name; the fields
    /// are a map or a struct. The field `uuid` is the id of the task. It is sent whether the worker sends events of
    /// tasks or not.
    ///
    /// Await it, or call `wait()` in a plain function. In a worker it returns at once, and the event is sent in the
    /// background: a broker that does not answer delays no task, and what cannot be sent is dropped after a while. In
    /// an eager call it is sent at once. A function that is called directly, as in a unit test, sends nothing, and that
    /// is no error.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] for a type that is no `group-name`, or for fields that are no map or have the name of a
    /// field that every event has; [`ErrorKind::Codec`] for fields that have no JSON form. In an eager call
    /// [`ErrorKind::Publish`] when the broker fails, or does not answer within `broker_publish_timeout`.
    pub fn send_event(&self, kind: impl Into<String>, fields: impl Serialize) -> Deferred<()> {
        let event = self.custom_event(kind.into(), &fields);
        let ctx = self.clone();
        self.deferred(async move {
            let (event, Some(publisher)) = (event?, ctx.publisher()) else { return Ok(()) };
            if let Some(SharedEventSink(sink)) = ctx.state::<SharedEventSink>() {
                sink.take(event);
                return Ok(());
            }
            let sender = publisher.events().of_node(ctx.shared_request().hostname.clone());
            let sent = event.into_text(&sender, sender.lamport().forward());
            let failed = || Error::new(ErrorKind::Publish, "send an event of a task");
            let limit = publisher.config().broker_publish_timeout;
            let done = tokio::time::timeout(limit, sender.send_singly(&[sent])).await;
            let done = done.map_err(|elapsed| failed().with_source(elapsed))?;
            done.map(drop).map_err(|error| failed().with_source(error))
        })
    }

    fn custom_event(&self, kind: String, fields: &impl Serialize) -> Result<CustomEvent> {
        let is_word = |word: &str| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        if !kind.split_once('-').is_some_and(|(group, name)| is_word(group) && is_word(name)) {
            let text = format!(
                "send an event of the type {kind:?}: a type is a group, a hyphen and a name, such as \"billing-charged\""
            );
            return Err(Error::new(ErrorKind::Call, text));
        }
        let fields = Json::from_serialize(fields)?;
        // The name and the time are not looked at.
        let mut event = Event::new("", "".into(), 0.0);
        if let Some(id) = self.id() {
            event.fields.push(("uuid".into(), Json::from_serialize(id)?));
        }
        event.add_fields(&fields).map_err(|error| {
            Error::new(ErrorKind::Call, format!("send an event of the type {kind}")).with_source(error)
        })?;
        // A call without an app has no clock and sends nothing.
        let at = self.publisher().map_or(Timestamp::UNIX_EPOCH, |publisher| publisher.clock().now());
        Ok(CustomEvent { kind, at, fields: event.fields })
    }
}
