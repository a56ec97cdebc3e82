//! Decodes any bytes as a message: the result is a call or an error, and a call stays the same when it is written and
//! read again.
//! Run with `cargo +nightly fuzz run decode`.

#![no_main]

use apium_protocol::codecs::codecs::Codecs;
use apium_protocol::codecs::accept::Accept;
use apium_protocol::message::headers::Headers;
use apium_protocol::message::message::Message;
use apium_protocol::message::properties::Properties;
use apium_protocol::result::document::ResultDocument;
use libfuzzer_sys::fuzz_target;

const CONTENT_TYPES: [&str; 4] = ["application/json", "application/x-msgpack", "application/x-yaml", "application/x-python-serialize"];
const COMPRESSIONS: [Option<&str>; 6] = [None, Some("gzip"), Some("bzip2"), Some("lzma"), Some("brotli"), Some("zstd")];

fuzz_target!(|data: &[u8]| {
    // The first byte chooses how to read the rest: `headers`, a zero byte, the body.
    let Some((&choice, rest)) = data.split_first() else { return };
    let (headers, body) = match rest.iter().position(|&b| b == 0) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (&b"{\"task\": \"t\", \"id\": \"i\"}"[..], rest),
    };
    let _ = ResultDocument::from_json(rest);
    let Ok(mut headers) = Headers::from_json(headers) else { return };
    assert_eq!(Headers::from_json(&headers.to_json()).as_ref().ok(), Some(&headers));
    headers.compression = COMPRESSIONS[usize::from(choice) / 4 % 6].map(Into::into);
    let mut properties = Properties::default();
    properties.content_type = Some(CONTENT_TYPES[usize::from(choice) % 4].into());
    let message = Message::new(properties, headers, body.to_vec().into());
    let codecs = Codecs::standard().with_decompressed_limit(1 << 20);
    let accept = Accept::names(["json", "msgpack", "yaml"]);
    let Ok(call) = codecs.decode(&message, &accept) else { return };
    let encoded = codecs.encode_body(&call.body, "json", None).expect("a decoded body can be written");
    let again = codecs
        .decode(&encoded.into_message(call.headers.clone(), Properties::default()), &accept)
        .expect("a written body can be read");
    assert_eq!(again.body, call.body);
});
