//! Inputs to begin with, taken from the captures of real Celery.

use std::path::Path;

use apium_protocol::json::base64;
use apium_protocol::value::value::Value;

/// Addresses and settings, of which there are no captures.
const TEXTS: [&str; 16] = [
    "redis://user:secret@localhost:6379/0?socket_timeout=5",
    "sentinel://:secret@a:26379;sentinel://:secret@b:26379?master_name=main",
    "sqlite:///var/lib/app/queue.db?synchronous=normal",
    "rediss://:secret@[::1]:6380/1?ssl_cert_reqs=none&priority_steps=[0,3,6,9]",
    "redis+socket:///run/redis.sock?virtual_host=2",
    "redis+cluster://h1:6379;redis+cluster://h2:6379?hash_tag={apium}",
    "{\"mail\": {\"exchange\": \"media\", \"exchange_type\": \"topic\", \"routing_key\": \"a.#\"}}",
    "global_keyprefix=app:,visibility_timeout=3600,priority_steps=[0,3,6,9],eta_strategy=park",
    "[broker_transport_options]\npriority_steps = [0, 3]\nsentinel_kwargs = { password = \"x\" }\n[task_routes]\n\"a.*\" = \"b\"",
    "9999-12-31T23:59:59.999999+00:00",
    "2030-W01-3T03:04:05,25+01:02:03",
    "mail.*=mail,re:^a\\.b$=other",
    "{\"mail.*\": {\"queue\": \"mail\", \"priority\": 3}}",
    "max_retries=3,interval_start=0,interval_step=0.2,interval_max=0.2",
    "[task_annotations.\"*\"]\nrate_limit = \"10/s\"\nretry_backoff = true\nretry_kwargs = { max_retries = 5 }",
    "broker_url = \"redis://localhost\"\ntask_acks_late = true\n[app]\nname = \"x\"",
];

/// The inputs for the check of this name.
pub(crate) fn of(check: &str, vectors: &Path) -> Vec<Vec<u8>> {
    if check == "texts" {
        return TEXTS.iter().map(|text| text.as_bytes().to_vec()).collect();
    }
    let mut files: Vec<_> = std::fs::read_dir(vectors)
        .expect("the captures are there")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let mut seeds = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a capture is text");
        walk(&Value::parse(&text).expect("a capture is JSON"), check, &mut seeds);
    }
    seeds
}

/// Collects the texts of envelopes, and of bodies with their headers, inside a value.
fn walk(value: &Value, check: &str, seeds: &mut Vec<Vec<u8>>) {
    match value {
        Value::Str(text) if check == "envelope" && text.starts_with("{\"body\": ") => seeds.push(text.clone().into()),
        Value::Str(text) if check == "control" && text.starts_with(['{', '[']) => seeds.push(text.clone().into()),
        Value::Str(text) if check == "decode" && text.starts_with('{') => seeds.push(chosen(0, b"", text.as_bytes())),
        Value::List(list) => list.iter().for_each(|value| walk(value, check, seeds)),
        Value::Map(entries) => {
            if check == "decode" {
                seeds.extend(message(value));
            }
            entries.iter().for_each(|(_, value)| walk(value, check, seeds));
        }
        _ => {}
    }
}

/// A captured message in AMQP form as an input of the check `decode`.
fn message(value: &Value) -> Option<Vec<u8>> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let body = value.get("body")?;
    let body = text(body, "utf8").map(String::into_bytes).or_else(|| base64::decode(&text(body, "b64")?))?;
    let headers = value.get("headers")?.to_string();
    let choice = match text(value.get("properties")?, "content_type")?.as_str() {
        "application/x-msgpack" => 1,
        "application/x-yaml" => 2,
        _ => 0,
    };
    Some(chosen(choice, headers.as_bytes(), &body))
}

fn chosen(choice: u8, headers: &[u8], body: &[u8]) -> Vec<u8> {
    let mut input = vec![choice];
    if !headers.is_empty() {
        input.extend_from_slice(headers);
        input.push(0);
    }
    input.extend_from_slice(body);
    input
}
