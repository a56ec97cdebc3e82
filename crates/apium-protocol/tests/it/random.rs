//! Random messages, values and bytes.

use std::collections::BTreeMap;

use apium_protocol::codecs::accept::Accept;
use apium_protocol::codecs::codecs::Codecs;
use apium_protocol::json::text::Json;
use apium_protocol::message::body::{Body, Embed};
use apium_protocol::message::envelope;
use apium_protocol::message::envelope::{Envelope, mark_redelivered, unmark_redelivered};
use apium_protocol::message::headers::{Headers, TimeLimit};
use apium_protocol::message::message::Message;
use apium_protocol::message::properties::Properties;
use apium_protocol::message::signature::Signature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::timestamp;
use apium_protocol::value::repr::{args_repr, repr_value};
use apium_protocol::value::value::Value;
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use crate::same::same;

/// Values that every serializer keeps exactly.
fn portable_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        prop::sample::select(vec![3.0, -0.0, 1e16, 1e-5, f64::INFINITY]).prop_map(Value::Float),
        any::<String>().prop_map(Value::Str),
        vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
    ];
    nested(leaf)
}

/// Values that JSON keeps exactly, also of the types that have a typed envelope.
fn json_values() -> impl Strategy<Value = Value> {
    let typed = prop_oneof![
        "-?[1-9][0-9]{19,60}".prop_map(Value::BigInt),
        any::<u128>().prop_map(|n| Value::Uuid(uuid::Uuid::from_u128(n))),
        "20[0-9]{2}-0[1-9]-1[0-9]T0[0-9]:1[0-9]:00".prop_map(Value::DateTime),
        "20[0-9]{2}-0[1-9]-1[0-9]".prop_map(Value::Date),
        "0[0-9]:1[0-9]:5[0-9]".prop_map(Value::Time),
        "[0-9]{1,5}\\.[0-9]{1,5}".prop_map(Value::Decimal),
    ];
    nested(prop_oneof![typed, portable_values()])
}

/// Lists and maps of these values.
fn nested(leaf: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::List),
            btree_map(any::<String>(), inner, 0..5).prop_map(|map| Value::Map(map.into_iter().collect())),
        ]
    })
}

fn jsons(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<Json>> {
    vec(value.prop_map(Json::from), 0..4)
}

fn signature() -> impl Strategy<Value = Signature> {
    (
        "[a-z.]{1,12}",
        jsons(portable_values()),
        btree_map("[a-z]{1,6}", portable_values().prop_map(Json::from), 0..3),
        any::<bool>(),
    )
        .prop_map(|(task, args, options, immutable)| {
            let mut signature = Signature::new(task);
            signature.args = args;
            signature.options = options;
            signature.immutable = immutable;
            signature
        })
}

fn body() -> impl Strategy<Value = Body> {
    let kwargs = btree_map(any::<String>(), portable_values().prop_map(Json::from), 0..4);
    let list = || prop::option::of(vec(signature(), 0..3));
    (jsons(portable_values()), kwargs, list(), list(), prop::option::of(signature())).prop_map(
        |(args, kwargs, callbacks, chain, chord)| {
            let mut body = Body::new(args, kwargs.into_iter().collect());
            body.embed = {
                let mut embed = Embed::default();
                embed.callbacks = callbacks;
                embed.chain = chain.map(|steps| steps.into_iter().collect());
                embed.chord = chord.map(std::sync::Arc::new);
                embed
            };
            body
        },
    )
}

fn headers() -> impl Strategy<Value = Headers> {
    let text = || prop::option::of(any::<String>());
    let limit = || prop::option::of(prop_oneof![(1u32..9000).prop_map(f64::from), 0.1f64..1e6]);
    let extra = btree_map("x-[a-z]{1,6}", json_values().prop_map(Json::from), 0..3);
    let stamps = btree_map(any::<String>(), portable_values().prop_map(Json::from), 0..3);
    (
        (any::<String>(), any::<String>(), text(), text(), text()),
        (prop::option::of(any::<i64>()), any::<u32>(), limit(), limit(), prop::option::of(any::<bool>())),
        (prop::option::of(vec(any::<String>(), 0..3)), stamps, extra, text()),
    )
        .prop_map(|((task, id, shadow, eta, group), (group_index, retries, hard, soft, ignore_result), rest)| {
            let (stamped_headers, stamps, extra, argsrepr) = rest;
            let mut headers = Headers::default();
            headers.lang = Some("rust".into());
            headers.task = Some(task.into());
            headers.id = Some(TaskId::from(id.clone()));
            headers.root_id = Some(TaskId::from(id));
            headers.shadow = shadow;
            headers.eta = eta;
            headers.group = group;
            headers.group_index = group_index;
            headers.retries = retries;
            headers.timelimit = TimeLimit { hard, soft };
            headers.ignore_result = ignore_result;
            headers.stamped_headers = stamped_headers;
            headers.stamps = stamps;
            headers.extra = extra;
            headers.argsrepr = argsrepr;
            headers
        })
}

fn properties() -> impl Strategy<Value = Properties> {
    let text = || prop::option::of(any::<String>());
    let extra = btree_map("x-[a-z]{1,6}", json_values().prop_map(Json::from), 0..3);
    (text(), text(), text(), text(), prop::option::of(any::<u8>()), prop::option::of(any::<u8>()), text(), extra)
        .prop_map(|(content_type, encoding, correlation_id, reply_to, delivery_mode, priority, expiration, extra)| {
            let mut properties = Properties::default();
            properties.content_type = content_type.map(Into::into);
            properties.content_encoding = encoding.map(Into::into);
            properties.correlation_id = correlation_id.map(Into::into);
            properties.reply_to = reply_to.map(Into::into);
            properties.delivery_mode = delivery_mode;
            properties.priority = priority;
            properties.expiration = expiration;
            properties.extra = extra;
            properties
        })
}

fn message() -> impl Strategy<Value = Message> {
    let headers = prop_oneof![Just(Headers::default()), headers()];
    (properties(), headers, vec(any::<u8>(), 0..40))
        .prop_map(|(properties, headers, body)| Message::new(properties, headers, body.into()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn messages_round_trip_through_every_serializer_and_compression(body in body(), headers in headers()) {
        let codecs = Codecs::standard();
        for serializer in ["json", "msgpack", "yaml"] {
            let expected = Json::from_bytes(body.to_json().into()).unwrap().to_value().unwrap();
            for compression in [None, Some("gzip"), Some("bzip2"), Some("lzma"), Some("brotli"), Some("zstd")] {
                let encoded = codecs.encode_body(&body, serializer, compression).unwrap();
                let message = encoded.into_message(headers.clone(), Properties::default());
                let read_headers = Headers::from_json(&message.headers.to_json()).unwrap();
                let read_properties = Properties::from_json(&message.properties.to_json()).unwrap();
                let message = Message::new(read_properties, read_headers, message.body);
                let call = codecs.decode(&message, &Accept::names([serializer])).unwrap();
                let back = Json::from_bytes(call.body.to_json().into()).unwrap().to_value().unwrap();
                prop_assert!(same(&back, &expected), "{serializer}: {back} is not {expected}");
                let compression = message.headers.compression.clone();
                let mut wanted = headers.clone();
                wanted.compression = compression;
                prop_assert_eq!(call.headers, wanted);
            }
        }
    }

    #[test]
    fn json_keeps_every_value(value in json_values()) {
        let text = value.to_string();
        prop_assert!(text.is_ascii());
        prop_assert!(same(&Value::parse(&text).unwrap(), &value), "{text}");
        let json = Json::from_text(&text).unwrap();
        prop_assert!(same(&Json::from_serialize(&value).unwrap().to_value().unwrap(), &value));
        prop_assert!(same(&json.decode::<Value>().unwrap(), &value));
        prop_assert!(same(&Value::parse(&json.to_utf8()).unwrap(), &value));
        // Bytes are a list of numbers, too.
        let as_list = match &value {
            Value::Bytes(bytes) => Value::List(bytes.iter().map(|byte| Value::Int(i64::from(*byte))).collect()),
            _ => value.clone(),
        };
        prop_assert!(same(&json.decode::<Vec<Value>>().map(Value::List).unwrap_or_else(|_| as_list.clone()), &as_list));
        repr_value(&json);
    }

    #[test]
    fn envelopes_round_trip_with_and_without_the_mark(message in message(), exchange in any::<String>(), key in any::<String>(), tag in any::<String>()) {
        let mut raw = Vec::new();
        envelope::encode(&message, &exchange, &key, &tag, &mut raw);
        let marked = mark_redelivered(&raw).unwrap();
        prop_assert_eq!(&mark_redelivered(&marked).unwrap(), &marked);
        prop_assert_eq!(&unmark_redelivered(&marked).unwrap(), &raw);
        let mut expected = Envelope::new(message);
        expected.delivery_tag = Some(tag.into());
        expected.exchange = Some(exchange.into());
        expected.routing_key = Some(key.into());
        prop_assert_eq!(&Envelope::decode(&raw.into()).unwrap(), &expected);
        expected.redelivered = true;
        prop_assert_eq!(&Envelope::decode(&marked.into()).unwrap(), &expected);
    }

    #[test]
    fn damaged_envelopes_never_panic(message in message(), marked: bool, index in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut raw = Vec::new();
        envelope::encode(&message, "", "celery", "tag", &mut raw);
        if marked {
            raw = mark_redelivered(&raw).unwrap();
        }
        let index = index.index(raw.len());
        read_any_envelope(&raw[..index]);
        raw[index] = byte;
        read_any_envelope(&raw);
    }

    #[test]
    fn integers_of_any_size_are_kept(digits in "-?[1-9][0-9]{0,80}") {
        let json = Json::from_text(&format!("[{digits}]")).unwrap();
        prop_assert_eq!(json.to_value().unwrap().to_string(), format!("[{digits}]"));
        let again = Json::from_serialize(&json.decode::<Vec<Value>>().unwrap()).unwrap();
        prop_assert_eq!(again.as_str(), format!("[{digits}]"));
        if let Ok(number) = digits.parse::<i128>() {
            prop_assert_eq!(json.decode::<(i128,)>().unwrap().0, number);
        }
    }

    #[test]
    fn serde_json_reads_the_same(value in portable_values()) {
        // serde_json has neither NaN nor typed values.
        if let Ok(tree) = serde_json::from_str::<serde_json::Value>(&value.to_string()) {
            prop_assert_eq!(Json::from(tree.clone()).decode::<serde_json::Value>().unwrap(), tree);
        }
    }

    #[test]
    fn reprs_stay_short(args in jsons(json_values())) {
        prop_assert!(args_repr(&args).chars().count() < 2100);
    }

    #[test]
    fn result_documents_round_trip(result in json_values(), extra in btree_map("stamp-[a-z]{1,4}", json_values().prop_map(Json::from), 0..3)) {
        let mut document = ResultDocument::new("id", "MINE".into(), result.into());
        document.extra = extra;
        prop_assert_eq!(ResultDocument::from_json(&document.to_json()).unwrap(), document);
    }

    #[test]
    fn instants_round_trip(micros in -60_000_000_000_000_000i64..250_000_000_000_000_000, minutes in -720i32..720) {
        let instant = jiff::Timestamp::from_microsecond(micros).unwrap();
        prop_assert_eq!(timestamp::parse(&timestamp::format(instant)).unwrap(), instant);
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::Offset::from_seconds(minutes * 60).unwrap());
        prop_assert_eq!(timestamp::parse(&timestamp::format_in(instant, &zone)).unwrap(), instant);
    }

    #[test]
    fn random_texts_never_panic(text in any::<String>(), time in "[0-9TWZ:+ .-]{0,30}") {
        let _ = timestamp::parse(&text);
        let _ = timestamp::parse(&time);
        let _ = Value::parse(&text);
        let _ = Json::from_text(&text);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), serializer in 0usize..3, compression in 0usize..6) {
        decode_anything(&bytes, serializer, compression);
    }

    #[test]
    fn damaged_messages_never_panic(body in body(), index in any::<prop::sample::Index>(), byte in any::<u8>(), serializer in 0usize..3) {
        let name = ["json", "msgpack", "yaml"][serializer];
        let mut bytes = Codecs::standard().encode_body(&body, name, None).unwrap().bytes.to_vec();
        let index = index.index(bytes.len());
        bytes[index] = byte;
        decode_anything(&bytes, serializer, 0);
        decode_anything(&bytes[..index], serializer, 0);
    }
}

/// Decodes bytes as everything that can be decoded. Nothing may panic.
fn decode_anything(bytes: &[u8], serializer: usize, compression: usize) {
    let content_type = ["application/json", "application/x-msgpack", "application/x-yaml"][serializer];
    let compression = [None, Some("gzip"), Some("bzip2"), Some("lzma"), Some("brotli"), Some("zstd")][compression];
    for task in [None, Some("t")] {
        let mut headers = Headers::default();
        headers.task = task.map(Into::into);
        headers.id = Some(TaskId::from("i"));
        headers.compression = compression.map(Into::into);
        let mut properties = Properties::default();
        properties.content_type = Some(content_type.into());
        let message = Message::new(properties, headers, bytes.to_vec().into());
        let accept = Accept::names(["json", "msgpack", "yaml"]);
        if let Ok(call) = Codecs::standard().with_decompressed_limit(1 << 20).decode(&message, &accept) {
            assert!(!call.id().is_empty());
            call.body.to_json();
        }
    }
    read_any_envelope(bytes);
    let _ = Headers::from_json(bytes);
    let _ = Properties::from_json(bytes);
    let _ = ResultDocument::from_json(bytes);
    let _: Result<BTreeMap<String, Value>, _> = Json::from_bytes(bytes.to_vec().into()).and_then(|json| json.decode());
}

/// Decodes bytes as an envelope. If they are one, it can be marked, and the mark can be removed again.
fn read_any_envelope(raw: &[u8]) {
    let decoded = Envelope::decode(&raw.to_vec().into());
    let marked = mark_redelivered(raw);
    assert_eq!(marked.is_ok(), unmark_redelivered(raw).is_ok());
    let Ok(decoded) = decoded else { return };
    let marked = marked.unwrap();
    let again = Envelope::decode(&marked.clone().into()).unwrap();
    let mut wanted = decoded.clone();
    wanted.redelivered = true;
    assert_eq!(again, wanted);
    let unmarked = Envelope::decode(&unmark_redelivered(&marked).unwrap().into()).unwrap();
    let mut wanted = decoded;
    wanted.redelivered = false;
    assert_eq!(unmarked, wanted);
}
