//! A task's failure: the exception as messages and results have it, and the Rust error of which it was made, if any.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use apium_protocol::result::exception::ExceptionInfo;
use serde::{Deserialize, Serialize};

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

/// The Python class of a Rust error type (`#[wire_error(py = "builtins.ValueError")]`).
pub struct WireErrorEntry {
    /// Whether an error is of the Rust type.
    pub is: fn(&(dyn StdError + 'static)) -> bool,
    /// `module.Class` in Python.
    pub py: &'static str,
}

inventory::collect!(WireErrorEntry);

/// The Python class of an error, where its type has one.
fn mapped(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    inventory::iter::<WireErrorEntry>.into_iter().find(|entry| (entry.is)(error)).map(|entry| entry.py)
}

/// The `exc_type` of a boxed error that is mapped to no Python class, since its type is not known.
const BOXED: &str = "apium.Error";

impl Failure {
    /// A failure with a message and without an error type.
    pub fn message(message: impl Into<String>) -> Self {
        Self::from_exception(ExceptionInfo::from_path("apium.TaskError", message.into()))
    }

    /// A failure of an exception.
    pub fn from_exception(exception: ExceptionInfo) -> Self {
        Self(Arc::new(Inner { exception, traceback: None, source: None, judgement: None }))
    }

    /// A failure of a Rust error. Its `exc_type` is the name of the error type, or of the Python class for it.
    pub fn from_error<E: StdError + Send + Sync + 'static>(error: E) -> Self {
        Self::of(&plain_path(std::any::type_name::<E>()), Arc::new(error))
    }

    /// A failure of an exception, with the Rust error of which it was made.
    pub(crate) fn of_exception(exception: ExceptionInfo, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        let traceback = chain_text(&exception.exc_type, &*error);
        Self(Arc::new(Inner { exception, traceback: Some(traceback), source: Some(error.into()), judgement: None }))
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

    /// A failure of a boxed error. Its `exc_type` is the Python class for the type of the error (`#[wire_error]`), else
    /// `Error`.
    pub fn from_boxed(error: Box<dyn StdError + Send + Sync>) -> Self {
        Self::of(BOXED, error.into())
    }

    /// A failure of an error that must not leave its thread: its text and those of its sources.
    pub(crate) fn from_unsendable(error: &(dyn StdError + 'static)) -> Self {
        let path = mapped(error).unwrap_or(BOXED);
        Self::from_exception(ExceptionInfo::from_path(path, error.to_string())).with_traceback(chain_text(path, error))
    }

    /// A failure of what turns into a boxed error: an error, a boxed one, or the error type of another library, whose
    /// name is `exc_type` then.
    pub(crate) fn from_type<E>(error: Box<dyn StdError + Send + Sync>) -> Self {
        let name = std::any::type_name::<E>();
        let path = if name.contains("Box<dyn ") { BOXED.to_owned() } else { plain_path(name) };
        Self::of(&path, error.into())
    }

    /// `path` is for an error whose type is mapped to no Python class.
    fn of(path: &str, error: Arc<dyn StdError + Send + Sync>) -> Self {
        let path = mapped(&*error).unwrap_or(path);
        let exception = ExceptionInfo::from_path(path, error.to_string());
        let traceback = chain_text(path, &*error);
        Self(Arc::new(Inner { exception, traceback: Some(traceback), source: Some(error), judgement: None }))
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

/// The path of a type with dots and without type parameters: `core.num.ParseIntError`.
fn plain_path(type_name: &str) -> String {
    type_name.split('<').next().unwrap_or(type_name).replace("::", ".")
}

fn chain_text(path: &str, error: &dyn StdError) -> String {
    let mut text = format!("{path}: {error}");
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str("\ncaused by: ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({self})")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.exception.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;
    use apium_protocol::json::text::Json;

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
    fn limits_look_as_celery_stores_them() {
        let soft = Failure::soft_time_limit();
        assert_eq!(soft.exception().exc_type, "SoftTimeLimitExceeded");
        assert_eq!(soft.exception().exc_module.as_deref(), Some("billiard.exceptions"));
        assert!(soft.exception().exc_message.is_empty());
        assert_eq!(Failure::time_limit(1.0).exception().exc_message[0].as_str(), "1");
        assert_eq!(Failure::time_limit(1.5).exception().exc_message[0].as_str(), "1.5");
    }
}
