//! `task-sent`: the event that a caller sends for each message, with the setting `task_send_sent_event`.

use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_protocol::message::outgoing_event::OutgoingEvent;
use apium_transport::broker::outgoing::Outgoing;
use jiff::Timestamp;

use crate::observe::event_sender::EventSender;

/// The event for a message of a task; `None` for a message that is none. `queue` is the name of the queue that gets
/// it, where that is known.
pub(crate) fn sent_event(
    sender: &EventSender,
    outgoing: &Outgoing,
    queue: Option<&str>,
    now: Timestamp,
) -> Option<OutgoingEvent> {
    let headers = &outgoing.message.headers;
    let (id, task) = (headers.id.as_ref()?, headers.task.as_deref()?);
    let event = sender.event("task-sent", now, sender.lamport().forward());
    let event = event
        .text("uuid", id.as_str())
        .text_or_null("root_id", headers.root_id.as_ref().map(|id| id.as_str()))
        .text_or_null("parent_id", headers.parent_id.as_ref().map(|id| id.as_str()))
        .text("name", task)
        .text_or_null("args", headers.argsrepr.as_deref())
        .text_or_null("kwargs", headers.kwargsrepr.as_deref())
        .int("retries", headers.retries.into())
        .text_or_null("eta", headers.eta.as_deref())
        .text_or_null("expires", headers.expires.as_deref())
        .text_or_null("queue", queue)
        .text("exchange", &outgoing.exchange)
        .text("routing_key", &outgoing.routing_key);
    Some(event)
}

/// Sends the events, within `limit`. They are not worth the failure of a call: an error is logged.
pub(crate) async fn send(sender: &EventSender, events: Vec<OutgoingEvent>, limit: Duration) {
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
