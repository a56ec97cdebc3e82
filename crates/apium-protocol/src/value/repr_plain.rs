//! Values as Python's own `repr` shows them: of any length, and quoted as Python quotes.

use std::fmt::Write as _;

use crate::json::text::Json;
use crate::value::repr::repr_value;
use crate::value::value::Value;

/// A value as Python's `repr` shows it. JSON that cannot be decoded is shown as by [`repr_value`].
pub fn repr(json: &Json) -> String {
    match json.to_value() {
        Ok(value) => {
            let mut out = String::new();
            write(&value, &mut out);
            out
        }
        Err(_) => repr_value(json),
    }
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Str(text) => quote(text, out),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (index, (key, item)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                quote(key, out);
                out.push_str(": ");
                write(item, out);
            }
            out.push('}');
        }
        // Numbers, dates and the like are shown in the same way.
        other => out.push_str(&repr_value(&Json::from_value(other))),
    }
}

/// Writes a text in single quotes, or in double quotes if it contains single ones and no double ones.
fn quote(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            own if own == quote => {
                out.push('\\');
                out.push(own);
            }
            control if control.is_control() => {
                // Writing to a text does not fail.
                let _ = write!(out, "\\x{:02x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push(quote);
}

#[cfg(test)]
mod tests {
    use super::repr;
    use crate::json::text::Json;

    #[test]
    fn quotes_are_chosen_as_python_chooses_them() {
        for (text, wanted) in [
            ("boom", "'boom'"),
            ("it's", "\"it's\""),
            ("\"", "'\"'"),
            ("it's \"", "'it\\'s \"'"),
            ("a\\b\nc\u{1}", "'a\\\\b\\nc\\x01'"),
        ] {
            assert_eq!(repr(&Json::from_serialize(text).unwrap()), wanted);
        }
    }

    #[test]
    fn values_nest_and_are_shown_whole() {
        let json = Json::from_text(r#"[1, 2.0, null, true, {"a": ["it's"]}]"#).unwrap();
        assert_eq!(repr(&json), "[1, 2.0, None, True, {'a': [\"it's\"]}]");
        let long = "x".repeat(3_000);
        assert_eq!(repr(&Json::from_serialize(&long).unwrap()).len(), 3_002);
    }
}
