//! Exceptions in result documents: class, module and constructor arguments.

use std::fmt;

use crate::json::map_writer::{write_jsons, write_text};
use crate::json::text::Json;
use crate::json::write::write_str;
use crate::value::repr::repr_value;
use crate::value::repr_plain;
use crate::value::value::Value;

/// An exception in a result document, Celery's map of `exc_type`, `exc_message` and `exc_module`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ExceptionInfo {
    /// The class, for example `ValueError`; with dots if it is nested.
    pub exc_type: String,
    /// The constructor's arguments; usually one text.
    pub exc_message: Vec<Json>,
    /// The module of the class, for example `builtins`; `None` if it is unknown.
    pub exc_module: Option<String>,
}

impl ExceptionInfo {
    /// An exception with one text as its argument.
    pub fn new(module: &str, class: &str, message: impl AsRef<str>) -> Self {
        Self::with_args(module, class, vec![text(message.as_ref())])
    }

    /// An exception with these arguments.
    pub fn with_args(module: &str, class: &str, args: Vec<Json>) -> Self {
        Self { exc_type: class.into(), exc_message: args, exc_module: Some(module.into()) }
    }

    /// An exception of the class with this dotted path, such as `builtins.ValueError`. Without a dot it is in
    /// `builtins`.
    pub fn from_path(path: &str, message: impl AsRef<str>) -> Self {
        let (module, class) = path.rsplit_once('.').unwrap_or(("builtins", path));
        Self::new(module, class, message)
    }

    /// `celery.exceptions.TaskRevokedError`. The reason is `revoked`, `expired` or `terminated`.
    pub fn task_revoked(reason: &str) -> Self {
        Self::new("celery.exceptions", "TaskRevokedError", reason)
    }

    /// `celery.exceptions.NotRegistered` with the task's name.
    pub fn not_registered(task: &str) -> Self {
        Self::new("celery.exceptions", "NotRegistered", task)
    }

    /// `billiard.exceptions.TimeLimitExceeded` with the hard limit in seconds.
    pub fn time_limit_exceeded(seconds: f64) -> Self {
        Self::with_args("billiard.exceptions", "TimeLimitExceeded", vec![seconds_json(seconds)])
    }

    /// `billiard.exceptions.SoftTimeLimitExceeded`, without arguments.
    pub fn soft_time_limit_exceeded() -> Self {
        Self::with_args("billiard.exceptions", "SoftTimeLimitExceeded", Vec::new())
    }

    /// `celery.exceptions.MaxRetriesExceededError`.
    pub fn max_retries_exceeded(message: impl AsRef<str>) -> Self {
        Self::new("celery.exceptions", "MaxRetriesExceededError", message)
    }

    /// `billiard.exceptions.WorkerLostError`.
    pub fn worker_lost(message: impl AsRef<str>) -> Self {
        Self::new("billiard.exceptions", "WorkerLostError", message)
    }

    /// `celery.exceptions.Reject` with its reason and whether the message is requeued.
    pub fn reject(reason: Option<&str>, requeue: bool) -> Self {
        let requeue = if requeue { "true" } else { "false" };
        let args = vec![reason.map_or(Json::NULL, text), Json::from_checked(requeue.into())];
        Self::with_args("celery.exceptions", "Reject", args)
    }

    /// `celery.exceptions.ChordError`.
    pub fn chord_error(message: impl AsRef<str>) -> Self {
        Self::new("celery.exceptions", "ChordError", message)
    }

    /// `builtins.TypeError`, for arguments that do not fit the task.
    pub fn type_error(message: impl AsRef<str>) -> Self {
        Self::new("builtins", "TypeError", message)
    }

    /// The exception as the JSON map that Celery stores.
    pub fn to_json(&self) -> Json {
        let mut out = Vec::with_capacity(96);
        out.extend_from_slice(b"{\"exc_type\": ");
        write_str(&mut out, &self.exc_type);
        out.extend_from_slice(b", \"exc_message\": ");
        write_jsons(&mut out, &self.exc_message);
        out.extend_from_slice(b", \"exc_module\": ");
        write_text(&mut out, self.exc_module.as_deref());
        out.push(b'}');
        Json::from_checked(out.into())
    }

    /// Reads the result of a failure. A value that is not such a map becomes the argument of a Python `Exception`, so
    /// that nothing is lost.
    pub fn from_json(json: &Json) -> Self {
        Self::from_map(json).unwrap_or_else(|| Self {
            exc_type: "Exception".into(),
            exc_message: if json.is_null() { Vec::new() } else { vec![json.clone()] },
            exc_module: Some("builtins".into()),
        })
    }

    fn from_map(json: &Json) -> Option<Self> {
        let entries: std::collections::HashMap<String, Json> = json.decode().ok()?;
        let exc_type: String = entries.get("exc_type")?.decode().ok()?;
        let exc_message = match entries.get("exc_message") {
            None => Vec::new(),
            Some(message) if message.is_null() => Vec::new(),
            Some(message) => message.decode().unwrap_or_else(|_| vec![message.clone()]),
        };
        let exc_module = entries.get("exc_module").and_then(|module| module.decode().ok());
        Some(Self { exc_type, exc_message, exc_module })
    }

    /// The message for people: the text of the only argument, or several arguments as Python shows a tuple.
    pub fn message(&self) -> String {
        match &self.exc_message[..] {
            [] => String::new(),
            [one] => match one.to_value() {
                Ok(Value::Str(text)) => text,
                _ => repr_value(one),
            },
            args => crate::value::repr::args_repr(args),
        }
    }

    /// What Python's `repr` returns, of any length: `ValueError("it's")`.
    pub fn python_repr(&self) -> String {
        let class = self.exc_type.rsplit('.').next().unwrap_or_default();
        let args: Vec<String> = self.exc_message.iter().map(repr_plain::repr).collect();
        format!("{class}({})", args.join(", "))
    }

    /// Whether it is of this class, given by name (`ValueError`) or by dotted path (`builtins.ValueError`).
    pub fn is(&self, class: &str) -> bool {
        match (class.strip_suffix(&self.exc_type), &self.exc_module) {
            (Some(""), _) => true,
            (Some(module), Some(own)) => module.strip_suffix('.') == Some(own),
            _ => false,
        }
    }
}

/// The exception as Python shows it, cut as in Celery's logs: `ValueError('boom')`. Each argument has at most 1,024
/// characters.
impl fmt::Display for ExceptionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = self.exc_type.rsplit('.').next().unwrap_or_default();
        let args: Vec<String> = self.exc_message.iter().map(repr_value).collect();
        write!(f, "{class}({})", args.join(", "))
    }
}

impl serde::Serialize for ExceptionInfo {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for ExceptionInfo {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_json(&Json::deserialize(deserializer)?))
    }
}

fn text(text: &str) -> Json {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_str(&mut out, text);
    Json::from_checked(out.into())
}

fn seconds_json(seconds: f64) -> Json {
    let mut out = Vec::new();
    crate::json::map_writer::write_seconds(&mut out, Some(seconds));
    Json::from_checked(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_round_trips() {
        let info = ExceptionInfo::new("builtins", "ValueError", "boom");
        let json = r#"{"exc_type": "ValueError", "exc_message": ["boom"], "exc_module": "builtins"}"#;
        assert_eq!(info.to_json().as_str(), json);
        assert_eq!(ExceptionInfo::from_json(&Json::from_text(json).unwrap()), info);
        assert_eq!(info.to_string(), "ValueError('boom')");
        assert_eq!(info.message(), "boom");
    }

    #[test]
    fn feature_4_1_24_reads_what_others_write() {
        let read = |text: &str| ExceptionInfo::from_json(&Json::from_text(text).unwrap());
        assert_eq!(read(r#"{"exc_type": "A.B", "exc_message": "oh"}"#).to_string(), "B('oh')");
        assert_eq!(
            read(r#"{"exc_type": "E", "exc_message": ["a", 1, null], "exc_module": null}"#).to_string(),
            "E('a', 1, None)"
        );
        assert_eq!(read("\"just text\"").to_string(), "Exception('just text')");
        assert_eq!(read("null").to_string(), "Exception()");
        assert_eq!(read("{\"a\": 1}").to_string(), "Exception({'a': 1})");
    }

    #[test]
    fn the_exceptions_of_celery_have_its_arguments() {
        assert_eq!(ExceptionInfo::reject(None, true).to_string(), "Reject(None, True)");
        assert_eq!(ExceptionInfo::time_limit_exceeded(2.0).to_string(), "TimeLimitExceeded(2)");
        assert_eq!(ExceptionInfo::time_limit_exceeded(0.5).to_string(), "TimeLimitExceeded(0.5)");
        assert_eq!(ExceptionInfo::soft_time_limit_exceeded().to_string(), "SoftTimeLimitExceeded()");
        assert_eq!(ExceptionInfo::from_path("proj.errors.Bad", "x").exc_module.as_deref(), Some("proj.errors"));
        let info = ExceptionInfo::task_revoked("expired");
        assert!(info.is("TaskRevokedError") && info.is("celery.exceptions.TaskRevokedError"));
        assert!(!info.is("other.TaskRevokedError") && !info.is("Error"));
    }
}
