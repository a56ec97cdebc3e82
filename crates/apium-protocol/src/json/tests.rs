//! Tests of JSON texts through serde.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use bytes::Bytes;

use crate::json::text::*;
use crate::value::value::Value;

fn text<T: Serialize + ?Sized>(value: &T) -> String {
    Json::from_serialize(value).unwrap().to_string()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    n: i64,
    f: f64,
    name: Option<String>,
    pair: (u8, bool),
    shape: Shape,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Dot,
    Circle(f64),
    Line(i32, i32),
    Box { w: u8 },
}

#[test]
fn types_are_written_as_python_writes_them() {
    let sample = Sample { n: -1, f: 3.0, name: Some("é\"".into()), pair: (1, true), shape: Shape::Box { w: 2 } };
    let json = r#"{"n": -1, "f": 3.0, "name": "\u00e9\"", "pair": [1, true], "shape": {"Box": {"w": 2}}}"#;
    assert_eq!(text(&sample), json);
    assert_eq!(text(&[Shape::Dot, Shape::Circle(0.5)]), r#"["Dot", {"Circle": 0.5}]"#);
    assert_eq!(text(&Shape::Line(1, 2)), r#"{"Line": [1, 2]}"#);
    assert_eq!(text(&BTreeMap::from([(1, ()), (2, ())])), r#"{"1": null, "2": null}"#);
    assert_eq!(text(&BTreeMap::from([(true, 'x')])), r#"{"true": "x"}"#);
    assert_eq!(
        text(&(f64::NAN, f64::NEG_INFINITY, 0.1f32, u128::MAX)),
        format!("[NaN, -Infinity, 0.1, {}]", u128::MAX)
    );
    assert!(Json::from_serialize(&BTreeMap::from([(vec![1], 1)])).is_err());
    let back: Sample = Json::from_text(json).unwrap().decode().unwrap();
    assert_eq!(back, sample);
}

#[test]
fn long_numbers_are_read_into_the_same_types() {
    for shape in [Shape::Dot, Shape::Circle(-0.0), Shape::Line(1, -2), Shape::Box { w: 9 }] {
        let sample = Sample { n: i64::MIN, f: -0.0, name: None, pair: (255, false), shape };
        let json = Json::from_serialize(&(&sample, i128::MIN)).unwrap();
        assert!(has_long_number(json.as_bytes()));
        let (back, _): (Sample, i128) = json.decode().unwrap();
        assert_eq!(back, sample);
        assert!(back.f.is_sign_negative());
    }
}

#[test]
fn integers_of_every_width() {
    let json = Json::from_text(&format!("[{}, {}, {}]", u64::MAX, i128::MIN, u128::MAX)).unwrap();
    assert_eq!(json.decode::<(u64, i128, u128)>().unwrap(), (u64::MAX, i128::MIN, u128::MAX));
    assert_eq!(Json::from_text("5").unwrap().decode::<u128>().unwrap(), 5);
    assert!(Json::from_text("18446744073709551616").unwrap().decode::<u64>().is_err());
    assert!(Json::from_text(&"9".repeat(60)).unwrap().decode::<u128>().is_err());
    assert_eq!(Json::from_text(&"9".repeat(60)).unwrap().decode::<f64>().unwrap(), 1e60);
    assert_eq!(Json::from_text("-0").unwrap().decode::<i64>().unwrap(), 0);
}

#[test]
fn values_and_texts_inside_a_type_come_out_exact() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        value: Value,
        json: Json,
        n: u8,
    }
    for inner in [
        "123456789012345678901234567890",
        "-0.0",
        "3.0",
        "NaN",
        r#"{"__type__": "date", "__value__": "2020-01-02"}"#,
        r#"{"a": [1, {"b": 1e+16}]}"#,
    ] {
        let text = format!(r#"{{"value": {inner}, "json": {inner}, "n": 7}}"#);
        let holder: Holder = Json::from_text(&text).unwrap().decode().unwrap();
        assert_eq!(Json::from_serialize(&holder).unwrap().as_str(), text);
        assert_eq!(holder.json.as_str(), inner);
    }
}

#[test]
fn text_passes_through_serde_json() {
    let json = Json::from_text(r#"{"a": 123456789012345678901234567890}"#).unwrap();
    let outer = serde_json::to_string(&vec![&json]).unwrap();
    assert_eq!(outer, r#"[{"a": 123456789012345678901234567890}]"#);
    assert_eq!(serde_json::from_str::<Vec<Json>>(&outer).unwrap(), [json]);
    let tree: serde_json::Value = serde_json::to_value(Json::from_text("[1, \"x\"]").unwrap()).unwrap();
    assert_eq!(tree, serde_json::json!([1, "x"]));
    assert_eq!(serde_json::from_value::<Json>(tree.clone()).unwrap().decode::<serde_json::Value>().unwrap(), tree);
    assert_eq!(Json::from(serde_json::json!({"k": [1.5, null]})).as_str(), r#"{"k": [1.5, null]}"#);
}

#[test]
fn a_value_buffered_by_serde_is_read() {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u8),
        Other(Json),
    }
    let either: Vec<Either> = Json::from_text(r#"[7, {"a": 3.0}]"#).unwrap().decode().unwrap();
    assert!(matches!(either[0], Either::Number(7)));
    assert!(matches!(&either[1], Either::Other(json) if json.as_str() == r#"{"a": 3.0}"#));
}

#[test]
fn half_a_surrogate_pair_is_kept_as_json_and_replaced_in_texts() {
    let text = r#"["\udce9.txt", {"\udce9": "\ud83d"}]"#;
    let json = Json::from_text(text).unwrap();
    assert_eq!((json.as_str(), json.to_utf8().as_str()), (text, text));
    let (name, map): (String, BTreeMap<String, char>) = json.decode().unwrap();
    assert_eq!((name.as_str(), map["\u{fffd}"]), ("\u{fffd}.txt", '\u{fffd}'));
    let (name, map): (Json, Json) = json.decode().unwrap();
    assert_eq!((name.as_str(), map.as_str()), (r#""\udce9.txt""#, r#"{"\udce9": "\ud83d"}"#));
    let tree: serde_json::Value = json.decode().unwrap();
    assert_eq!(tree, serde_json::json!(["\u{fffd}.txt", { "\u{fffd}": "\u{fffd}" }]));
    assert_eq!(Json::from_serialize(&(&json, 1)).unwrap().as_str(), format!("[{text}, 1]"));
}

#[test]
fn a_deep_value_is_read_whole_or_refused() {
    let nested = |depth: usize| Json::from_text(&("[".repeat(depth) + &"]".repeat(depth))).unwrap();
    for depth in [127, 128, 200, 256, 257, 1024] {
        let json = nested(depth);
        let value: Value = json.decode().unwrap();
        assert_eq!(Json::from_serialize(&value).unwrap(), json);
        assert_eq!(nested(depth - 1).decode::<Json>().unwrap(), nested(depth - 1));
        assert_eq!(json.decode::<Vec<Value>>().unwrap().len(), 1);
        assert_eq!(json.decode::<serde_json::Value>().is_ok(), depth <= 256, "{depth}");
    }
    assert_eq!(nested(100_000).decode::<Json>().unwrap(), nested(100_000));
    for too_deep in [nested(1025).decode::<Value>().map(|_| ()), nested(1_000_000).decode::<String>().map(|_| ())] {
        assert!(format!("{:#}", too_deep.unwrap_err()).contains("nests too deep"));
    }
    let refused = nested(257).decode::<serde_json::Value>().unwrap_err();
    assert!(format!("{refused:#}").contains("takes it whole"), "{refused:#}");
}

#[test]
fn typed_envelopes_read_as_text_and_bytes() {
    let json = Json::from_text(
        r#"[{"__type__": "datetime", "__value__": "2020-01-02T03:04:05"}, {"__type__": "base64", "__value__": "//4A"}]"#,
    )
    .unwrap();
    assert_eq!(json.decode::<(String, Vec<u8>)>().unwrap(), ("2020-01-02T03:04:05".into(), vec![0xff, 0xfe, 0]));
    let tree: serde_json::Value = json.decode().unwrap();
    assert_eq!(Json::from(tree), json);
}

#[test]
fn long_numbers_are_found_at_any_position() {
    let fitting = ["18446744073709551615", "-9223372036854775808", "777777777777777777"];
    let long = ["18446744073709551616", "-9223372036854775809", "100000000000000000000000"];
    for before in 0..60 {
        for (numbers, expected) in [(fitting, false), (long, true)] {
            for number in numbers {
                let text = format!("{}{number}, 1, {number}", "a".repeat(before));
                assert_eq!(has_long_number(text.as_bytes()), expected, "{text}");
                let shifted = format!("[1234567890, {}{number}]", " ".repeat(before));
                assert_eq!(has_long_number(shifted.as_bytes()), expected, "{shifted}");
            }
        }
    }
}

#[test]
fn texts_are_checked() {
    assert!(Json::from_text("{\"a\": 1,}").is_err());
    assert!(Json::from_bytes(Bytes::from_static(b"\"\xff\"")).is_err());
    assert_eq!(Json::from_text(" [1] ").unwrap().as_str(), "[1]");
    assert!(Json::default().is_null());
}
