//! The reply of a worker as Celery's command line prints it.

use apium_protocol::json::text::Json;
use apium_protocol::value::repr::repr_value;
use apium_protocol::value::value::Value;

/// How deep maps are shown.
const DEEPEST: usize = 64;

/// `->  w1@host: OK`, and the answer below it, indented.
pub(crate) fn chat(node: &str, raw: &Json, with_answer: bool) -> Vec<String> {
    let (status, answer) = pretty(raw, DEEPEST);
    let mut lines = vec![format!("->  {node}: {status}")];
    if with_answer && !answer.is_empty() {
        lines.extend(indented(&answer));
    }
    lines
}

/// The lines of a text, four columns in.
fn indented(text: &str) -> Vec<String> {
    text.split('\n').map(|line| format!("    {line}")).collect()
}

fn pretty(raw: &Json, deeper: usize) -> (&'static str, String) {
    let Ok(value) = raw.to_value() else { return ("OK", raw.to_utf8()) };
    match &value {
        Value::List(items) if items.is_empty() => ("OK", "- empty -".to_owned()),
        Value::List(items) => {
            let line = |item: &Value| format!("* {}", plain(item));
            ("OK", items.iter().map(line).collect::<Vec<_>>().join("\n"))
        }
        Value::Map(_) if deeper > 0 && (value.get("ok").is_some() || value.get("error").is_some()) => {
            let (status, inner) = match (value.get("ok"), value.get("error")) {
                (Some(inner), _) => ("OK", inner),
                (None, inner) => ("ERROR", inner.unwrap_or(&Value::Null)),
            };
            (status, indented(&pretty(&Json::from_value(inner), deeper - 1).1).join("\n"))
        }
        Value::Map(_) => {
            let mut text = String::new();
            write_sorted(&value, 0, &mut text);
            ("OK", text)
        }
        other => ("OK", plain(other)),
    }
}

/// Python's `str`: a text as it is, anything else as Python writes it.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        other => repr_value(&Json::from_value(other)),
    }
}

/// Python's `json.dumps(value, sort_keys=True, indent=4)`, in UTF-8.
fn write_sorted(value: &Value, level: usize, out: &mut String) {
    let line = |level: usize, out: &mut String| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', level * 4));
    };
    match value {
        Value::Map(entries) if !entries.is_empty() && level < DEEPEST => {
            let mut sorted: Vec<&(String, Value)> = entries.iter().collect();
            sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
            out.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                line(level + 1, out);
                out.push_str(&Json::from_value(&Value::Str(key.clone())).to_utf8());
                out.push_str(": ");
                write_sorted(value, level + 1, out);
            }
            line(level, out);
            out.push('}');
        }
        Value::List(items) if !items.is_empty() && level < DEEPEST => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                line(level + 1, out);
                write_sorted(item, level + 1, out);
            }
            line(level, out);
            out.push(']');
        }
        other => out.push_str(&Json::from_value(other).to_utf8()),
    }
}

/// A line of JSON of replies: a map by node as `inspect` prints it, or a list of maps as `control` does.
pub(crate) fn json<'a>(replies: impl Iterator<Item = (&'a str, &'a Json)>, as_map: bool) -> String {
    let entry = |(node, raw): (&str, &Json)| {
        format!("{}: {}", Json::from_value(&Value::Str(node.to_owned())).to_utf8(), raw.to_utf8())
    };
    let entries = replies.map(entry);
    match as_map {
        true => format!("{{{}}}", entries.collect::<Vec<_>>().join(", ")),
        false => format!("[{}]", entries.map(|entry| format!("{{{entry}}}")).collect::<Vec<_>>().join(", ")),
    }
}

/// `2 nodes online.`
pub(crate) fn online(count: usize) -> String {
    format!("{count} {} online.", if count == 1 { "node" } else { "nodes" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_printed_as_celery_prints_them() {
        let table = [
            (r#"{"ok": "pong"}"#, "->  w@h: OK\n        pong"),
            (r#"{"error": "unknown task"}"#, "->  w@h: ERROR\n        unknown task"),
            ("[]", "->  w@h: OK\n    - empty -"),
            (
                r#"["tasks.add", {"id": "x", "ok": true}]"#,
                "->  w@h: OK\n    * tasks.add\n    * {'id': 'x', 'ok': True}",
            ),
            (
                r#"{"b": [1, {}], "a": {"c": "é"}}"#,
                "->  w@h: OK\n    {\n        \"a\": {\n            \"c\": \"é\"\n        },\n        \"b\": [\n            1,\n            {}\n        ]\n    }",
            ),
            ("null", "->  w@h: OK\n    None"),
            ("12", "->  w@h: OK\n    12"),
            (r#""59.3MB""#, "->  w@h: OK\n    59.3MB"),
        ];
        for (raw, expected) in table {
            assert_eq!(chat("w@h", &Json::from_text(raw).unwrap(), true).join("\n"), expected, "{raw}");
        }
        let pong = Json::from_text(r#"{"ok": "pong"}"#).unwrap();
        assert_eq!(chat("w@h", &pong, false), ["->  w@h: OK"]);
    }

    #[test]
    fn json_is_a_map_or_a_list_of_maps() {
        let pong = Json::from_text(r#"{"ok": "pong"}"#).unwrap();
        let replies = || [("a@h", &pong), ("b@h", &pong)].into_iter();
        assert_eq!(json(replies(), true), r#"{"a@h": {"ok": "pong"}, "b@h": {"ok": "pong"}}"#);
        assert_eq!(json(replies(), false), r#"[{"a@h": {"ok": "pong"}}, {"b@h": {"ok": "pong"}}]"#);
        assert_eq!((online(1), online(2)), ("1 node online.".to_owned(), "2 nodes online.".to_owned()));
    }
}
