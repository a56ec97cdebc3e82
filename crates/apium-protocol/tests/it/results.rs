//! Captured result documents are read, and written again with the same bytes.

use apium_protocol::codecs::accept::Accept;
use apium_protocol::codecs::codecs::Codecs;
use apium_protocol::json::base64;
use apium_protocol::json::text::Json;
use apium_protocol::result::document::{GroupDocument, ResultDocument, ResultTuple};
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_protocol::value::value::Value;
use bytes::Bytes;

use crate::same::same;
use crate::vectors::{self, walk};

#[test]
fn every_captured_result_document_round_trips() {
    let (mut documents, mut groups, mut failures) = (0, 0, 0);
    for vector in vectors::all() {
        if vector.kind == "acceptance" {
            continue;
        }
        walk(&vector.value, &mut |value| {
            let Value::Str(text) = value else { return };
            if text.starts_with("{\"status\": ") && text.contains("\"task_id\"") {
                let document =
                    ResultDocument::from_json(text.as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", vector.name));
                let written = String::from_utf8(document.to_json()).unwrap();
                if document.extra.is_empty() {
                    assert_eq!(&written, text, "{}", vector.name);
                } else {
                    assert!(same(&Value::parse(&written).unwrap(), &Value::parse(text).unwrap()), "{}", vector.name);
                }
                if document.state.is_exception() {
                    let info = ExceptionInfo::from_json(&document.result);
                    assert_eq!(info.to_json(), document.result, "{}", vector.name);
                    failures += 1;
                }
                documents += 1;
            } else if text.starts_with("{\"result\": [[") {
                let group = GroupDocument::from_json(text.as_bytes()).unwrap();
                assert_eq!(&String::from_utf8(group.to_json()).unwrap(), text);
                assert!(group.result.children.is_some());
                groups += 1;
            }
        });
    }
    assert_eq!((documents, groups, failures), (245, 1, 81));
}

#[test]
fn a_document_has_its_fields() {
    let vector = vectors::one("result_children_extended");
    let raw = vector.value.get("result").unwrap().get("raw").unwrap().as_str().unwrap();
    let document = ResultDocument::from_json(raw.as_bytes()).unwrap();
    assert_eq!(document.state, State::Success);
    assert_eq!(document.result.decode::<i64>().unwrap(), 2);
    let children = document.children.unwrap();
    assert_eq!(children[0], ResultTuple::task("924ec563-1574-4d4f-80ed-3315ef6a2e92"));
    let extended = document.extended.unwrap();
    assert_eq!(extended.name.as_deref(), Some("tasks.spawn"));
    assert_eq!(extended.args.unwrap().as_str(), "[2]");
    assert_eq!(
        (extended.worker.as_deref(), extended.retries, extended.queue.as_deref()),
        (Some("w1@wirespec"), Some(0), Some("celery"))
    );
}

#[test]
fn tuples_are_those_of_python() {
    let vector = vectors::one("result_as_tuple");
    for name in ["chain", "group", "chord"] {
        let text = vector.value.get(name).unwrap().to_string();
        let tuple = ResultTuple::from_json(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(tuple.to_json()).unwrap(), text, "{name}");
    }
    let bare = ResultTuple::from_json(br#"["a", ["b", [["c", "d"], null]]]"#).unwrap();
    let members = vec![ResultTuple::task("b"), ResultTuple::task("c").with_parent(ResultTuple::task("d"))];
    assert_eq!(bare, ResultTuple::group("a", members));
}

#[test]
fn results_of_other_serializers_and_compressed_results_are_read() {
    let codecs = Codecs::standard();
    let bytes = |vector: &str, key: &str| {
        Bytes::from(base64::decode(vectors::one(vector).value.get(key).unwrap().as_str().unwrap()).unwrap())
    };
    for name in ["msgpack", "yaml"] {
        let vector = format!("result_serializer_{name}");
        let success = codecs.decode_value(&bytes(&vector, "success_b64"), name, &Accept::names([name])).unwrap();
        let document = ResultDocument::from_json(success.as_bytes()).unwrap();
        assert_eq!(document.result.to_value().unwrap().get("s").unwrap().as_str(), Some("café"));
        let failure = codecs.decode_value(&bytes(&vector, "failure_b64"), name, &Accept::names([name])).unwrap();
        let document = ResultDocument::from_json(failure.as_bytes()).unwrap();
        assert_eq!(ExceptionInfo::from_json(&document.result).to_string(), "KeyError('kk')");
        let encoded = codecs.encode_value(&Json::from_text(&failure.to_string()).unwrap(), name).unwrap();
        let back = codecs.decode_value(&encoded.bytes, name, &Accept::names([name])).unwrap();
        assert!(same(&back.to_value().unwrap(), &failure.to_value().unwrap()));
    }
    let pickled = bytes("result_serializer_pickle", "success_b64");
    assert!(
        codecs.decode_value(&pickled, "pickle", &Accept::names(["pickle"])).unwrap_err().to_string().contains("pickle")
    );
    let packed = bytes("result_compressed_gzip", "raw_b64");
    let document = ResultDocument::from_json(&codecs.open_result(&packed).unwrap()).unwrap();
    assert_eq!(document.result.decode::<String>().unwrap(), "A".repeat(300));
}
