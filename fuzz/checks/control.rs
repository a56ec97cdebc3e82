//! Any bytes as what travels beside tasks: a control request, the reply to one, events. The result is a value or an
//! error, and a value stays the same when it is written and read again.

use apium_protocol::json::text::Json;
use apium_protocol::message::control::{ControlReply, ControlRequest};
use apium_protocol::message::event::Event;
use bytes::Bytes;

/// Reads and writes each of them.
pub(crate) fn check(data: &[u8]) {
    if let Ok(request) = ControlRequest::from_json(data) {
        assert_eq!(ControlRequest::from_json(&request.to_json()).as_ref().ok(), Some(&request));
    }
    let bytes = Bytes::copy_from_slice(data);
    // Nothing sends an empty list.
    if let Some(events) = Event::read_all(&bytes).ok().filter(|events| !events.is_empty()) {
        let written = Event::batch_message(&events, "worker@host");
        let again = Event::read_all(&written.body).expect("written events can be read");
        let kinds = |events: &[Event]| events.iter().map(|event| event.kind.to_string()).collect::<Vec<_>>();
        assert_eq!(kinds(&again), kinds(&events));
    }
    let Ok(body) = Json::from_bytes(bytes) else { return };
    let message = ControlReply::message("worker@host", &body, Some("ticket"), 7);
    let written = Json::from_bytes(message.body.clone()).expect("a written reply is JSON");
    let reply = ControlReply::read(&message, &written).expect("a written reply can be read");
    assert_eq!((&*reply.node, reply.ticket.as_deref(), reply.clock), ("worker@host", Some("ticket"), Some(7)));
    if let Ok(reply) = ControlReply::read(&message, &body) {
        let message = ControlReply::message(&reply.node, &reply.answer, None, 7);
        let written = Json::from_bytes(message.body.clone()).expect("a written reply is JSON");
        let again = ControlReply::read(&message, &written).expect("a written reply can be read");
        assert_eq!((again.node, again.answer), (reply.node, reply.answer));
    }
}
