//! `task-sent`: the event that a caller sends for each message, with the setting `task_send_sent_event`.

use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_protocol::json::text::Json;
use apium_protocol::message::event::Event;
use apium_transport::broker::outgoing::Outgoing;
use jiff::Timestamp;
use serde::Serialize;

use crate::observe::event_sender::EventSender;

/// The event for a message of a task; `None` for a message that is none. `queue` is the name of the queue that gets
/// it, where that is known.
pub(crate) fn sent_event(
    sender: &EventSender,
    outgoing: &Outgoing,
    queue: Option<&str>,
    now: Timestamp,
) -> Option<Event> {
    let headers = &outgoing.message.headers;
    let (id, task) = (headers.id.as_ref()?, headers.task.as_deref()?);
    let mut event = sender.event("task-sent", now, sender.lamport().forward());
    let mut add = |name: &'static str, value: &dyn erased::FieldValue| event.fields.push((name.into(), value.json()));
    add("uuid", &id.as_str());
    add("root_id", &headers.root_id.as_ref().map(|id| id.as_str()));
    add("parent_id", &headers.parent_id.as_ref().map(|id| id.as_str()));
    add("name", &task);
    add("args", &headers.argsrepr);
    add("kwargs", &headers.kwargsrepr);
    add("retries", &headers.retries);
    add("eta", &headers.eta);
    add("expires", &headers.expires);
    add("queue", &queue);
    add("exchange", &&*outgoing.exchange);
    add("routing_key", &&*outgoing.routing_key);
    Some(event)
}

/// Sends the events, within `limit`. They are not worth the failure of a call: an error is logged.
pub(crate) async fn send(sender: &EventSender, events: Vec<Event>, limit: Duration) {
    match tokio::time::timeout(limit, sender.send_singly(&events)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = %with_causes(&error), events = events.len(), "could not send events of messages that were published");
        }
        Err(_) => tracing::warn!(
            events = events.len(),
            "could not send events of messages that were published: the broker does not answer"
        ),
    }
}

mod erased {
    use super::{Json, Serialize};

    /// A value of a field.
    pub(super) trait FieldValue {
        fn json(&self) -> Json;
    }

    impl<T: Serialize> FieldValue for T {
        fn json(&self) -> Json {
            // Texts and numbers always have a JSON text.
            Json::from_serialize(self).unwrap_or(Json::NULL)
        }
    }
}
