//! The replies of workers to a command.

use std::fmt;

use apium_protocol::error::Result as ProtocolResult;
use apium_protocol::json::text::Json;
use apium_protocol::message::control::ControlReply;
use apium_protocol::value::value::Value;

/// Why a worker's reply has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyError {
    /// The worker answered with an error, in its own words (`{"error": …}`).
    Refused(String),
    /// The answer is not what this command has as its answer; the text says why.
    Unreadable(String),
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) => write!(f, "the worker refused: {text}"),
            Self::Unreadable(why) => write!(f, "read the answer of the worker: {why}"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// The reply of one worker.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Reply<T> {
    /// The name of the node: `w1@host`.
    pub node: String,
    /// What it answered, or why there is no answer.
    pub answer: Result<T, ReplyError>,
    /// The whole answer as it came: `{"ok": …}`, `{"error": …}`, or the data of an inspection.
    pub raw: Json,
}

/// The replies to a command, in the order in which they came. There is none where nobody replied (Celery: `None`).
#[derive(Debug, Clone, PartialEq)]
pub struct Replies<T>(Vec<Reply<T>>);

/// How the answer of a command is read. It gets what stands under `ok`, or all of it.
pub(crate) type ReadAnswer<T> = fn(&Json) -> ProtocolResult<T>;

impl<T> Reply<T> {
    /// Reads a reply.
    pub(crate) fn of(reply: ControlReply, read: ReadAnswer<T>) -> Self {
        let ControlReply { node, answer: raw, .. } = reply;
        let answer = match outcome(&raw) {
            Ok(data) => read(&data).map_err(|error| ReplyError::Unreadable(format!("{error:#}"))),
            Err(text) => Err(ReplyError::Refused(text)),
        };
        Self { node, answer, raw }
    }
}

/// What stands under `ok`, the text under `error`, or else the whole answer.
fn outcome(raw: &Json) -> Result<Json, String> {
    let Ok(Value::Map(mut entries)) = raw.to_value() else { return Ok(raw.clone()) };
    match entries.as_mut_slice() {
        [(key, value)] if key == "ok" => Ok(Json::from_value(value)),
        [(key, Value::Str(text))] if key == "error" => Err(std::mem::take(text)),
        [(key, value)] if key == "error" => Err(Json::from_value(value).to_utf8()),
        _ => Ok(raw.clone()),
    }
}

impl<T> Replies<T> {
    pub(crate) fn new(replies: Vec<Reply<T>>) -> Self {
        Self(replies)
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// How many replies there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody replied.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The replies, one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Reply<T>> {
        self.0.iter()
    }

    /// The reply of a node; its last one, should it have replied twice.
    pub fn get(&self, node: &str) -> Option<&Reply<T>> {
        self.0.iter().rev().find(|reply| reply.node == node)
    }

    /// Each node with what it answered, without those that answered with an error.
    pub fn answers(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().filter_map(|reply| Some((reply.node.as_str(), reply.answer.as_ref().ok()?)))
    }

    /// Each node whose reply has no answer, with the reason.
    pub fn errors(&self) -> impl Iterator<Item = (&str, &ReplyError)> {
        self.0.iter().filter_map(|reply| Some((reply.node.as_str(), reply.answer.as_ref().err()?)))
    }
}

impl<T> Default for Replies<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> IntoIterator for Replies<T> {
    type Item = Reply<T>;
    type IntoIter = std::vec::IntoIter<Reply<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Replies<T> {
    type Item = &'a Reply<T>;
    type IntoIter = std::slice::Iter<'a, Reply<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Reads the text of a confirmation. What is no text is shown as JSON.
pub(crate) fn confirmation(answer: &Json) -> ProtocolResult<String> {
    Ok(match answer.to_value()? {
        Value::Str(text) => text,
        _ => answer.to_utf8(),
    })
}

/// Takes the answer as it is.
pub(crate) fn as_it_is(answer: &Json) -> ProtocolResult<Json> {
    Ok(answer.clone())
}

/// Decodes the answer with serde.
pub(crate) fn decoded<T: serde::de::DeserializeOwned>(answer: &Json) -> ProtocolResult<T> {
    answer.decode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_stands_under_ok_or_all_of_it() {
        let table = [
            (r#"{"ok": "pong"}"#, Ok(r#""pong""#)),
            (r#"{"ok": {"a": 1}}"#, Ok(r#"{"a": 1}"#)),
            (r#"{"ok": 1, "b": 2}"#, Ok(r#"{"ok": 1, "b": 2}"#)),
            ("[1]", Ok("[1]")),
            ("null", Ok("null")),
            ("{}", Ok("{}")),
            (r#"{"error": "unknown task"}"#, Err("unknown task")),
            (r#"{"error": {"code": 1}}"#, Err(r#"{"code": 1}"#)),
        ];
        for (raw, expected) in table {
            let found = outcome(&Json::from_text(raw).unwrap());
            let expected = expected.map(|text| Json::from_text(text).unwrap()).map_err(str::to_owned);
            assert_eq!(found, expected, "{raw}");
        }
    }
}
