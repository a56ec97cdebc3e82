//! Writing values as JSON text.

use crate::json::base64;
use crate::json::write::{write_f64, write_int, write_str};
use crate::value::value::Value;

impl Value {
    /// The JSON text as bytes: like Python's `json.dumps`, with kombu's typed envelopes.
    pub fn to_json_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Int(value) => write_int(out, *value),
            Self::BigInt(digits) => out.extend_from_slice(checked_digits(digits).as_bytes()),
            Self::Float(value) => write_f64(out, *value),
            Self::Str(text) => write_str(out, text),
            Self::Bytes(bytes) => write_bytes(out, bytes),
            Self::List(list) => {
                out.push(b'[');
                for (i, value) in list.iter().enumerate() {
                    if i > 0 {
                        out.extend_from_slice(b", ");
                    }
                    value.write(out);
                }
                out.push(b']');
            }
            Self::Map(entries) => {
                out.push(b'{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    if i > 0 {
                        out.extend_from_slice(b", ");
                    }
                    write_str(out, key);
                    out.extend_from_slice(b": ");
                    value.write(out);
                }
                out.push(b'}');
            }
            Self::DateTime(text) => write_envelope(out, "datetime", text),
            Self::Date(text) => write_envelope(out, "date", text),
            Self::Time(text) => write_envelope(out, "time", text),
            Self::Decimal(text) => write_envelope(out, "decimal", text),
            Self::Uuid(uuid) => {
                out.extend_from_slice(br#"{"__type__": "uuid", "__value__": {"hex": ""#);
                out.extend_from_slice(uuid.simple().encode_lower(&mut [0; uuid::fmt::Simple::LENGTH]).as_bytes());
                out.extend_from_slice(br#""}}"#);
            }
        }
    }
}

/// The digits of a big integer, or `0` if they are no integer: a caller may construct any `BigInt`, and what is written
/// must be JSON.
fn checked_digits(digits: &str) -> &str {
    let figures = digits.strip_prefix('-').unwrap_or(digits);
    let is_valid = !figures.is_empty()
        && figures.bytes().all(|b| b.is_ascii_digit())
        && (figures.len() == 1 || !figures.starts_with('0'));
    if is_valid { digits } else { "0" }
}

/// Writes bytes in a typed envelope, as kombu does: as text if they are UTF-8, else in base64.
pub(crate) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => write_envelope(out, "bytes", text),
        Err(_) => write_envelope(out, "base64", &base64::encode(bytes)),
    }
}

fn write_envelope(out: &mut Vec<u8>, kind: &str, text: &str) {
    out.extend_from_slice(br#"{"__type__": ""#);
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(br#"", "__value__": "#);
    write_str(out, text);
    out.push(b'}');
}
