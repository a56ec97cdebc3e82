//! Events of real Celery are read, and written again byte for byte.

use apium_protocol::message::event::Event;
use apium_protocol::message::outgoing_event::BATCH_ROUTING_KEY;
use apium_protocol::value::value::Value;
use bytes::Bytes;

use crate::vectors;

/// The routing key and the body of each message of events in a capture.
fn bodies(vector: &vectors::Vector) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for broker in ["redis", "amqp"] {
        let Some(of_broker) = vector.value.get(broker) else { continue };
        let messages = of_broker.get("raw_messages").unwrap_or(of_broker);
        let Value::List(messages) = messages else { continue };
        for message in messages {
            let key = message.get("routing_key").or_else(|| message.get("channel")).and_then(Value::as_str).unwrap();
            let body = message.get("body").and_then(|body| body.get("utf8")).and_then(Value::as_str).unwrap();
            found.push((key.rsplit('/').next().unwrap().to_owned(), body.to_owned()));
        }
    }
    found
}

#[test]
fn every_captured_event_is_read_and_written_again_byte_for_byte() {
    let mut kinds = Vec::new();
    for vector in vectors::all().into_iter().filter(|vector| vector.name.starts_with("event_")) {
        let bodies = bodies(&vector);
        assert!(!bodies.is_empty(), "{} has no message", vector.name);
        for (routing_key, body) in bodies {
            let events = Event::read_all(&Bytes::from(body.clone())).unwrap();
            let written = match routing_key == BATCH_ROUTING_KEY {
                true => Event::batch_message(&events, &events[0].hostname),
                false => {
                    assert_eq!(routing_key, events[0].to_text().routing_key());
                    events[0].to_message()
                }
            };
            assert_eq!(std::str::from_utf8(&written.body).unwrap(), body, "{}", vector.name);
            let hostname = written.headers.extra["hostname"].decode::<String>().unwrap();
            assert_eq!(hostname, *events[0].hostname);
            kinds.extend(events.into_iter().map(|event| event.kind.into_owned()));
        }
    }
    for kind in [
        "task-sent",
        "task-received",
        "task-started",
        "task-succeeded",
        "task-failed",
        "task-rejected",
        "task-revoked",
        "task-retried",
        "worker-online",
        "worker-heartbeat",
        "worker-offline",
        "worker-elect",
        "worker-elect-ack",
    ] {
        assert!(kinds.iter().any(|seen| seen == kind), "no capture of {kind}");
    }
}

#[test]
fn fields_that_a_program_gives_are_a_map_without_the_common_ones() {
    let json = |text: &str| apium_protocol::json::text::Json::from_text(text).unwrap();
    let mut event = Event::new("billing-charged", "w1@h".into(), 1.0);
    event.add_fields(&json(r#"{"cents": 5, "to": {"a": [1]}}"#)).unwrap();
    let names: Vec<&str> = event.fields.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["cents", "to"]);
    for bad in ["[1]", "5", "null", r#"{"type": "x"}"#, r#"{"cents": 6}"#] {
        assert!(event.clone().add_fields(&json(bad)).is_err(), "{bad}");
    }
}
