//! How a task ends when it does not return a value.

use std::any::TypeId;
use std::error::Error as StdError;
use std::fmt;

use apium_protocol::message::signature::Signature;

use crate::context::request::RetryRequest;
use crate::error::Error;
use crate::failure::Failure;

/// What a task function returns.
pub type TaskResult<T> = Result<T, TaskError>;

/// How a task ends when it does not return a value.
///
/// It does not implement [`std::error::Error`]. So `?` makes a failure of any such error, with the type of the error
/// for `autoretry_for` and `throws`. [`IntoFailure`] says what else `?` takes: boxed errors, and error types such as
/// those of anyhow and eyre.
pub struct TaskError(Box<TaskErrorKind>);

/// The ways in which a task ends without a value.
#[derive(Debug)]
#[non_exhaustive]
pub enum TaskErrorKind {
    /// The task failed.
    Failure(Failure),
    /// The task asks to be run again (Celery: `raise self.retry(…)`).
    Retry(RetryRequest),
    /// The message is rejected (Celery: `raise Reject`). It has an effect with `acks_late` only.
    Reject {
        /// Why.
        reason: String,
        /// Whether the message goes back to its queue, and not to the dead set.
        requeue: bool,
    },
    /// Nothing is stored, no hook is called, and the message is acknowledged (Celery: `raise Ignore`).
    Ignore,
    /// Another signature replaces the task and gets its id (Celery: `raise self.replace(…)`).
    Replace(Box<Signature>),
}

impl TaskError {
    /// An end of this kind.
    pub fn new(kind: TaskErrorKind) -> Self {
        Self(Box::new(kind))
    }

    /// A failure with a message and without an error type. Its `exc_type` is `TaskError`.
    pub fn failure(message: impl Into<String>) -> Self {
        Self::new(TaskErrorKind::Failure(Failure::message(message)))
    }

    /// A failure of a Python class, named as `module.Class`, with the message as its one argument.
    pub fn of_class(path: &str, message: &str) -> Self {
        Failure::of_class(path, message).into()
    }

    /// Rejects the message. With `requeue` it goes back to its queue, else to the dead set.
    pub fn reject(requeue: bool) -> Self {
        Self::new(TaskErrorKind::Reject { reason: "rejected by the task".into(), requeue })
    }

    /// Rejects the message with a reason, as [`reject`](Self::reject).
    pub fn reject_because(reason: impl Into<String>, requeue: bool) -> Self {
        Self::new(TaskErrorKind::Reject { reason: reason.into(), requeue })
    }

    /// Leaves the state as it is, and acknowledges the message.
    pub fn ignore() -> Self {
        Self::new(TaskErrorKind::Ignore)
    }

    /// How the task ends.
    pub fn kind(&self) -> &TaskErrorKind {
        &self.0
    }

    /// How the task ends, by value.
    pub fn into_kind(self) -> TaskErrorKind {
        *self.0
    }
}

/// What `?` turns into a failure in a task: every error that is `Send`, `Sync` and `'static`, such an error in a box,
/// text, and every type that turns into such a box, like the errors of anyhow and eyre.
///
/// `autoretry_for`, `throws` and `#[wire_error]` match a boxed error by the type in the box. Of an error of anyhow or
/// eyre they match the sources only, since these types hide the error itself.
///
/// `?` does not take a `Box<dyn Error>` without `Send + Sync`; [`OrFail::or_fail`] makes a failure of its text.
#[diagnostic::on_unimplemented(
    message = "a task's failure cannot be made of `{Self}`",
    label = "not an error that `?` takes: for a `Box<dyn Error>` write `.or_fail()?`, for a type of yours `impl std::error::Error`",
    note = "`Box<dyn Error + Send + Sync>` needs no `.or_fail()`"
)]
pub trait IntoFailure: Sized {
    /// The failure.
    fn into_failure(self) -> Failure;
}

// `TaskError` turns into a boxed error too. It must not implement `Display`, so that this implementation does not cover
// it.
#[diagnostic::do_not_recommend]
impl<E: Into<Box<dyn StdError + Send + Sync>> + fmt::Display + 'static> IntoFailure for E {
    fn into_failure(self) -> Failure {
        let is = |id| TypeId::of::<E>() == id;
        if is(TypeId::of::<String>()) || is(TypeId::of::<&'static str>()) {
            return Failure::message(self.to_string());
        }
        let boxed = self.into();
        match boxed.downcast_ref::<Error>().and_then(Error::exception) {
            Some(exception) => Failure::of_exception(exception, boxed),
            None => Failure::from_type::<E>(boxed),
        }
    }
}

impl<E: IntoFailure> From<E> for TaskError {
    fn from(error: E) -> Self {
        Self::new(TaskErrorKind::Failure(error.into_failure()))
    }
}

impl From<Failure> for TaskError {
    fn from(failure: Failure) -> Self {
        Self::new(TaskErrorKind::Failure(failure))
    }
}

impl From<RetryRequest> for TaskError {
    fn from(retry: RetryRequest) -> Self {
        Self::new(TaskErrorKind::Retry(retry))
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// For `?` outside a task, on what a task's function returns when it is called directly.
impl From<TaskError> for Box<dyn StdError + Send + Sync> {
    fn from(error: TaskError) -> Self {
        match error.into_kind() {
            TaskErrorKind::Failure(failure) => failure.to_string().into(),
            TaskErrorKind::Retry(retry) => match retry.cause {
                Some(cause) => cause.to_string().into(),
                None => "the task asked to be run again".into(),
            },
            TaskErrorKind::Reject { reason, .. } => format!("the task rejected its message: {reason}").into(),
            TaskErrorKind::Ignore => "the task ended without a result".into(),
            TaskErrorKind::Replace(_) => "the task was replaced by another one".into(),
        }
    }
}

/// Makes a task's failure of an error that `?` does not take: a `Box<dyn Error>` without `Send + Sync`. It takes every
/// other error too.
///
/// `Kind` tells the two apart. The compiler infers it.
pub trait OrFail<T, Kind> {
    /// The value, or a failure of the error.
    ///
    /// # Errors
    /// The failure.
    fn or_fail(self) -> TaskResult<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> OrFail<T, Sendable> for Result<T, E> {
    fn or_fail(self) -> TaskResult<T> {
        self.map_err(|error| Failure::from_boxed(error.into()).into())
    }
}

impl<T> OrFail<T, Unsendable> for Result<T, Box<dyn StdError>> {
    fn or_fail(self) -> TaskResult<T> {
        self.map_err(|error| Failure::from_unsendable(&*error).into())
    }
}

/// An error that may be sent to another thread.
#[derive(Debug)]
pub enum Sendable {}

/// An error that may not be sent to another thread. The failure has its text only.
#[derive(Debug)]
pub enum Unsendable {}

#[cfg(test)]
mod tests {
    use std::error::Error as StdError;
    use std::fmt;
    use std::num::ParseIntError;

    use super::{OrFail as _, TaskError, TaskErrorKind, TaskResult};
    use crate::error::{Error, ErrorKind};
    use crate::failure::Failure;

    fn failure(error: Error) -> Failure {
        match TaskError::from(error).into_kind() {
            TaskErrorKind::Failure(failure) => failure,
            other => panic!("not a failure: {other:?}"),
        }
    }

    /// Like the error type of anyhow: it does not implement `Error`, but turns into a boxed error.
    #[derive(Debug)]
    struct Report(Box<dyn StdError + Send + Sync>);

    impl fmt::Display for Report {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fmt(f)
        }
    }

    impl From<Report> for BoxError {
        fn from(report: Report) -> Self {
            report.0
        }
    }

    type BoxError = Box<dyn StdError + Send + Sync>;

    fn number(text: &str) -> Result<u8, BoxError> {
        Ok(text.parse()?)
    }

    fn failed(run: impl FnOnce() -> TaskResult<u8>) -> Failure {
        match run().unwrap_err().into_kind() {
            TaskErrorKind::Failure(failure) => failure,
            other => panic!("not a failure: {other:?}"),
        }
    }

    #[test]
    fn the_question_mark_takes_boxed_errors_and_types_that_turn_into_them() {
        let boxed = failed(|| Ok(number("x")?));
        let report = failed(|| Ok(number("x").map_err(Report)?));
        let plain = failed(|| Ok("x".parse()?));
        for (failure, class) in [(&boxed, "Error"), (&report, "Report"), (&plain, "ParseIntError")] {
            assert_eq!(
                (failure.exception().exc_type.as_str(), failure.exception().message()),
                (class, INVALID.to_owned())
            );
            assert!(
                failure.any_source(|error| error.is::<ParseIntError>()),
                "{class} keeps the error for autoretry_for"
            );
            assert!(failure.traceback().unwrap().contains(INVALID), "{failure:?}");
        }
        let text = failed(|| Err("it is late")?);
        assert_eq!(
            (text.exception().exc_type.as_str(), text.exception().message()),
            ("TaskError", "it is late".to_owned())
        );
    }

    #[test]
    fn errors_of_anyhow_and_eyre_fail_the_task_and_show_their_causes() {
        use eyre::WrapErr as _;

        let with_anyhow = || anyhow::Context::context("x".parse::<u8>(), "read the number");
        let with_eyre = || "x".parse::<u8>().wrap_err("read the number");
        for failure in [failed(|| Ok(with_anyhow()?)), failed(|| Ok(with_eyre()?))] {
            assert_eq!(failure.exception().message(), "read the number");
            assert!(failure.any_source(|error| error.is::<ParseIntError>()), "{failure:?}");
            assert!(failure.traceback().unwrap().contains(INVALID), "{failure:?}");
        }
    }

    #[test]
    fn a_boxed_error_of_get_fails_the_task_with_the_failure_of_the_other_task() {
        let cause = Failure::of_class("builtins.ValueError", "boom");
        let error: BoxError = Error::new(ErrorKind::TaskFailed, "get it").with_failure(cause).into();
        assert!(failed(|| Err(error)?).exception().is("builtins.ValueError"));
    }

    #[test]
    fn or_fail_takes_errors_that_are_not_send_too() {
        let unsendable = || -> Result<u8, Box<dyn StdError>> { Ok("x".parse()?) };
        let failure = failed(|| unsendable().or_fail());
        assert_eq!(
            (failure.exception().exc_type.as_str(), failure.exception().message()),
            ("Error", INVALID.to_owned())
        );
        assert!(failure.traceback().unwrap().contains(INVALID) && failure.source().is_none());
        for failure in [failed(|| number("x").or_fail()), failed(|| "x".parse::<u8>().or_fail())] {
            assert_eq!(failure.exception().message(), INVALID);
        }
    }

    const INVALID: &str = "invalid digit found in string";

    #[test]
    fn an_error_of_get_fails_the_task_as_in_celery() {
        let cause = Failure::of_class("builtins.ValueError", "boom");
        for (kind, class, message) in [
            (ErrorKind::TaskFailed, "builtins.ValueError", "boom"),
            (ErrorKind::GetInTask, "builtins.RuntimeError", "get it"),
            (ErrorKind::Timeout, "celery.exceptions.TimeoutError", "get it"),
        ] {
            let failed = failure(Error::new(kind, "get it").with_failure(cause.clone()));
            assert!(failed.exception().is(class) && failed.exception().message() == message, "{failed:?}");
            assert!(failed.any_source(|error| error.is::<Error>()), "{kind:?} keeps the error for autoretry_for");
        }
        let other = failure(Error::new(ErrorKind::Codec, "read it"));
        assert_eq!(other.exception().exc_type, "Error");
    }

    #[test]
    fn the_message_of_a_failure_tells_the_causes_of_an_error_of_apium() {
        for kind in [ErrorKind::Backend, ErrorKind::Timeout, ErrorKind::GetInTask, ErrorKind::Incomplete] {
            let error = || Error::new(kind, "get it").with_source(number("x").unwrap_err());
            let boxed = failed(|| Err(BoxError::from(error()))?);
            let unsendable = failed(|| Err::<u8, Box<dyn StdError>>(error().into()).or_fail());
            for failure in [failure(error()), boxed, unsendable] {
                assert_eq!(failure.exception().message(), format!("get it: {INVALID}"), "{kind:?}");
                assert_eq!(failure.traceback().unwrap().matches(INVALID).count(), 1, "{failure:?}");
            }
        }
    }
}
