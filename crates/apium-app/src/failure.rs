//! A task's failure: the exception as messages and results have it, and the Rust error of which it was made, if any.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use apium_protocol::error::Result;
use apium_protocol::json::text::Json;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::value::printable::printable;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A task's failure. Cheap to clone.
#[derive(Clone)]
pub struct Failure(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    exception: ExceptionInfo,
    traceback: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    judgement: Option<Judgement>,
}

/// What the options of a task say about a failure. It is decided where the body ran, because the options name Rust
/// error types; after that it is data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Judgement {
    /// `autoretry_for` names it and `dont_autoretry_for` does not.
    pub autoretry: bool,
    /// `throws` names it.
    pub expected: bool,
    /// The arguments of the call do not fit the task, so the body did not begin.
    pub bad_arguments: bool,
}

/// The arguments of a call do not fit the task, so that its body did not begin. A retry does not help.
#[derive(Debug)]
struct ArgumentMismatch(String);

impl fmt::Display for ArgumentMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for ArgumentMismatch {}

/// The arguments of the exception for an error, as a JSON list; `None` for an error of another type.
pub type WireArgs = fn(&(dyn StdError + 'static)) -> Option<Result<Json>>;

/// Whether this error, its sources not looked at, says that a broker or a store is away.
pub(crate) fn is_outage(error: &(dyn StdError + 'static)) -> bool {
    let error = error.downcast_ref::<apium_transport::error::Error>();
    error.is_some_and(|error| error.is_retryable() || error.kind() == apium_transport::error::ErrorKind::Closed)
}

/// The Python class of a Rust error type (`#[wire_error(py = "builtins.ValueError")]`).
#[derive(Clone, Copy)]
pub struct WireErrorEntry {
    /// Whether an error is of the Rust type.
    pub is: fn(&(dyn StdError + 'static)) -> bool,
    /// `module.Class` in Python.
    pub py: &'static str,
    /// The arguments of the exception, a JSON list; `None` where its text is the one argument.
    pub args: Option<WireArgs>,
}

#[cfg(feature = "autodiscover")]
inventory::collect!(WireErrorEntry);

/// An error type with a class in Python. `#[wire_error]` implements it.
pub trait WireError: 'static {
    /// The class.
    #[doc(hidden)]
    const ENTRY: WireErrorEntry;
}

impl Failure {
    /// A failure with a message and without an error type.
    pub fn message(message: impl Into<String>) -> Self {
        Self::from_exception(ExceptionInfo::from_path("apium.TaskError", message.into()))
    }

    /// A failure of an exception.
    pub fn from_exception(exception: ExceptionInfo) -> Self {
        Self(Arc::new(Inner { exception, traceback: None, source: None, judgement: None }))
    }

    /// A failure of an exception, with the Rust error of which it was made and its traceback.
    pub(crate) fn with_error(
        exception: ExceptionInfo,
        traceback: String,
        error: Arc<dyn StdError + Send + Sync>,
    ) -> Self {
        Self(Arc::new(Inner { exception, traceback: Some(traceback), source: Some(error), judgement: None }))
    }

    /// The arguments of a call do not fit the task: Python's `TypeError` with this text.
    pub(crate) fn argument_mismatch(text: &str) -> Self {
        let exception = ExceptionInfo::from_path("builtins.TypeError", text);
        Self::of_exception(exception, ArgumentMismatch(text.to_owned()))
    }

    /// Whether it says that the arguments of a call do not fit the task.
    pub(crate) fn is_argument_mismatch(&self) -> bool {
        self.source().is_some_and(|error| error.is::<ArgumentMismatch>())
    }

    /// A failure of a Python class, named as `module.Class`, with the message as its one argument.
    pub fn of_class(path: &str, message: &str) -> Self {
        Self::from_exception(ExceptionInfo::from_path(path, message))
    }

    /// The soft time limit has passed.
    pub fn soft_time_limit() -> Self {
        Self::from_exception(ExceptionInfo::soft_time_limit_exceeded())
    }

    /// The hard time limit of so many seconds has passed.
    pub fn time_limit(seconds: f64) -> Self {
        Self::from_exception(ExceptionInfo::time_limit_exceeded(seconds))
    }

    /// The same failure with another traceback.
    #[must_use]
    pub fn with_traceback(self, traceback: impl Into<String>) -> Self {
        Self(Arc::new(Inner { traceback: Some(traceback.into()), ..Arc::unwrap_or_clone(self.0) }))
    }

    /// The same failure with what the options of its task say about it.
    #[must_use]
    pub fn judged(self, judgement: Judgement) -> Self {
        Self(Arc::new(Inner { judgement: Some(judgement), ..Arc::unwrap_or_clone(self.0) }))
    }

    /// What the options of its task say about it; `None` where no body of a task raised it.
    pub fn judgement(&self) -> Option<Judgement> {
        self.0.judgement
    }

    /// The exception, as messages and results have it.
    pub fn exception(&self) -> &ExceptionInfo {
        &self.0.exception
    }

    /// The text of the traceback: the error and its sources, or what a Python worker stored.
    pub fn traceback(&self) -> Option<&str> {
        self.0.traceback.as_deref()
    }

    /// The text of the traceback. For a failure without one it is what Python prints for an exception that was not
    /// raised.
    pub fn traceback_text(&self) -> Cow<'_, str> {
        match self.traceback() {
            Some(text) => Cow::Borrowed(text),
            None => {
                let ExceptionInfo { exc_type, exc_module, .. } = self.exception();
                let module = exc_module.as_deref().filter(|module| *module != "builtins");
                let module = module.map(|module| format!("{module}.")).unwrap_or_default();
                let message = self.exception().message();
                let text = if message.is_empty() { message } else { format!(": {message}") };
                Cow::Owned(format!("Traceback (most recent call last):\n{module}{exc_type}{text}\n"))
            }
        }
    }

    /// The Rust error of which it was made, if any.
    pub fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }

    /// Whether it was made of an error that says that a broker or a store could not be reached, could not do it at the
    /// moment, or was closed. That is no fault of the task, which may succeed later.
    pub fn is_outage(&self) -> bool {
        self.any_source(is_outage)
    }

    /// Whether the error or one of its sources satisfies `test`. So `autoretry_for` and `throws` find error types.
    pub fn any_source(&self, test: impl Fn(&(dyn StdError + 'static)) -> bool) -> bool {
        let mut next = self.source();
        while let Some(error) = next {
            if test(error) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// A failure as data. The Rust error of which it was made stays behind.
#[derive(Serialize, Deserialize)]
struct FailureData {
    exc_type: String,
    exc_message: Vec<Json>,
    exc_module: Option<String>,
    /// A text. As JSON, since half a surrogate pair in it must not change the arguments beside it.
    traceback: Option<Json>,
    judgement: Option<Judgement>,
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Inner { exception, traceback, judgement, .. } = &*self.0;
        let ExceptionInfo { exc_type, exc_message, exc_module, .. } = exception.clone();
        let traceback = traceback.as_ref().and_then(|text| Json::from_serialize(text).ok());
        let judgement = *judgement;
        FailureData { exc_type, exc_message, exc_module, traceback, judgement }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Failure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let data = FailureData::deserialize(deserializer)?;
        let FailureData { exc_type, exc_message, exc_module, traceback, judgement } = data;
        let mut exception = ExceptionInfo::with_args("", &exc_type, exc_message);
        exception.exc_module = exc_module;
        let traceback = traceback.and_then(|text| text.decode::<Option<String>>().ok()).flatten();
        Ok(Self(Arc::new(Inner { exception, traceback, source: None, judgement })))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({})", printable(self))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.exception.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Judgement};
    use apium_protocol::json::text::Json;
    use apium_protocol::result::exception::ExceptionInfo;

    #[test]
    fn an_error_keeps_its_type_its_text_and_its_sources() {
        let failure = Failure::from_error("x".parse::<u8>().unwrap_err());
        let exception = failure.exception();
        assert_eq!(exception.exc_type, "ParseIntError");
        assert_eq!(exception.exc_module.as_deref(), Some("core.num.error"));
        assert_eq!(exception.exc_message, [Json::from_serialize("invalid digit found in string").unwrap()]);
        assert!(failure.any_source(|error| error.is::<std::num::ParseIntError>()));
        let traceback = failure.traceback().unwrap();
        assert!(traceback.contains("ParseIntError: invalid digit"), "{traceback}");
    }

    #[test]
    fn another_traceback_keeps_the_source_even_when_shared() {
        let failure = Failure::from_error(std::fmt::Error);
        let shared = failure.clone();
        let with = failure.with_traceback("written by the test");
        assert_eq!(with.traceback(), Some("written by the test"));
        assert!(with.source().is_some() && shared.source().is_some());
    }

    #[test]
    fn a_failure_as_data_is_the_same_but_for_the_error_behind_it() {
        let odd = Json::from_text(r#""\udce9.txt""#).unwrap();
        let exception = ExceptionInfo::with_args("builtins", "ValueError", vec![odd, Json::NULL]);
        let judgement = Judgement { expected: true, ..Judgement::default() };
        let failure = Failure::from_exception(exception).with_traceback("line\nline").judged(judgement);
        let read: Failure = Json::from_serialize(&failure).unwrap().decode().unwrap();
        assert_eq!(read.exception(), failure.exception());
        assert_eq!((read.traceback(), read.judgement()), (Some("line\nline"), Some(judgement)));
        let text = r#"{"exc_type": "E", "exc_message": ["\udce9"], "traceback": "E: \udce9", "repr": "\udce9"}"#;
        let read: Failure = Json::from_text(text).unwrap().decode().unwrap();
        assert_eq!(read.exception().exc_message[0].as_str(), r#""\udce9""#);
        assert_eq!(read.traceback(), Some("E: \u{fffd}"));
    }

    #[test]
    fn an_outage_is_found_behind_errors_of_the_task_and_nothing_else_is_one() {
        use crate::error::{Error, ErrorKind};
        use apium_transport::error::{Error as TransportError, ErrorKind as TransportKind};

        let failed = |kind| {
            let cause = TransportError::new(kind, "reach the store");
            let error = Error::new(ErrorKind::Publish, "publish it").with_source(cause);
            Failure::from_error(std::io::Error::other(error)).is_outage()
        };
        let kinds =
            [TransportKind::Connection, TransportKind::Timeout, TransportKind::Unavailable, TransportKind::Closed];
        assert!(kinds.into_iter().all(failed));
        assert!(![TransportKind::Refused, TransportKind::NotFound, TransportKind::Other].into_iter().any(failed));
        assert!(!Failure::from_error(Error::new(ErrorKind::Timeout, "get it within 1 s")).is_outage());
        assert!(!Failure::message("no").is_outage());
    }

    #[test]
    fn limits_look_as_celery_stores_them() {
        let soft = Failure::soft_time_limit();
        assert_eq!(soft.exception().exc_type, "SoftTimeLimitExceeded");
        assert_eq!(soft.exception().exc_module.as_deref(), Some("billiard.exceptions"));
        assert!(soft.exception().exc_message.is_empty());
        assert_eq!(Failure::time_limit(1.0).exception().exc_message[0].as_str(), "1");
        assert_eq!(Failure::time_limit(1.5).exception().exc_message[0].as_str(), "1.5");
    }
}
