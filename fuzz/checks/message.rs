//! Any bytes as a message, a result or a signature: the result is a value or an error, and a value stays the same when
//! it is written and read again.

use apium_protocol::codecs::accept::Accept;
use apium_protocol::codecs::codecs::Codecs;
use apium_protocol::json::text::Json;
use apium_protocol::message::headers::Headers;
use apium_protocol::message::message::Message;
use apium_protocol::message::properties::Properties;
use apium_protocol::message::signature::Signature;
use apium_protocol::result::document::{GroupDocument, ResultDocument};
use apium_protocol::timestamp;
use apium_protocol::value::repr::{args_repr, repr_value};
use apium_protocol::value::repr_plain::repr;
use apium_protocol::value::value::Value;

const CONTENT_TYPES: [&str; 4] =
    ["application/json", "application/x-msgpack", "application/x-yaml", "application/x-python-serialize"];
const COMPRESSIONS: [Option<&str>; 6] = [None, Some("gzip"), Some("bzip2"), Some("lzma"), Some("brotli"), Some("zstd")];

/// The first byte chooses how to read the rest: `headers`, a zero byte, the body.
pub(crate) fn check(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let (headers, body) = match rest.iter().position(|&b| b == 0) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (&b"{\"task\": \"t\", \"id\": \"i\"}"[..], rest),
    };
    documents(rest);
    documents(body);
    let Ok(mut headers) = Headers::from_json(headers) else { return };
    assert_eq!(Headers::from_json(&headers.to_json()).as_ref().ok(), Some(&headers));
    for text in [&headers.eta, &headers.expires].into_iter().flatten() {
        if let Ok(instant) = timestamp::parse(text) {
            // Python reads back what is written.
            let written = timestamp::format(instant);
            assert!(written.len() <= 32 && !written.starts_with('-') && !written.starts_with("0000"), "{written}");
            timestamp::parse(&written).expect("a written instant can be read");
        }
    }
    headers.compression = COMPRESSIONS[usize::from(choice) / 4 % 6].map(Into::into);
    let mut properties = Properties::default();
    properties.content_type = Some(CONTENT_TYPES[usize::from(choice) % 4].into());
    let message = Message::new(properties, headers, body.to_vec().into());
    let codecs = Codecs::standard().with_decompressed_limit(1 << 20);
    let accept = Accept::names(["json", "msgpack", "yaml"]);
    let Ok(call) = codecs.decode(&message, &accept) else { return };
    args_repr(&call.body.args);
    let encoded = codecs.encode_body(&call.body, "json", None).expect("a decoded body can be written");
    let again = codecs
        .decode(&encoded.into_message(call.headers.clone(), Properties::default()), &accept)
        .expect("a written body can be read");
    assert_eq!(again.body, call.body);
}

/// Reads bytes as each thing that is stored or sent as JSON.
fn documents(bytes: &[u8]) {
    if let Ok(document) = ResultDocument::from_json(bytes) {
        let written = document.to_json();
        assert_eq!(ResultDocument::from_json(&written).as_ref().ok(), Some(&document));
        if let Some(exception) = document.exception() {
            let _ = (exception.message(), exception.python_repr(), exception.to_string());
        }
    }
    if let Ok(group) = GroupDocument::from_json(bytes) {
        assert_eq!(GroupDocument::from_json(&group.to_json()).as_ref().ok(), Some(&group));
    }
    if let Ok(signature) = Signature::from_json(bytes) {
        assert_eq!(Signature::from_json(&signature.to_json()).as_ref().ok(), Some(&signature));
    }
    let Ok(json) = Json::from_bytes(bytes.to_vec().into()) else { return };
    let _ = (json.to_utf8(), repr_value(&json), repr(&json), json.decode::<String>().is_ok());
    if let Ok(value) = json.to_value() {
        let text = value.to_string();
        assert_eq!(Value::parse(&text).expect("a written value can be read").to_string(), text);
    }
}
