//! Messages that are made to break a worker: each one is decoded or refused, and none panics.

use std::collections::BTreeMap;

use apium_protocol::codecs::accept::Accept;
use apium_protocol::codecs::codecs::Codecs;
use apium_protocol::codecs::invocation::Invocation;
use apium_protocol::error::{Error, ErrorKind};
use apium_protocol::json::base64;
use apium_protocol::message::headers::Headers;
use apium_protocol::message::message::Message;
use apium_protocol::message::properties::Properties;
use apium_protocol::timestamp;
use apium_protocol::value::value::Value;
use bytes::Bytes;

use crate::vectors;

/// Decodes a published message: `application_headers`, `body_b64`, and properties.
fn decode(published: &Value) -> Result<Invocation, Error> {
    let text = |key: &str| published.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut properties = Properties::default();
    properties.content_type = text("content_type").map(Into::into);
    properties.content_encoding = text("content_encoding").map(Into::into);
    properties.correlation_id = text("correlation_id").map(Into::into);
    let message = Message::new(
        properties,
        match published.get("application_headers") {
            Some(headers) => Headers::from_json(&headers.to_json_bytes())?,
            None => Headers::default(),
        },
        base64::decode(&text("body_b64").unwrap()).unwrap().into(),
    );
    Codecs::standard().decode(&message, &Accept::default())
}

#[test]
fn each_captured_bad_message_is_decoded_or_refused() {
    let vector = vectors::one("bad_messages_amqp");
    let outcomes: BTreeMap<String, Result<Invocation, Error>> = vector
        .value
        .get("cases")
        .and_then(Value::as_list)
        .unwrap()
        .iter()
        .map(|case| (case.get("case").unwrap().as_str().unwrap().to_owned(), decode(case.get("published").unwrap())))
        .collect();
    let kinds: Vec<(&str, Option<ErrorKind>)> =
        outcomes.iter().map(|(name, outcome)| (name.as_str(), outcome.as_ref().err().map(Error::kind))).collect();
    let expected = [
        ("bad_compression", Some(ErrorKind::Decompress)),
        ("bad_eta", None),
        ("body_two_elements", Some(ErrorKind::NotATask)),
        ("disallowed_content_type_pickle", Some(ErrorKind::NotAccepted)),
        ("eta_naive", None),
        ("eta_z_suffix", None),
        ("expired", None),
        ("hybrid_headers_and_dict_body", None),
        ("invalid_json_body", Some(ErrorKind::Decode)),
        ("kwargs_not_mapping", None),
        ("minimal_v2_headers", None),
        ("minimal_v2_no_correlation", None),
        ("missing_content_type", Some(ErrorKind::NotATask)),
        ("missing_id_header", Some(ErrorKind::NotATask)),
        ("no_task_header_dict_without_task", Some(ErrorKind::NotATask)),
        ("no_task_header_not_dict", Some(ErrorKind::NotATask)),
        ("unknown_compression", Some(ErrorKind::UnknownCompression)),
        ("unknown_content_type", Some(ErrorKind::UnknownSerializer)),
        ("unknown_task", None),
        ("v1_minimal", None),
        ("v1_no_kwargs", None),
        ("wrong_arity", None),
    ];
    assert_eq!(kinds, expected);
    let call = |name: &str| outcomes[name].as_ref().unwrap();
    assert_eq!(timestamp::parse(call("bad_eta").headers.eta.as_deref().unwrap()).unwrap_err().kind(), ErrorKind::Time);
    for name in ["eta_naive", "eta_z_suffix"] {
        assert!(timestamp::parse(call(name).headers.eta.as_deref().unwrap()).is_ok());
    }
    for (name, protocol) in
        [("hybrid_headers_and_dict_body", 1), ("v1_minimal", 1), ("v1_no_kwargs", 1), ("minimal_v2_headers", 2)]
    {
        let call = call(name);
        assert_eq!((call.task(), call.protocol, call.body.args.len()), ("tasks.add", protocol, 2), "{name}");
        assert!(call.id().starts_with("cafe0000"), "{name}");
    }
    assert!(call("kwargs_not_mapping").body.kwargs.is_empty());
}

#[test]
fn bodies_of_the_wrong_shape_say_what_is_wrong() {
    let decode = |headers: &str, body: &str| {
        let mut properties = Properties::default();
        properties.content_type = Some("application/json".into());
        let message = Message::new(
            properties,
            Headers::from_json(headers.as_bytes()).unwrap(),
            Bytes::copy_from_slice(body.as_bytes()),
        );
        Codecs::standard().decode(&message, &Accept::default())
    };
    let two = r#"{"task": "t", "id": "i"}"#;
    let cases = [
        (two, "[[1], {}]", ErrorKind::NotATask, "three elements"),
        (two, "[[1], {}, null, 1]", ErrorKind::NotATask, "more than three"),
        (two, "[1, {}, null]", ErrorKind::NotATask, "`args`"),
        (two, "[[1], [1], null]", ErrorKind::NotATask, "`kwargs`"),
        (two, "[[1], {}, 5]", ErrorKind::NotATask, "`embed`"),
        (two, r#"[[1], {}, {"chain": [{"args": []}]}]"#, ErrorKind::NotATask, "names no task"),
        (two, "{\"kwargs\": {}}", ErrorKind::NotATask, "`args`"),
        (two, "5", ErrorKind::NotATask, "args"),
        (two, "[[1], {}, null] x", ErrorKind::Decode, "byte"),
        (two, "", ErrorKind::Decode, "byte 0"),
        ("{}", r#"{"task": "t", "args": []}"#, ErrorKind::NotATask, "id of the task `t`"),
        ("{}", r#"{"task": "t", "id": "i", "args": 5}"#, ErrorKind::NotATask, "`args`"),
        ("{}", r#"{"task": "t", "id": "i", "kwargs": [1]}"#, ErrorKind::NotATask, "`kwargs`"),
        ("{}", r#"{"task": null, "id": "i"}"#, ErrorKind::NotATask, "no header `task`"),
        (r#"{"task": "t"}"#, "[[], {}, {}]", ErrorKind::NotATask, "id of the task `t`"),
    ];
    for (headers, body, kind, words) in cases {
        let error = decode(headers, body).unwrap_err();
        assert_eq!(error.kind(), kind, "{body}: {error}");
        assert!(error.to_string().contains(words), "{body}: {error}");
    }
    assert!(
        Headers::from_json(br#"{"retries": []}"#).unwrap_err().to_string().starts_with("read the header `retries`")
    );
}

#[test]
fn headers_are_read_leniently() {
    let headers = Headers::from_json(
        br#"{"task": "t", "id": 5, "retries": null, "timelimit": [300, "1.5"], "group_index": 2.0, "stamps": null, "ignore_result": 1, "eta": null, "root_id": 5, "x": [1]}"#,
    )
    .unwrap();
    assert_eq!(headers.id.as_ref().unwrap().as_str(), "5");
    assert_eq!((headers.timelimit.hard, headers.timelimit.soft), (Some(300.0), Some(1.5)));
    assert_eq!((headers.group_index, headers.ignore_result, headers.retries), (Some(2), Some(true), 0));
    assert_eq!(headers.extra["x"].as_str(), "[1]");
    let text = String::from_utf8(headers.to_json()).unwrap();
    assert!(text.contains("\"timelimit\": [300, 1.5]") && text.ends_with("\"x\": [1]}"), "{text}");
}

#[test]
fn a_callers_header_replaces_celerys_of_that_name() {
    let mut headers = Headers::default();
    headers.task = Some("t".into());
    headers.origin = Some("me".into());
    headers.extra.insert("origin".into(), "\"you\"".parse().unwrap());
    let text = String::from_utf8(headers.to_json()).unwrap();
    assert_eq!(text.matches("origin").count(), 1);
    assert_eq!(Headers::from_json(text.as_bytes()).unwrap().origin.as_deref(), Some("you"));
}
