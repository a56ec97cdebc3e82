//! Every captured task message decodes to the captured fields, and encodes to a message that means the same.

use apium_protocol::codecs::accept::Accept;
use apium_protocol::codecs::codecs::Codecs;
use apium_protocol::codecs::invocation::Invocation;
use apium_protocol::error::ErrorKind;
use apium_protocol::json::text::Json;
use apium_protocol::message::body::{Body, Embed};
use apium_protocol::message::headers::Headers;
use apium_protocol::message::message::Message;
use apium_protocol::message::signature::Signature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::value::repr::{args_repr, kwargs_repr};
use apium_protocol::value::value::Value;

use crate::same::{same, same_numbers};
use crate::vectors::{self, Captured};

fn accept() -> Accept {
    Accept::names(["json", "application/x-yaml", "msgpack"])
}

fn opt<T: Into<Value>>(value: Option<T>) -> Value {
    value.into()
}

/// Compares each header with the captured map.
fn check_headers(headers: &Headers, captured: &Value, at: &str) {
    let ids = |id: &Option<TaskId>| opt(id.as_ref().map(TaskId::as_str));
    let limits = [headers.timelimit.hard, headers.timelimit.soft].map(opt);
    let fields: [(&str, Value); 19] = [
        ("lang", opt(headers.lang.as_deref())),
        ("task", opt(headers.task.as_deref())),
        ("id", ids(&headers.id)),
        ("shadow", opt(headers.shadow.as_deref())),
        ("eta", opt(headers.eta.as_deref())),
        ("expires", opt(headers.expires.as_deref())),
        ("group", opt(headers.group.as_deref())),
        ("group_index", opt(headers.group_index)),
        ("retries", headers.retries.into()),
        ("timelimit", Value::List(limits.into())),
        ("root_id", ids(&headers.root_id)),
        ("parent_id", ids(&headers.parent_id)),
        ("argsrepr", opt(headers.argsrepr.as_deref())),
        ("kwargsrepr", opt(headers.kwargsrepr.as_deref())),
        ("origin", opt(headers.origin.as_deref())),
        ("ignore_result", opt(headers.ignore_result)),
        ("replaced_task_nesting", headers.replaced_task_nesting.into()),
        ("compression", opt(headers.compression.as_deref())),
        (
            "stamped_headers",
            opt(headers.stamped_headers.as_ref().map(|names| names.iter().map(String::as_str).collect::<Value>())),
        ),
    ];
    for (name, value) in &fields {
        if let Some(expected) = captured.get(name) {
            assert!(same_numbers(value, expected), "{at}: header {name} is {value}, captured {expected}");
        }
    }
    for (name, value) in captured.as_map().unwrap() {
        if name == "stamps" {
            let stamps: Value =
                headers.stamps.iter().map(|(key, json)| (key.clone(), json.to_value().unwrap())).collect();
            assert!(same(&stamps, value), "{at}: stamps");
        } else if !fields.iter().any(|(field, _)| field == name) {
            assert!(same(&headers.extra[name].to_value().unwrap(), value), "{at}: header {name}");
        }
    }
}

fn jsons(args: &[Json]) -> Value {
    Value::List(args.iter().map(|json| json.to_value().unwrap()).collect())
}

fn entries<'a>(entries: impl IntoIterator<Item = (&'a String, &'a Json)>) -> Value {
    entries.into_iter().map(|(key, json)| (key.clone(), json.to_value().unwrap())).collect()
}

fn signature(signature: &Signature) -> Value {
    let mut map = vec![
        ("task".to_owned(), Value::from(&*signature.task)),
        ("args".to_owned(), jsons(&signature.args)),
        ("kwargs".to_owned(), entries(signature.kwargs.iter().map(|(key, json)| (key, json)))),
        ("options".to_owned(), entries(&signature.options)),
        ("subtask_type".to_owned(), opt(signature.subtask_type.as_deref())),
        ("immutable".to_owned(), signature.immutable.into()),
    ];
    map.extend(signature.extra.iter().map(|(key, json)| (key.clone(), json.to_value().unwrap())));
    Value::Map(map)
}

fn embed(embed: &Embed) -> Value {
    let list =
        |list: &Option<Vec<Signature>>| opt(list.as_ref().map(|list| list.iter().map(signature).collect::<Value>()));
    assert!(embed.extra.is_empty());
    Value::from_iter([
        ("callbacks", list(&embed.callbacks)),
        ("errbacks", list(&embed.errbacks)),
        ("chain", list(&embed.chain.as_ref().map(|steps| steps.signatures().unwrap()))),
        ("chord", opt(embed.chord.as_deref().map(signature))),
    ])
}

fn body(body: &Body) -> Value {
    let kwargs = entries(body.kwargs.iter().map(|(key, json)| (key, json)));
    Value::List(vec![jsons(&body.args), kwargs, embed(&body.embed)])
}

/// Decodes a captured message and compares each field.
fn check(captured: &Captured, at: &str) -> Invocation {
    let codecs = Codecs::standard();
    let message = &captured.message;
    let call = codecs.decode(message, &accept()).unwrap_or_else(|e| panic!("{at}: {e}"));
    check_headers(&message.headers, &captured.headers, at);
    let json =
        message.properties.content_type.as_deref() == Some("application/json") && message.headers.compression.is_none();
    if json && call.protocol == 2 {
        let expected = Value::parse(std::str::from_utf8(&message.body).unwrap()).unwrap();
        assert!(same(&body(&call.body), &expected), "{at}: {} is not {expected}", body(&call.body));
    }
    if json && call.protocol == 1 {
        let map = Value::parse(std::str::from_utf8(&message.body).unwrap()).unwrap();
        let own: Value = ["task", "id", "group", "group_index", "retries", "eta", "expires", "timelimit"]
            .into_iter()
            .map(|key| (key, map.get(key).unwrap().clone()))
            .collect();
        check_headers(&call.headers, &own, at);
        assert_eq!(call.utc, map.get("utc").unwrap().as_bool());
        for (i, key) in ["args", "kwargs"].into_iter().enumerate() {
            assert!(same(body(&call.body).at(i).unwrap(), map.get(key).unwrap()), "{at}: {key}");
        }
        for key in ["callbacks", "errbacks", "chord"] {
            assert!(same(embed(&call.body.embed).get(key).unwrap(), map.get(key).unwrap()), "{at}: {key}");
        }
        assert!(call.headers.argsrepr.is_some());
    }
    check_encoding(&codecs, message, &call, captured, at);
    call
}

/// Encodes the message again and checks that it means the same.
fn check_encoding(codecs: &Codecs, message: &Message, call: &Invocation, captured: &Captured, at: &str) {
    let content_type = message.properties.content_type.as_deref().unwrap();
    let encoded = codecs.encode_body(&call.body, content_type, message.headers.compression.as_deref()).unwrap();
    let again = encoded.into_message(message.headers.clone(), message.properties.clone());
    assert_eq!(again.headers, message.headers, "{at}");
    assert_eq!(again.properties, message.properties, "{at}");
    if call.protocol == 2 {
        let back = codecs.decode(&again, &accept()).unwrap();
        assert!(same(&body(&back.body), &body(&call.body)), "{at}");
        assert_eq!(&back.headers, &call.headers, "{at}");
    }
    let written =
        Json::from_text(std::str::from_utf8(&message.headers.to_json()).unwrap()).unwrap().to_value().unwrap();
    for (name, expected) in captured.headers.as_map().unwrap() {
        let value = written.get(name).unwrap_or_else(|| panic!("{at}: header {name} is lost"));
        assert!(same_numbers(value, expected), "{at}: header {name} is written as {value}, captured {expected}");
    }
    let unset = ["null", "0", "[null, null]", "{}"];
    for (name, value) in written.as_map().unwrap() {
        let captured = captured.headers.get(name).is_some();
        assert!(captured || unset.contains(&&*value.to_string()), "{at}: header {name} was not captured: {value}");
    }
    assert_eq!(Headers::from_json(&message.headers.to_json()).unwrap(), message.headers, "{at}");
    let properties = message.properties.to_json();
    assert_eq!(
        apium_protocol::message::properties::Properties::from_json(&properties).unwrap(),
        message.properties,
        "{at}"
    );
}

#[test]
fn every_captured_task_message_round_trips() {
    let (mut files, mut decoded, mut refused) = (0, 0, Vec::new());
    for vector in vectors::all() {
        let tasks: Vec<Captured> = vectors::messages(&vector).into_iter().filter(|captured| captured.is_task).collect();
        assert!(vector.kind != "task-message" || !tasks.is_empty(), "{} has no message", vector.name);
        files += usize::from(!tasks.is_empty());
        for (i, captured) in tasks.iter().enumerate() {
            let at = format!("{} {i}", vector.name);
            if vector.name.contains("pickle") || vector.name.contains("auth") {
                let error = Codecs::standard()
                    .decode(&captured.message, &Accept::names(["json", "pickle", "auth"]))
                    .unwrap_err();
                let kind =
                    if vector.name.contains("auth") { ErrorKind::UnknownSerializer } else { ErrorKind::NotAccepted };
                assert_eq!(error.kind(), kind, "{at}");
                refused.push(vector.name.clone());
            } else {
                check(captured, &at);
                decoded += 1;
            }
        }
    }
    refused.dedup();
    assert_eq!(refused, ["auth_signed_message", "serializer_pickle", "serializer_pickle_rich"]);
    assert_eq!((files, decoded), (106, 247));
}

#[test]
fn all_serializers_decode_to_the_same() {
    let of = |name: &str| check(&vectors::messages(&vectors::one(name))[0], name).body;
    let plain = of("serializer_json");
    assert_eq!(plain.to_json(), of("serializer_yaml").to_json().as_slice());
    assert_eq!(plain.to_json(), of("serializer_msgpack").to_json().as_slice());
    assert_eq!(of("serializer_msgpack_bytes").args[0].to_value().unwrap(), Value::Bytes(vec![0, 0xff]));
    for name in ["gzip", "bzip2", "lzma", "brotli", "zstd", "msgpack_gzip"] {
        let args = of(&format!("compression_{name}")).args;
        assert!(args[0].decode::<String>().unwrap().starts_with("AAAAAAAA"), "{name}");
    }
}

#[test]
fn special_types_keep_their_types() {
    let body = check(&vectors::messages(&vectors::one("json_special_types"))[0], "json_special_types").body;
    let kinds: Vec<&str> = body.args.iter().map(|json| json.to_value().unwrap().kind()).collect();
    let expected = [
        "a datetime",
        "a datetime",
        "a datetime",
        "a date",
        "a time",
        "a time",
        "a decimal",
        "a decimal",
        "a decimal",
        "a UUID",
        "bytes",
        "bytes",
        "a map",
        "a list",
        "a float",
        "a float",
    ];
    assert_eq!(kinds, expected);
}

/// Replaces tuples by lists: a tuple in the arguments of the producer became a list on the wire.
fn without_tuples(repr: &str) -> String {
    repr.replace('(', "[").replace(')', "]").replace(",]", "]")
}

#[test]
fn reprs_are_those_of_celery() {
    // Their reprs differ: written by hand, of keys that are not text in Python, or of other arguments than those sent.
    let other_reprs = ["json_special_types", "task_argsrepr_override", "beat_messages"];
    let mut checked = 0;
    for vector in vectors::all() {
        if vector.kind != "task-message"
            || other_reprs.contains(&vector.name.as_str())
            || vector.name.contains("pickle")
        {
            continue;
        }
        for captured in vectors::messages(&vector) {
            let Ok(call) = Codecs::standard().decode(&captured.message, &accept()) else { continue };
            if call.protocol == 2 {
                let captured = |repr: &Option<String>| without_tuples(repr.as_deref().unwrap());
                assert_eq!(
                    without_tuples(&args_repr(&call.body.args)),
                    captured(&call.headers.argsrepr),
                    "{}",
                    vector.name
                );
                assert_eq!(
                    without_tuples(&kwargs_repr(&call.body.kwargs)),
                    captured(&call.headers.kwargsrepr),
                    "{}",
                    vector.name
                );
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 171);
}
