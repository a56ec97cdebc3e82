//! A dead message in words and as JSON.

use apium_protocol::json::base64;
use apium_transport::broker::dead_set::DeadLetter;
use serde_json::{Value, json};

/// What `dead list --json` says of one.
pub(crate) fn summary(letter: &DeadLetter) -> Value {
    json!({
        "key": letter.key,
        "at": letter.at.to_string(),
        "queue": letter.queue,
        "task": letter.task,
        "task_id": letter.task_id,
        "code": letter.code,
        "reason": letter.reason,
    })
}

/// What `dead show --json` says: the bytes in base64 too.
pub(crate) fn whole(letter: &DeadLetter) -> Value {
    let mut value = summary(letter);
    let content = match (&letter.message, &letter.raw) {
        (Some(message), _) => json!({
            "content_type": message.properties.content_type,
            "content_encoding": message.properties.content_encoding,
            "compression": message.headers.compression,
            "retries": message.headers.retries,
            "origin": message.headers.origin.as_deref(),
            "argsrepr": message.headers.argsrepr,
            "kwargsrepr": message.headers.kwargsrepr,
            "body": base64::encode(&message.body),
        }),
        (None, raw) => json!({ "raw": base64::encode(raw.as_deref().unwrap_or_default()) }),
    };
    if let (Value::Object(all), Value::Object(more)) = (&mut value, content) {
        all.extend(more);
    }
    value
}

/// What `dead show` prints.
pub(crate) fn describe(letter: &DeadLetter) -> Vec<String> {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut lines = vec![
        format!("key      {}", letter.key),
        format!("at       {}", letter.at),
        format!("reason   {}: {}", letter.code, letter.reason),
        format!("queue    {}", letter.queue),
        format!("task     {}", or_dash(&letter.task)),
        format!("id       {}", or_dash(&letter.task_id)),
    ];
    let bytes = match (&letter.message, &letter.raw) {
        (Some(message), _) => {
            let text = |part: &Option<std::borrow::Cow<'static, str>>| part.as_deref().unwrap_or("-").to_owned();
            lines.push(format!(
                "content  {}, {}",
                text(&message.properties.content_type),
                text(&message.properties.content_encoding)
            ));
            lines.push(format!("packed   {}", text(&message.headers.compression)));
            lines.push(format!("retries  {}", message.headers.retries));
            &message.body
        }
        (None, Some(raw)) => raw,
        (None, None) => return lines,
    };
    lines.push(format!("bytes    {}", bytes.len()));
    lines.push(excerpt(bytes));
    lines
}

/// How much of the bytes is shown.
const SHOWN: usize = 2048;

/// The start of the bytes, with control characters escaped.
fn excerpt(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)])
        .chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect();
    if bytes.len() > SHOWN { format!("{text} …") } else { text }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn letter() -> DeadLetter {
        let mut letter = DeadLetter::new(
            7,
            "undecodable".into(),
            "the body is no JSON".into(),
            "2026-12-01T08:00:00Z".parse().unwrap(),
            "celery".into(),
        );
        letter.raw = Some(Bytes::from_static(b"\x00[1,"));
        letter
    }

    #[test]
    fn bytes_that_are_no_message_are_shown_escaped() {
        let text = describe(&letter()).join("\n");
        assert!(text.contains("undecodable: the body is no JSON") && text.ends_with("\\u{0}[1,"), "{text}");
    }

    #[test]
    fn the_json_has_the_bytes_in_base64() {
        assert_eq!(whole(&letter())["raw"], "AFsxLA==");
        assert_eq!(whole(&letter())["key"], 7);
    }
}
