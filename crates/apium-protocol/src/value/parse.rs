//! Reading values from JSON text: Python's JSON with kombu's typed envelopes.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::json::base64;
use crate::json::reader::JsonReader;
use crate::json::write::write_f64;
use crate::value::value::Value;

/// How deep lists and maps may nest in a text that is decoded.
const MAX_DEPTH: usize = 256;

/// In maps of this size and larger, duplicate keys are found by hashing.
const LARGE_MAP: usize = 16;

impl Value {
    /// Reads JSON text.
    ///
    /// It is Python's JSON: `NaN`, `Infinity` and `-Infinity` are numbers, integers have any size, and if a key comes
    /// twice, its last value counts. A map with exactly `__type__` and `__value__` becomes the value of that type.
    ///
    /// # Errors
    /// If the text is not JSON, nests deeper than 256 levels, or contains half a surrogate pair; or if a typed envelope
    /// has an unknown type, or a value that does not fit its type.
    pub fn parse(text: &str) -> Result<Self> {
        let mut reader = JsonReader::new(text);
        let value = read(&mut reader, MAX_DEPTH)?;
        reader.end()?;
        Ok(value)
    }
}

fn read(reader: &mut JsonReader<'_>, depth: usize) -> Result<Value> {
    match reader.peek() {
        b'"' => Ok(Value::Str(reader.string()?.into_owned())),
        b'[' | b'{' if depth == 0 => reader.fail("the value nests too deep to be decoded"),
        b'[' => {
            let mut list = Vec::new();
            reader.array(|reader| {
                list.push(read(reader, depth - 1)?);
                Ok(())
            })?;
            Ok(Value::List(list))
        }
        b'{' => {
            let mut entries = Vec::new();
            reader.object(|key, reader| {
                entries.push((key.into_owned(), read(reader, depth - 1)?));
                Ok(())
            })?;
            from_entries(entries)
        }
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
pub(crate) fn from_entries(entries: Vec<(String, Value)>) -> Result<Value> {
    let entries = without_duplicates(entries);
    match &entries[..] {
        [(a, kind), (b, value)] if a == "__type__" && b == "__value__" => open_envelope(kind, value),
        [(b, value), (a, kind)] if a == "__type__" && b == "__value__" => open_envelope(kind, value),
        _ => Ok(Value::Map(entries)),
    }
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

/// The value in a typed envelope.
fn open_envelope(kind: &Value, value: &Value) -> Result<Value> {
    let Value::Str(kind) = kind else {
        return fail(format!("a typed value's `__type__` is {}, not a text", kind.kind()));
    };
    let text = || match value {
        Value::Str(text) => Ok(text.clone()),
        other => fail(format!("the value of a `{kind}` is {}, not a text", other.kind())),
    };
    Ok(match kind.as_str() {
        "datetime" => Value::DateTime(text()?),
        "date" => Value::Date(text()?),
        "time" => Value::Time(text()?),
        "decimal" => Value::Decimal(text()?),
        "bytes" => Value::Bytes(text()?.into_bytes()),
        "base64" => match base64::decode(&text()?) {
            Some(bytes) => Value::Bytes(bytes),
            None => return fail("the value of a `base64` is not base64".into()),
        },
        "uuid" => {
            let hex = match value {
                Value::Map(_) => value.get("hex").and_then(Value::as_str),
                Value::Str(text) => Some(text.as_str()),
                _ => None,
            };
            match hex.and_then(|hex| uuid::Uuid::try_parse(hex).ok()) {
                Some(uuid) => Value::Uuid(uuid),
                None => return fail("the value of a `uuid` is not one".into()),
            }
        }
        other => return fail(format!("the type `{other}` of a typed value is unknown")),
    })
}

fn fail<T>(what: String) -> Result<T> {
    Err(Error::new(ErrorKind::Decode, format!("decode the value: {what}")))
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
    fn broken_envelopes_are_errors() {
        for text in [
            r#"{"__type__": "nope", "__value__": 1}"#,
            r#"{"__type__": 1, "__value__": 1}"#,
            r#"{"__type__": "datetime", "__value__": 1}"#,
            r#"{"__type__": "uuid", "__value__": {"hex": "zz"}}"#,
            r#"{"__type__": "base64", "__value__": "%"}"#,
            r#""\udc00""#,
        ] {
            assert_eq!(Value::parse(text).unwrap_err().kind(), ErrorKind::Decode, "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Value::parse(&nested(MAX_DEPTH)).is_ok());
        assert!(Value::parse(&nested(MAX_DEPTH + 1)).is_err());
    }
}
