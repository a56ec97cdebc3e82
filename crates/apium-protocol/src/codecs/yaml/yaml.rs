//! The safe subset of YAML as PyYAML writes and reads it: with sorted keys, without Python's own tags.

use crate::codecs::serializer::Serializer;
use crate::error::{Error, ErrorKind, Result};
use crate::value::value::Value;

/// The serializer `yaml`. Decimals, UUIDs and times of day are written as text, since PyYAML has no safe tags for them.
pub(crate) struct Yaml;

impl Serializer for Yaml {
    fn name(&self) -> &str {
        "yaml"
    }

    fn content_type(&self) -> &str {
        "application/x-yaml"
    }

    fn content_encoding(&self) -> &str {
        "utf-8"
    }

    fn encode(&self, value: &Value) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(128);
        crate::codecs::yaml::write::write(&mut out, value);
        out.push(b'\n');
        Ok(out)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Value> {
        crate::codecs::yaml::read::read(crate::json::reader::utf8(bytes)?)
    }
}

pub(crate) fn fail<T>(what: impl std::fmt::Display) -> Result<T> {
    Err(Error::new(ErrorKind::Decode, format!("read YAML: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Value {
        Yaml.decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn reads_what_pyyaml_writes() {
        let value = read(
            "- - 1\n  - two\n  - null\n  - 3.5\n- z: \"caf\\xE9\"\n  'yes': on\n  b: !!binary |\n    //4A\n  d: 2020-01-02\n  t: 2020-01-02 03:04:05.5+02:00\n",
        );
        let expected = r#"[[1, "two", null, 3.5], {"z": "caf\u00e9", "yes": true, "b": {"__type__": "base64", "__value__": "//4A"}, "d": {"__type__": "date", "__value__": "2020-01-02"}, "t": {"__type__": "datetime", "__value__": "2020-01-02T03:04:05.500000+02:00"}}]"#;
        assert_eq!(value.to_string(), expected);
    }

    #[test]
    fn scalars_have_pythons_types() {
        let cases = [
            ("1_000", "1000"),
            ("0x1F", "31"),
            ("0b11", "3"),
            ("017", "15"),
            ("-5", "-5"),
            ("190:20:30", "685230"),
            ("1e5", "\"1e5\""),
            ("1.0e+5", "100000.0"),
            (".inf", "Infinity"),
            ("-.INF", "-Infinity"),
            (".nan", "NaN"),
            ("~", "null"),
            ("Null", "null"),
            ("no", "false"),
            ("y", "\"y\""),
            ("08", "\"08\""),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("!!str 12", "\"12\""),
            ("! 12", "\"12\""),
            ("\"12\"", "\"12\""),
            ("!!float 3", "3.0"),
            ("!!int '7'", "7"),
            ("!!set {a, b}", r#"["a", "b"]"#),
            ("{1: a, null: b, true: c}", r#"{"1": "a", "null": "b", "true": "c"}"#),
        ];
        for (text, json) in cases {
            assert_eq!(read(text).to_string(), json, "{text}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_becomes_the_replacement_character() {
        for (text, value) in [
            (r#"- "\uDCE9.txt""#, "\u{fffd}.txt"),
            (r#"- "\\uDCE9 \uDCE9""#, "\\uDCE9 \u{fffd}"),
            (r"- '\uDCE9'", r"\uDCE9"),
            (r#"- "\U0001F600""#, "\u{1f600}"),
        ] {
            assert_eq!(read(text).at(0).and_then(Value::as_str), Some(value), "{text}");
        }
    }

    #[test]
    fn anchors_and_merges() {
        assert_eq!(read("- &a [1, 2]\n- *a\n").to_string(), "[[1, 2], [1, 2]]");
        assert_eq!(
            read("x: &a {p: 1, q: 2}\ny:\n  <<: *a\n  q: 3\n").to_string(),
            r#"{"x": {"p": 1, "q": 2}, "y": {"q": 3, "p": 1}}"#
        );
    }

    #[test]
    fn refuses_what_is_unsafe_or_broken() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let row = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb += &format!("a{i}: &a{i} [{row}]\n");
        }
        let deep = "[".repeat(5000);
        for text in [
            "!!python/object/apply:os.system ['id']",
            "!!python/name:os.system",
            "&a [*a]",
            "*a",
            "a: b: c",
            "[1, 2",
            "1\n---\n2\n",
            "{[1]: 2}",
            "!!int x",
            "!!binary '%'",
            &bomb,
            &deep,
        ] {
            assert_eq!(
                Yaml.decode(text.as_bytes()).unwrap_err().kind(),
                ErrorKind::Decode,
                "{}",
                &text[..text.len().min(60)]
            );
        }
    }

    #[test]
    fn values_round_trip() {
        let text = r#"{"b": [1, -2, 123456789012345678901234567890, 3.0, -0.0, 1e+16, 1e-05, Infinity, NaN], "a": {"": "\u0001\ud83d\ude00'\"\\\n\u0085\u2028 #: x", "1": "2020-01-02", "yes": "no"}, "t": {"__type__": "datetime", "__value__": "2020-01-02T03:04:05+02:00"}, "u": {"__type__": "base64", "__value__": "//4A"}, "z": [[], {}, null, true]}"#;
        let value = Value::parse(text).unwrap();
        let yaml = String::from_utf8(Yaml.encode(&value).unwrap()).unwrap();
        assert!(yaml.is_ascii());
        let back = read(&yaml);
        for (key, inner) in value.as_map().unwrap() {
            assert_eq!(back.get(key).unwrap().to_string(), inner.to_string(), "{key} in {yaml}");
        }
        let long = Value::from_iter([("k".repeat(3000), 1)]);
        assert_eq!(Yaml.decode(&Yaml.encode(&long).unwrap()).unwrap(), long);
    }
}
