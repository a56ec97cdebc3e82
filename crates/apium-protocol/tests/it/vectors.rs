//! The captures in `tests/vectors`: messages and results of real Celery 5.7 processes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use apium_protocol::json::base64;
use apium_protocol::json::text::Json;
use apium_protocol::message::headers::Headers;
use apium_protocol::message::message::Message;
use apium_protocol::message::properties::Properties;
use apium_protocol::value::value::Value;
use bytes::Bytes;

/// One capture: a file of JSON with its name, its kind and what was captured.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) value: Value,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

/// All captures.
pub(crate) fn all() -> Vec<Vector> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let is_capture = |path: &&PathBuf| path.extension().is_some_and(|e| e == "json") && !path.ends_with("INDEX.json");
    names.iter().filter(is_capture).map(|path| read(path)).collect()
}

/// One capture by name.
pub(crate) fn one(name: &str) -> Vector {
    read(&folder().join(name).with_extension("json"))
}

fn read(path: &Path) -> Vector {
    let value = Value::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap().to_owned();
    Vector { name: text("name"), kind: text("kind"), value }
}

/// A message of a capture, with its headers as a map of values.
pub(crate) struct Captured {
    pub(crate) message: Message,
    pub(crate) headers: Value,
    pub(crate) is_task: bool,
}

/// All messages of a capture, in Redis envelopes and in AMQP form.
pub(crate) fn messages(vector: &Vector) -> Vec<Captured> {
    let mut found = Vec::new();
    walk(&vector.value, &mut |value| {
        if let Value::Str(raw) = value
            && raw.starts_with("{\"body\": ")
        {
            found.extend(from_redis(raw));
        } else if value.get("exchange").is_some() && value.get("properties").is_some() && value.get("body").is_some() {
            found.push(from_amqp(value));
        }
    });
    for captured in &mut found {
        captured.is_task = vector.kind == "task-message" || captured.headers.get("task").is_some();
    }
    found
}

/// Visits a value and all values inside it.
pub(crate) fn walk(value: &Value, visit: &mut impl FnMut(&Value)) {
    visit(value);
    match value {
        Value::List(list) => list.iter().for_each(|value| walk(value, visit)),
        Value::Map(entries) => entries.iter().for_each(|(_, value)| walk(value, visit)),
        _ => {}
    }
}

/// Reads an envelope as a tree, without the library's own codec.
pub(crate) fn from_redis(raw: &str) -> Option<Captured> {
    let envelope: BTreeMap<String, Json> = Json::from_text(raw).ok()?.decode().ok()?;
    let text = |key: &str| envelope.get(key).and_then(|json| json.decode::<String>().ok());
    let (body, headers, properties) = (text("body")?, envelope.get("headers")?, envelope.get("properties")?);
    let mut properties = Properties::from_json(properties.as_bytes()).unwrap();
    let base64 = properties.extra.remove("body_encoding").is_some_and(|encoding| encoding.as_str() == "\"base64\"");
    properties.extra.retain(|key, _| !matches!(key.as_str(), "delivery_info" | "delivery_tag"));
    properties.content_type = text("content-type").map(Into::into);
    properties.content_encoding = text("content-encoding").map(Into::into);
    let message = Message::new(
        properties,
        Headers::from_json(headers.as_bytes()).unwrap(),
        if base64 { base64::decode(&body).unwrap().into() } else { body.into() },
    );
    Some(Captured { message, headers: headers.to_value().unwrap(), is_task: false })
}

fn from_amqp(value: &Value) -> Captured {
    let headers = value.get("headers").cloned().unwrap_or_else(|| Value::Map(Vec::new()));
    let message = Message::new(
        Properties::from_json(&value.get("properties").unwrap().to_json_bytes()).unwrap(),
        Headers::from_json(&headers.to_json_bytes()).unwrap(),
        body_of(value.get("body").unwrap()),
    );
    Captured { message, headers, is_task: false }
}

/// The bytes of a captured body, which has the key `utf8` or `b64`.
fn body_of(value: &Value) -> Bytes {
    match (value.get("utf8").and_then(Value::as_str), value.get("b64").and_then(Value::as_str)) {
        (Some(text), _) => Bytes::copy_from_slice(text.as_bytes()),
        (_, Some(text)) => base64::decode(text).unwrap().into(),
        _ => panic!("a body is neither utf8 nor b64: {value}"),
    }
}
