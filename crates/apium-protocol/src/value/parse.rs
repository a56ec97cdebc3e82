//! Reading values from JSON text: Python's JSON with kombu's typed envelopes.

use std::collections::HashMap;

use crate::error::Result;
use crate::json::base64;
use crate::json::reader::JsonReader;
use crate::json::write::write_f64;
use crate::value::value::Value;

/// How deep lists and maps may nest in a text that is decoded. Python's own limit is about as high.
pub(crate) const MAX_DEPTH: usize = 1024;

/// In maps of this size and larger, duplicate keys are found by hashing.
const LARGE_MAP: usize = 16;

impl Value {
    /// Reads JSON text.
    ///
    /// It is Python's JSON: `NaN`, `Infinity` and `-Infinity` are numbers, integers have any size, and if a key comes
    /// twice, its last value counts. A map with exactly `__type__` and `__value__` becomes the value of that type; if
    /// the type is unknown, or the value is not one of its type, it stays the map that it is.
    ///
    /// Half a surrogate pair becomes U+FFFD, since no text of Rust can contain it. Python has such texts: the name of a
    /// file whose bytes are not UTF-8 is `'\udce9.txt'`. A [`Json`](crate::json::text::Json) keeps it.
    ///
    /// # Errors
    /// If the text is not JSON, or nests deeper than 1,024 levels.
    pub fn parse(text: &str) -> Result<Self> {
        let mut reader = JsonReader::new(text);
        let value = read(&mut reader)?;
        reader.end()?;
        Ok(value)
    }
}

/// A list or map that is being read.
enum Open {
    List(Vec<Value>),
    /// The entries, and the key of the next value.
    Map(Vec<(String, Value)>, String),
}

impl Open {
    fn add(&mut self, value: Value) {
        match self {
            Self::List(list) => list.push(value),
            Self::Map(entries, key) => entries.push((std::mem::take(key), value)),
        }
    }

    fn closing_bracket(&self) -> u8 {
        match self {
            Self::List(_) => b']',
            Self::Map(..) => b'}',
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::List(list) => Value::List(list),
            Self::Map(entries, _) => from_entries(entries),
        }
    }
}

/// Reads without recursion, since a text may nest deeper than the stack of a thread allows.
fn read(reader: &mut JsonReader<'_>) -> Result<Value> {
    let mut open: Vec<Open> = Vec::new();
    loop {
        let mut value = match reader.peek() {
            b'[' | b'{' if open.len() == MAX_DEPTH => return reader.fail("the value nests too deep to be decoded"),
            b'[' if reader.open(b'[')? => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            b'[' => Value::List(Vec::new()),
            b'{' if reader.open(b'{')? => {
                open.push(Open::Map(Vec::new(), reader.key()?.into_owned()));
                continue;
            }
            b'{' => Value::Map(Vec::new()),
            _ => scalar(reader)?,
        };
        // The value may be the last one of its list, which then may be the last one of its own, and so on.
        loop {
            let Some(innermost) = open.last_mut() else { return Ok(value) };
            innermost.add(value);
            if reader.has_more(innermost.closing_bracket())? {
                if let Open::Map(_, key) = innermost {
                    *key = reader.key()?.into_owned();
                }
                break;
            }
            value = open.pop().map_or(Value::Null, Open::into_value);
        }
    }
}

fn scalar(reader: &mut JsonReader<'_>) -> Result<Value> {
    match reader.peek() {
        b'"' => Ok(Value::Str(reader.string()?.into_owned())),
        b'n' => reader.word("null").map(|()| Value::Null),
        b't' => reader.word("true").map(|()| Value::Bool(true)),
        b'f' => reader.word("false").map(|()| Value::Bool(false)),
        b'N' => reader.word("NaN").map(|()| Value::Float(f64::NAN)),
        b'I' => reader.word("Infinity").map(|()| Value::Float(f64::INFINITY)),
        _ => number(reader),
    }
}

fn number(reader: &mut JsonReader<'_>) -> Result<Value> {
    let (text, integer) = reader.number()?;
    if integer {
        return Ok(text.parse().map_or_else(|_| Value::BigInt(text.to_owned()), Value::Int));
    }
    match text {
        "-Infinity" => Ok(Value::Float(f64::NEG_INFINITY)),
        _ => match text.parse() {
            Ok(value) => Ok(Value::Float(value)),
            Err(_) => reader.fail("a number cannot be read"),
        },
    }
}

/// The map of these entries, or the value of a typed envelope. If a key comes twice, its last value counts.
///
/// A map that only looks like an envelope stays a map, whatever serializer it came by: it may be a value of somebody
/// who uses these names for something else. JSON that is passed on without being decoded has it in the same form.
pub(crate) fn from_entries(entries: Vec<(String, Value)>) -> Value {
    let entries = without_duplicates(entries);
    let typed = match &entries[..] {
        [(a, kind), (b, value)] if a == "__type__" && b == "__value__" => open_envelope(kind, value),
        [(b, value), (a, kind)] if a == "__type__" && b == "__value__" => open_envelope(kind, value),
        _ => None,
    };
    typed.unwrap_or(Value::Map(entries))
}

/// The entries with each key once: at its first position, with its last value.
pub(crate) fn without_duplicates(entries: Vec<(String, Value)>) -> Vec<(String, Value)> {
    let has_duplicates = if entries.len() < LARGE_MAP {
        entries.iter().enumerate().any(|(i, (key, _))| entries[..i].iter().any(|(earlier, _)| earlier == key))
    } else {
        let mut seen = std::collections::HashSet::with_capacity(entries.len());
        entries.iter().any(|(key, _)| !seen.insert(key.as_str()))
    };
    if !has_duplicates {
        return entries;
    }
    let mut indexes: HashMap<String, usize> = HashMap::new();
    let mut unique: Vec<(String, Value)> = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        match indexes.get(&key) {
            Some(&index) => unique[index].1 = value,
            None => {
                indexes.insert(key.clone(), unique.len());
                unique.push((key, value));
            }
        }
    }
    unique
}

/// The value in a typed envelope; `None` if its type is unknown, or if it is not one of its type.
fn open_envelope(kind: &Value, value: &Value) -> Option<Value> {
    let text = || match value {
        Value::Str(text) => Some(text.clone()),
        _ => None,
    };
    let Value::Str(kind) = kind else { return None };
    match kind.as_str() {
        "datetime" => text().map(Value::DateTime),
        "date" => text().map(Value::Date),
        "time" => text().map(Value::Time),
        "decimal" => text().map(Value::Decimal),
        "bytes" => text().map(|text| Value::Bytes(text.into_bytes())),
        "base64" => base64::decode(&text()?).map(Value::Bytes),
        "uuid" => {
            let hex = match value {
                Value::Map(_) => value.get("hex").and_then(Value::as_str),
                Value::Str(text) => Some(text.as_str()),
                _ => None,
            };
            uuid::Uuid::try_parse(hex?).ok().map(Value::Uuid)
        }
        _ => None,
    }
}

/// A map key as the text that Python's JSON writes, such as `1`, `true` or `null`. `None` for a list or a map, which
/// cannot be a key.
pub(crate) fn key_text(key: Value) -> Option<String> {
    Some(match key {
        Value::Str(text) => text,
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::BigInt(digits) => digits,
        Value::Float(value) => {
            let mut out = Vec::new();
            write_f64(&mut out, value);
            String::from_utf8(out).ok()?
        }
        Value::Bytes(bytes) => String::from_utf8(bytes).ok()?,
        Value::DateTime(text) | Value::Date(text) | Value::Time(text) | Value::Decimal(text) => text,
        Value::Uuid(uuid) => uuid.to_string(),
        Value::List(_) | Value::Map(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_round_trip(text: &str) {
        assert_eq!(Value::parse(text).unwrap().to_string(), text);
    }

    #[test]
    fn texts_round_trip_exactly() {
        for text in [
            "null",
            "[true, false]",
            "3",
            "3.0",
            "-0.0",
            "1e+16",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775809",
            "123456789012345678901234567890",
            "NaN",
            "-Infinity",
            r#"{"a": [], "b": {}}"#,
            r#""\u00e9\ud83d\ude00""#,
            r#"{"__type__": "datetime", "__value__": "2020-01-02T03:04:05+02:00"}"#,
            r#"{"__type__": "decimal", "__value__": "1E+3"}"#,
            r#"{"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678"}}"#,
            r#"{"__type__": "bytes", "__value__": "hello"}"#,
            r#"{"__type__": "base64", "__value__": "//4A"}"#,
            r#"{"__type__": "x", "__value__": 1, "more": 2}"#,
        ] {
            assert_round_trip(text);
        }
    }

    #[test]
    fn texts_have_pythons_types() {
        assert_eq!(Value::parse("-0").unwrap(), Value::Int(0));
        assert_eq!(Value::parse("3.0").unwrap(), Value::Float(3.0));
        assert_eq!(Value::parse(r#"{"__value__": "x", "__type__": "bytes"}"#).unwrap(), Value::Bytes(b"x".to_vec()));
        assert_eq!(Value::parse(r#"{"a": 1, "b": 2, "a": 3}"#).unwrap().to_string(), r#"{"a": 3, "b": 2}"#);
    }

    #[test]
    fn duplicate_keys_of_large_maps_have_their_last_value() {
        let text = (0..40).map(|i| format!("\"k{}\": {i}", i % 20)).collect::<Vec<_>>().join(", ");
        let value = Value::parse(&format!("{{{text}}}")).unwrap();
        assert_eq!(value.as_map().unwrap().len(), 20);
        assert_eq!(value.get("k3"), Some(&Value::Int(23)));
    }

    #[test]
    fn what_only_looks_like_an_envelope_stays_a_map() {
        for text in [
            r#"{"__type__": "foo", "__value__": 1}"#,
            r#"{"__value__": [null], "__type__": "foo"}"#,
            r#"{"__type__": 1, "__value__": 1}"#,
            r#"{"__type__": "datetime", "__value__": 1}"#,
            r#"{"__type__": "uuid", "__value__": {"hex": "zz"}}"#,
            r#"{"__type__": "base64", "__value__": "%"}"#,
        ] {
            assert!(matches!(Value::parse(text), Ok(Value::Map(_))), "{text}");
            assert_round_trip(text);
        }
    }

    #[test]
    fn half_a_surrogate_pair_becomes_the_replacement_character() {
        let value = Value::parse(r#"["\udce9.txt", {"\ud83d": "\ude00\ud83d"}]"#).unwrap();
        assert_eq!(value.to_string(), r#"["\ufffd.txt", {"\ufffd": "\ufffd\ufffd"}]"#);
    }

    #[test]
    fn depth_is_bounded() {
        let lists = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let maps = |depth: usize| "{\"a\": ".repeat(depth) + "1" + &"}".repeat(depth);
        for nested in [&lists as &dyn Fn(usize) -> String, &maps] {
            assert_round_trip(&nested(MAX_DEPTH));
            assert!(Value::parse(&nested(MAX_DEPTH + 1)).is_err());
            assert!(Value::parse(&nested(1_000_000)).is_err());
        }
    }

    #[test]
    fn lists_and_maps_that_are_not_closed_are_refused() {
        for text in [
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[1}",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,}",
            "{\"a\":1]",
            "[]]",
            "[] 1",
        ] {
            assert!(Value::parse(text).is_err(), "{text}");
        }
    }
}
