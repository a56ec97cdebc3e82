//! Writing YAML: one line in flow style (`{"a": [1, 2]}`).

use crate::json::base64;
use crate::json::write::{write_display, write_f64};
use crate::timestamp;
use crate::value::value::Value;

/// The longest key that is written without a `?` before it. YAML's limit is 1,024.
const LONGEST_SIMPLE_KEY: usize = 900;

/// Writes a value; maps are sorted by key.
pub(crate) fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => write_display(out, value),
        Value::Int(value) => write_display(out, value),
        // The JSON writer checks the digits.
        Value::BigInt(_) => write_display(out, value),
        Value::Float(value) => write_float(out, *value),
        Value::Str(text) | Value::Time(text) | Value::Decimal(text) => write_text(out, text),
        Value::DateTime(text) | Value::Date(text) => {
            if is_timestamp(text) {
                out.extend_from_slice(b"!!timestamp ");
            }
            write_text(out, text);
        }
        Value::Uuid(uuid) => write_text(out, &uuid.to_string()),
        Value::Bytes(bytes) => {
            out.extend_from_slice(b"!!binary ");
            write_text(out, &base64::encode(bytes));
        }
        Value::List(list) => {
            out.push(b'[');
            for (i, value) in list.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                write(out, value);
            }
            out.push(b']');
        }
        Value::Map(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
            out.push(b'{');
            for (i, (key, value)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                let mut text = Vec::new();
                write_text(&mut text, key);
                if text.len() > LONGEST_SIMPLE_KEY {
                    out.extend_from_slice(b"? ");
                }
                out.extend_from_slice(&text);
                out.extend_from_slice(b": ");
                write(out, value);
            }
            out.push(b'}');
        }
    }
}

/// Writes a float so that YAML 1.1 reads it as a float: with a decimal point, and with a sign in the exponent.
fn write_float(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b".nan");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b".inf" } else { b"-.inf" });
    }
    let start = out.len();
    write_f64(out, value);
    let text = &out[start..];
    if !text.contains(&b'.')
        && let Some(at) = text.iter().position(|&b| b == b'e')
    {
        out.splice(start + at..start + at, *b".0");
    }
}

/// Writes a text in double quotes, in ASCII.
fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\t' => out.extend_from_slice(b"\\t"),
            ' '..='~' => out.push(c as u8),
            c if u32::from(c) <= 0xff => write_display(out, format_args!("\\x{:02X}", u32::from(c))),
            c if u32::from(c) <= 0xffff => write_display(out, format_args!("\\u{:04X}", u32::from(c))),
            c => write_display(out, format_args!("\\U{:08X}", u32::from(c))),
        }
    }
    out.push(b'"');
}

/// Whether PyYAML reads the text as a timestamp: a date, or a date with hours, minutes and seconds.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    let dashes = bytes.len() >= 10 && bytes[4] == b'-' && bytes[7] == b'-';
    let clock = bytes.len() == 10 || bytes.len() >= 19 && bytes[13] == b':' && bytes[16] == b':';
    text.is_ascii() && dashes && clock && timestamp::split(text).is_some()
}
