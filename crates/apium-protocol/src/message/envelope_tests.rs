//! Tests of envelopes that captures do not contain: unusual orders, missing fields, damaged texts.

use crate::error::{ErrorKind, Result};
use crate::json::text::Json;
use crate::message::envelope::*;
use crate::message::headers::Headers;
use crate::message::message::Message;
use crate::message::properties::Properties;
use bytes::Bytes;

fn decode(text: &str) -> Result<Envelope> {
    Envelope::decode(&Bytes::copy_from_slice(text.as_bytes()))
}

fn written(message: &Message) -> String {
    let mut out = Vec::new();
    encode(message, "ex", "rk", "tag", &mut out);
    String::from_utf8(out).unwrap()
}

fn marked(text: &str) -> String {
    String::from_utf8(mark_redelivered(text.as_bytes()).unwrap()).unwrap()
}

fn unmarked(text: &str) -> String {
    String::from_utf8(unmark_redelivered(text.as_bytes()).unwrap()).unwrap()
}

#[test]
fn a_bare_message_comes_out_as_it_went_in() {
    let text = written(&Message::default());
    assert_eq!(
        text,
        r#"{"body": "", "content-encoding": null, "content-type": null, "headers": {}, "properties": {"delivery_info": {"exchange": "ex", "routing_key": "rk"}, "body_encoding": "base64", "delivery_tag": "tag"}}"#
    );
    let envelope = decode(&text).unwrap();
    assert_eq!(envelope.message, Message::default());
    assert_eq!((envelope.delivery_tag.as_deref(), envelope.redelivered), (Some("tag"), false));
    assert_eq!((envelope.exchange.as_deref(), envelope.routing_key.as_deref()), (Some("ex"), Some("rk")));
}

#[test]
fn an_empty_map_is_an_envelope() {
    assert_eq!(decode("{}").unwrap(), Envelope::default());
    let nulls =
        r#" {"body": null, "headers": null, "properties": null, "content-type": null, "content-encoding": null} "#;
    assert_eq!(decode(nulls).unwrap(), Envelope::default());
    assert_eq!(
        decode(r#"{"properties": {"delivery_info": null, "delivery_tag": null}}"#).unwrap(),
        Envelope::default()
    );
}

#[test]
fn keys_come_in_any_order_and_the_last_of_two_counts() {
    let envelope = decode(
        r#"{"properties": {"priority": 9, "delivery_info": {"exchange": "old"}, "body_encoding": "base64"},
            "headers": {"task": "old", "x": 1, "redelivered": true}, "more": [{}],
            "properties": {"body_encoding": "base64", "delivery_tag": 17, "x-mine": [1.0], "priority": "3",
                "delivery_info": {"routing_key": "a\"b", "redelivered": true, "priority": 5}},
            "headers": {"id": "i", "task": "t"}, "content-encoding": "binary", "content-type": "application/x-msgpack",
            "body": "aG\/\/"}"#,
    )
    .unwrap();
    assert_eq!(&*envelope.message.body, b"ho\xff");
    assert_eq!(envelope.delivery_tag.as_deref(), Some("17"));
    assert_eq!((envelope.exchange.as_deref(), envelope.routing_key.as_deref()), (None, Some("a\"b")));
    assert!(envelope.redelivered);
    let Message { headers, properties, .. } = envelope.message;
    let expected = Headers { task: Some("t".into()), id: Some("i".into()), ..Headers::default() };
    assert_eq!(headers, expected);
    let expected = Properties {
        content_type: Some("application/x-msgpack".into()),
        content_encoding: Some("binary".into()),
        priority: Some(3),
        extra: [("x-mine".to_owned(), Json::from_text("[1.0]").unwrap())].into(),
        ..Properties::default()
    };
    assert_eq!(properties, expected);
}

#[test]
fn each_mark_of_redelivery_counts_and_is_no_header() {
    for (text, redelivered) in [
        (r#"{"headers": {"redelivered": true}}"#, true),
        (r#"{"properties": {"delivery_info": {"redelivered": true}}}"#, true),
        (r#"{"headers": {"redelivered": false}, "properties": {"delivery_info": {"redelivered": null}}}"#, false),
        (r#"{"headers": {"redelivered": 1}}"#, true),
        (r#"{"headers": {"redelivered": true}, "headers": {}}"#, false),
    ] {
        let envelope = decode(text).unwrap();
        assert_eq!(envelope.redelivered, redelivered, "{text}");
        assert_eq!(envelope.message, Message::default(), "{text}");
    }
}

#[test]
fn a_body_without_encoding_is_its_text() {
    let raw = Bytes::from_static(b"{\"body\": \"[[1], {}, {}]\"}");
    let body = Envelope::decode(&raw).unwrap().message.body;
    assert_eq!(&*body, b"[[1], {}, {}]");
    assert!(raw.as_ptr_range().contains(&body.as_ptr()), "the body was copied");
    let escaped = decode(r#"{"body": "\"\u00e9\"", "properties": {"body_encoding": "utf-8"}}"#).unwrap();
    assert_eq!(&*escaped.message.body, "\"é\"".as_bytes());
}

#[test]
fn the_envelopes_own_properties_cannot_be_replaced() {
    let mut message = Message::default();
    for own in OWN {
        message.properties.extra.insert(own.to_owned(), Json::from_text("\"mine\"").unwrap());
    }
    assert_eq!(written(&message), written(&Message::default()));
    message.properties.extra.insert("message_id".to_owned(), Json::from_text("\"m\"").unwrap());
    assert!(written(&message).contains(r#""properties": {"message_id": "m", "delivery_info": {"exchange""#));
}

#[test]
fn errors_say_what_and_where() {
    for (text, message) in [
        ("not json", "read the envelope: read JSON at byte 0: `{` is missing"),
        ("[]", "read the envelope: read JSON at byte 0: `{` is missing"),
        ("{} {}", "read the envelope: read JSON at byte 3: something follows the value"),
        (r#"{"body": {}}"#, "read the envelope: read `body`: read JSON at byte 9: a string is missing"),
        (r#"{"headers": 1}"#, "read the envelope: read `headers`: read JSON at byte 12: `{` is missing"),
        (r#"{"properties": []}"#, "read the envelope: read `properties`: read JSON at byte 15: `{` is missing"),
        (
            r#"{"properties": {"delivery_info": 5}}"#,
            "read the envelope: read `properties`: read the property `delivery_info`: read JSON at byte 33: `{` is missing",
        ),
        (
            r#"{"headers": {"retries": []}}"#,
            "read the envelope: read `headers`: read the header `retries`: read JSON at byte 24: a number is missing",
        ),
        (
            r#"{"body": "%", "properties": {"body_encoding": "base64"}}"#,
            "read the envelope: read `body`, which is not base64 although `body_encoding` says so",
        ),
        (
            r#"{"body": "%", "properties": {"body_encoding": "rot13"}}"#,
            "read the envelope: read `body`, whose encoding \"rot13\" is neither base64 nor utf-8",
        ),
    ] {
        let error = decode(text).unwrap_err();
        assert_eq!((error.kind(), format!("{error:#}").as_str()), (ErrorKind::Decode, message));
    }
    assert_eq!(Envelope::decode(&Bytes::from_static(b"{\"\xff")).unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn the_mark_comes_last_and_can_be_removed() {
    for (plain, with_mark) in [
        (
            r#"{"headers": {"a": 1}, "properties": {"delivery_info": {"exchange": ""}, "z": 1.50}}"#,
            r#"{"headers": {"a": 1, "redelivered": true}, "properties": {"delivery_info": {"exchange": "", "redelivered": true}, "z": 1.50}}"#,
        ),
        (
            r#"{"headers":{},"properties":{"delivery_info":{}},"body":"\/"}"#,
            r#"{"headers":{"redelivered": true},"properties":{"delivery_info":{"redelivered": true}},"body":"\/"}"#,
        ),
        (
            r#" { "headers" : { "n" : 123456789012345678901234567890 } , "properties" : { "delivery_info" : { "é" : "}" } } } "#,
            r#" { "headers" : { "n" : 123456789012345678901234567890, "redelivered": true } , "properties" : { "delivery_info" : { "é" : "}", "redelivered": true } } } "#,
        ),
    ] {
        assert_eq!(marked(plain), with_mark);
        assert_eq!(marked(with_mark), with_mark);
        assert_eq!(unmarked(with_mark), plain);
        assert_eq!(unmarked(plain), plain);
    }
}

#[test]
fn marking_creates_missing_maps() {
    let marks = r#""headers": {"redelivered": true}, "properties": {"delivery_info": {"redelivered": true}}}"#;
    assert_eq!(marked("{}"), format!("{{{marks}"));
    assert_eq!(marked(r#"{"a": 1}"#), format!(r#"{{"a": 1, {marks}"#));
    assert_eq!(marked(r#"{"headers": null, "properties": null}"#), format!("{{{marks}"));
    assert_eq!(marked(r#"{"headers": null, "properties": {"delivery_info": null}}"#), format!("{{{marks}"));
    assert_eq!(
        marked(r#"{"headers": {}, "properties": {"a": 1}}"#),
        r#"{"headers": {"redelivered": true}, "properties": {"a": 1, "delivery_info": {"redelivered": true}}}"#
    );
}

#[test]
fn the_mark_is_removed_at_any_position() {
    for (headers, expected) in [
        (r#"{"redelivered": true, "a": 1}"#, r#"{"a": 1}"#),
        (r#"{"redelivered": true, "redelivered": false, "a": 1, "b": 2}"#, r#"{"a": 1, "b": 2}"#),
        (r#"{"a": 1, "redelivered": true, "b": 2, "redelivered": {}}"#, r#"{"a": 1, "b": 2}"#),
        (r#"{ "redelivered": true , "redelivered": true }"#, "{  }"),
        (r#"{"redeliver\u0065d": true, "b": "redelivered"}"#, r#"{"b": "redelivered"}"#),
    ] {
        let envelope = |headers: &str| format!(r#"{{"redelivered": true, "headers": {headers}}}"#);
        assert_eq!(unmarked(&envelope(headers)), envelope(expected));
    }
    assert_eq!(unmarked(r#"{"headers": null}"#), r#"{"headers": null}"#);
}

#[test]
fn only_a_map_can_be_marked() {
    for (text, message) in [
        ("[1]", "read the envelope: find a JSON map in the text, at byte 0"),
        ("{\"a\"", "read the envelope: read JSON at byte 4: `:` is missing"),
        (r#"{"headers": [1]}"#, "read the envelope: find a JSON map in headers, at byte 12"),
        (r#"{"properties": {"delivery_info": 1}}"#, "read the envelope: find a JSON map in delivery_info, at byte 33"),
    ] {
        let errors = [mark_redelivered(text.as_bytes()), unmark_redelivered(text.as_bytes())].map(Result::unwrap_err);
        for error in errors {
            assert_eq!((error.kind(), format!("{error:#}").as_str()), (ErrorKind::Decode, message));
        }
    }
}

#[test]
fn an_envelope_of_any_depth_is_read_and_can_be_marked() {
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let envelope = |depth: usize| format!(r#"{{"headers": {{"stamps": {{"a": {}}}}}}}"#, deep(depth));
    for depth in [1024, 1025, 1_000_000] {
        let read = decode(&envelope(depth)).unwrap();
        assert_eq!(read.message.headers.stamps["a"].as_str(), deep(depth));
        assert!(decode(&marked(&envelope(depth))).unwrap().redelivered);
    }
    let open = "[".repeat(1_000_000);
    assert!(mark_redelivered(open.as_bytes()).is_err());
}
