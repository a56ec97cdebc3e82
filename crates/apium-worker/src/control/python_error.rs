//! Errors of commands, as the tools of Celery know them: the `repr` of a Python exception.

use apium_protocol::json::text::Json;
use apium_protocol::value::repr_plain::repr;

/// An exception of Python: its type, and its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PythonError(String);

impl PythonError {
    /// An exception with a message, such as `ValueError('Autoscale not enabled')`.
    pub(crate) fn new(kind: &str, message: &str) -> Self {
        Self(format!("{kind}({})", quoted(message)))
    }

    pub(crate) fn type_error(message: &str) -> Self {
        Self::new("TypeError", message)
    }

    pub(crate) fn value_error(message: &str) -> Self {
        Self::new("ValueError", message)
    }

    /// A `repr` that is written already.
    pub(crate) fn of_repr(repr: String) -> Self {
        Self(repr)
    }

    /// The reply.
    pub(crate) fn into_reply(self) -> Json {
        error_reply(&self.0)
    }
}

/// `{"ok": …}`.
pub(crate) fn ok_reply(text: &str) -> Json {
    reply("ok", text)
}

/// `{"error": …}`.
pub(crate) fn error_reply(text: &str) -> Json {
    reply("error", text)
}

fn reply(key: &str, text: &str) -> Json {
    Json::from_serialize(&serde_json::json!({ key: text })).unwrap_or(Json::NULL)
}

/// A text as Python shows it.
pub(crate) fn quoted(text: &str) -> String {
    Json::from_serialize(text).map(|json| repr(&json)).unwrap_or_default()
}

/// A set of texts as Python shows it, in this order.
pub(crate) fn set_repr<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<String> = items.into_iter().map(quoted).collect();
    if items.is_empty() { "set()".to_owned() } else { format!("{{{}}}", items.join(", ")) }
}
