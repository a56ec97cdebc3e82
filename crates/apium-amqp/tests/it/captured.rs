//! Messages that Celery sent to RabbitMQ come out here as they were, and go out here as Celery's do.

use std::path::Path;

use apium_protocol::json::text::Json;
use apium_protocol::message::headers::Headers;
use apium_transport::broker::broker::Broker;
use apium_transport::broker::outgoing::Outgoing;
use lapin::options::BasicGetOptions;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use crate::kit::{consumer, content, fresh, plain, take, vector};

/// How long the messages are kept that have an expiration.
const KEPT: &str = "600000";

/// All captured messages that went to RabbitMQ, with the names of their captures.
fn captured() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().trim_end_matches(".json").to_owned();
        let capture = vector(&name);
        let Some(messages) = capture.get("amqp").and_then(Value::as_array) else { continue };
        all.extend(messages.iter().map(|message| (name.clone(), message.clone())));
    }
    assert!(all.len() > 40, "there are captures: {}", all.len());
    all
}

fn message(capture: &Value) -> apium_protocol::message::message::Message {
    let mut message = apium_protocol::message::message::Message::default();
    let bytes = |value: &Value| serde_json::to_vec(value).unwrap();
    message.properties =
        apium_protocol::message::properties::Properties::from_json(&bytes(&capture["properties"])).unwrap();
    if let Some(expiration) = &mut message.properties.expiration {
        // Some of them expire at once.
        *expiration = KEPT.to_owned();
    }
    message.headers = Headers::from_json(&bytes(&capture["headers"])).unwrap();
    message.body = capture["body"]["utf8"].as_str().unwrap_or_default().to_owned().into();
    message
}

/// The captured messages, sent by the driver and read by a client without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_goes_out_as_celerys_does() {
    let (broker, url) = fresh();
    let (_connection, channel) = plain(&url).await;
    for (name, capture) in captured() {
        let message = message(&capture);
        broker.publish(vec![Outgoing::to_queue("q", message)]).await.unwrap();
        let got = channel.basic_get("q".into(), BasicGetOptions { no_ack: true }).await.unwrap().unwrap();
        let properties = &got.delivery.properties;
        let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
        for (key, sent) in [
            ("content_type", text(properties.content_type())),
            ("content_encoding", text(properties.content_encoding())),
            ("correlation_id", text(properties.correlation_id())),
            ("reply_to", text(properties.reply_to())),
        ] {
            assert_eq!(capture["properties"].get(key).and_then(Value::as_str).map(str::to_owned), sent, "{name} {key}");
        }
        let expires = capture["properties"].get("expiration").map(|_| KEPT.to_owned());
        assert_eq!(text(properties.expiration()), expires, "{name}");
        for (key, sent) in [("delivery_mode", properties.delivery_mode()), ("priority", properties.priority())] {
            let captured = capture["properties"].get(key).and_then(Value::as_u64);
            assert_eq!(captured, sent.map(u64::from), "{name} {key}");
        }
        let empty = FieldTable::default();
        let headers = properties.headers().as_ref().unwrap_or(&empty);
        if let Some(typed) = capture.get("headers_typed").and_then(Value::as_object) {
            for (key, typed) in typed {
                assert_eq!(type_of(&headers.inner()[key.as_str()]), typed["t"], "{name} {key}");
            }
        }
        // An int64 has two letters that mean the same to every client of RabbitMQ.
        assert_eq!(json_of(&AMQPValue::FieldTable(headers.clone())), capture["headers"], "{name}");
    }
}

/// The letter of a type.
fn type_of(value: &AMQPValue) -> String {
    match value.get_type().get_id() {
        'l' => "L".to_owned(),
        letter => letter.to_string(),
    }
}

fn json_of(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::LongString(text) => json!(String::from_utf8_lossy(text.as_bytes())),
        AMQPValue::FieldArray(list) => list.as_slice().iter().map(json_of).collect(),
        AMQPValue::FieldTable(table) => table
            .into_iter()
            .map(|(name, value)| (name.to_string(), json_of(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        AMQPValue::Void => Value::Null,
        other => panic!("a type that py-amqp does not write: {other:?}"),
    }
}

/// The captured messages come to a consumer with all of their headers and properties.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_celery_comes_in_whole() {
    let (broker, _) = fresh();
    let mut reader = consumer(&broker, "q", 1).await;
    for (name, capture) in captured() {
        let message = message(&capture);
        broker.publish(vec![Outgoing::to_queue("q", message.clone())]).await.unwrap();
        let got = take(&mut reader, 1).await;
        let got_message = content(&got[0]);
        assert_eq!((&got_message.properties, &got_message.body), (&message.properties, &message.body), "{name}");
        // The texts of nested headers may have other blanks.
        let read = |headers: &Headers| serde_json::from_slice::<Value>(&headers.to_json()).unwrap();
        assert_eq!(read(&got_message.headers), read(&message.headers), "{name}");
        reader.acker().ack(vec![got[0].receipt.clone()]).await.unwrap();
    }
}

/// What a message carries in a header of its own keeps its type.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_keep_their_types() {
    let (broker, url) = fresh();
    let (_connection, channel) = plain(&url).await;
    let mut message = crate::kit::message("m");
    for (name, json) in [("a", "1"), ("b", "2147483648"), ("c", "1.0"), ("d", "[1, \"x\", null]"), ("e", "true")] {
        message.headers.extra.insert(name.to_owned(), Json::from_text(json).unwrap());
    }
    broker.publish(vec![Outgoing::to_queue("q", message)]).await.unwrap();
    let got = channel.basic_get("q".into(), BasicGetOptions { no_ack: true }).await.unwrap().unwrap();
    let headers = got.delivery.properties.headers().clone().unwrap();
    let types: Vec<String> = ["a", "b", "c", "d", "e"].iter().map(|name| type_of(&headers.inner()[*name])).collect();
    assert_eq!(types, ["I", "L", "d", "A", "t"]);
}
