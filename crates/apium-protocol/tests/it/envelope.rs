//! kombu's envelopes: captured ones, and those that were given to a real worker of Celery.

use std::collections::{BTreeMap, BTreeSet};

use apium_protocol::error::ErrorKind;
use apium_protocol::json::text::Json;
use apium_protocol::message::envelope::{Envelope, encode, mark_redelivered, unmark_redelivered};
use apium_protocol::message::message::Message;
use apium_protocol::value::value::Value;
use bytes::Bytes;

use crate::vectors::{self, Vector, walk};

fn written(envelope: &Envelope) -> String {
    let part = |part: &Option<std::sync::Arc<str>>| part.as_deref().unwrap().to_owned();
    let tag = envelope.delivery_tag.as_deref().unwrap();
    let mut out = Vec::new();
    encode(&envelope.message, &part(&envelope.exchange), &part(&envelope.routing_key), tag, &mut out);
    String::from_utf8(out).unwrap()
}

fn changed(change: fn(&[u8]) -> apium_protocol::error::Result<Vec<u8>>, raw: &str) -> String {
    String::from_utf8(change(raw.as_bytes()).unwrap()).unwrap()
}

/// The texts of the envelopes in a capture, also those in entries of `unacked`: `[envelope, exchange, routing key]`.
fn envelopes(vector: &Vector) -> Vec<String> {
    let mut found = Vec::new();
    walk(&vector.value, &mut |value| match value {
        Value::Str(text) if text.starts_with("{\"body\": ") => found.push(text.clone()),
        Value::Str(text) if text.starts_with("[{\"body\": ") => {
            let unacked: Vec<Json> = Json::from_text(text).unwrap().decode().unwrap();
            found.push(unacked[0].as_str().to_owned());
        }
        _ => {}
    });
    found
}

#[test]
fn captured_envelopes_are_read_and_those_of_tasks_written_again_byte_for_byte() {
    let (mut tasks, mut redelivered, mut others) = (0, 0, 0);
    let mut in_another_order = BTreeSet::new();
    for vector in vectors::all() {
        for raw in envelopes(&vector) {
            let at = format!("{}: {raw}", vector.name);
            let envelope = Envelope::decode(&raw.clone().into()).unwrap_or_else(|e| panic!("{at}: {e}"));
            check(&envelope, &raw, &at);
            if envelope.message.headers.task.is_none() && !vector.name.starts_with("protocol1") {
                others += 1;
                continue;
            }
            tasks += 1;
            redelivered += i32::from(envelope.redelivered);
            let plain = changed(unmark_redelivered, &raw);
            if envelope.redelivered {
                assert_ne!(plain, raw, "{at}");
                assert_eq!(changed(mark_redelivered, &plain), raw, "{at}");
                assert_eq!(changed(mark_redelivered, &raw), raw, "{at}");
            } else {
                assert_eq!(plain, raw, "{at}");
            }
            if written(&envelope) != plain {
                let tree = |text: &str| Json::from_text(text).unwrap().decode::<serde_json::Value>().unwrap();
                assert_eq!(tree(&written(&envelope)), tree(&plain), "{at}");
                in_another_order.insert(vector.name.clone());
            }
        }
    }
    // Celery writes stamps and the caller's own headers in the order of the caller; Apium sorts them by name.
    assert_eq!(Vec::from_iter(in_another_order), ["stamps_visitor_group", "task_headers"]);
    assert_eq!((tasks, redelivered, others), (185, 15, 125));
}

/// Compares a decoded envelope with the same text read as a tree.
fn check(envelope: &Envelope, raw: &str, at: &str) {
    let mut oracle = vectors::from_redis(raw).unwrap().message;
    let header = oracle.headers.extra.remove("redelivered");
    assert_eq!(envelope.message, oracle, "{at}");
    let tree = Json::from_text(raw).unwrap().to_value().unwrap();
    let properties = tree.get("properties").unwrap();
    let info = |key| properties.get("delivery_info").unwrap().get(key);
    assert_eq!(envelope.delivery_tag.as_deref(), properties.get("delivery_tag").unwrap().as_str(), "{at}");
    assert_eq!(envelope.exchange.as_deref(), info("exchange").unwrap().as_str(), "{at}");
    assert_eq!(envelope.routing_key.as_deref(), info("routing_key").unwrap().as_str(), "{at}");
    assert_eq!(envelope.redelivered, header.is_some() && info("redelivered").is_some(), "{at}");
}

#[test]
fn envelopes_are_marked_as_kombu_marks_them() {
    for (name, count) in [("redis_shutdown_restore", 12), ("redis_visibility_restore", 3)] {
        let mut plain = BTreeMap::new();
        let mut marked = Vec::new();
        // `redis_shutdown_restore` has its envelopes only after the worker stopped; `redis_keys_mid_work` has them
        // before.
        for vector in [vectors::one(name), vectors::one("redis_keys_mid_work")] {
            for raw in envelopes(&vector) {
                let envelope = Envelope::decode(&raw.clone().into()).unwrap();
                if envelope.redelivered {
                    marked.push((envelope.delivery_tag.unwrap(), raw));
                } else {
                    plain.insert(envelope.delivery_tag.unwrap(), raw);
                }
            }
        }
        let mut compared = 0;
        for (tag, raw) in &marked {
            let Some(before) = plain.get(tag) else { continue };
            assert_eq!(&changed(mark_redelivered, before), raw, "{name}");
            compared += 1;
        }
        assert_eq!(compared, count, "{name}");
    }
}

/// The cases of the capture `acceptance_redis_envelopes`, which were given to a real worker: name, envelope, and
/// whether Apium reads it.
fn tried() -> Vec<(&'static str, String, bool)> {
    let headers = r#""headers": {"lang": "py", "task": "tasks.add", "id": "i"}"#;
    let json = r#""content-type": "application/json", "content-encoding": "utf-8""#;
    let info = r#""delivery_info": {"exchange": "", "routing_key": "celery"}"#;
    let body = r#""body": "W1sxLCAyXSwge30sIHt9XQ==""#;
    let encoding = r#""body_encoding": "base64""#;
    let envelope = |parts: &[&str]| format!("{{{}}}", parts.join(", "));
    let properties = |parts: &[&str]| format!(r#""properties": {{{}}}"#, parts.join(", "));
    let tag = r#""delivery_tag": "tag""#;
    let usual = properties(&[encoding, tag, info]);
    let plain = r#""body": "[[1, 2], {}, {}]""#;
    let protocol1 = r#""body": "{\"task\": \"tasks.add\", \"id\": \"i\", \"args\": [1, 2], \"kwargs\": {}}""#;
    let priority = properties(&[encoding, tag, info, r#""priority": "3""#]);
    vec![
        ("minimal", envelope(&[body, json, headers, &usual]), true),
        ("plain_body_no_encoding", envelope(&[plain, json, headers, &properties(&[tag, info])]), true),
        ("no_delivery_info", envelope(&[body, json, headers, &properties(&[encoding, tag])]), true),
        ("no_delivery_tag", envelope(&[body, json, headers, &properties(&[encoding, info])]), true),
        ("no_content_type", envelope(&[body, r#""content-encoding": "utf-8""#, headers, &usual]), true),
        ("no_content_encoding", envelope(&[body, r#""content-type": "application/json""#, headers, &usual]), true),
        ("no_properties", envelope(&[plain, json, headers]), true),
        ("no_headers_v1_body", envelope(&[protocol1, json, r#""headers": null"#, &properties(&[tag, info])]), true),
        (
            "int_delivery_tag",
            envelope(&[body, json, headers, &properties(&[encoding, r#""delivery_tag": 17"#, info])]),
            true,
        ),
        ("not_json", "not json".to_owned(), false),
        ("priority_string", envelope(&[body, json, headers, &priority]), true),
    ]
}

#[test]
fn what_real_workers_accept_is_read() {
    let vector = vectors::one("acceptance_redis_envelopes");
    let cases = vector.value.get("cases").unwrap();
    let tried = tried();
    for (name, case) in cases.as_map().unwrap() {
        if case.get("result").is_some() {
            assert!(tried.iter().any(|(tried, ..)| tried == name), "{name} is not tried");
        }
    }
    for (name, raw, is_read) in tried {
        let accepted = cases.get(name).unwrap().get("result").unwrap().as_str() == Some("SUCCESS");
        assert!(is_read || !accepted, "{name}");
        let envelope = match Envelope::decode(&Bytes::from(raw)) {
            Ok(envelope) => envelope,
            Err(error) => {
                assert!(!is_read && error.kind() == ErrorKind::Decode, "{name}: {error}");
                continue;
            }
        };
        assert!(is_read, "{name}");
        let Message { properties, headers, body, .. } = envelope.message;
        let is_v1 = name == "no_headers_v1_body";
        assert_eq!(headers.task.as_deref(), (!is_v1).then_some("tasks.add"), "{name}");
        assert!(body.starts_with(if is_v1 { b"{\"task\"" } else { b"[[1, 2]," }), "{name}");
        assert_eq!(properties.content_type.is_some(), name != "no_content_type", "{name}");
        assert_eq!(properties.content_encoding.is_some(), name != "no_content_encoding", "{name}");
        assert_eq!(properties.priority, (name == "priority_string").then_some(3), "{name}");
        assert!(properties.extra.is_empty() && headers.extra.is_empty(), "{name}");
        let tag = match name {
            "int_delivery_tag" => Some("17"),
            "no_delivery_tag" | "no_properties" => None,
            _ => Some("tag"),
        };
        assert_eq!(envelope.delivery_tag.as_deref(), tag, "{name}");
        let routed = !matches!(name, "no_delivery_info" | "no_properties");
        assert_eq!(envelope.routing_key.as_deref(), routed.then_some("celery"), "{name}");
        assert_eq!(envelope.exchange.as_deref(), routed.then_some(""), "{name}");
    }
}
