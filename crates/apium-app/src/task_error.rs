//! How a task ends when it does not return a value: a vocabulary, not an error type.

use std::any::Any;
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
/// It does not implement [`std::error::Error`], so that `?` turns any such error into a failure that keeps its type for
/// `autoretry_for` and `throws`. What is only `Into<Box<dyn Error + Send + Sync>>` (anyhow, boxed errors) comes by
/// [`OrFail::or_fail`].
pub struct TaskError(Box<TaskErrorKind>);

/// The ways to end without a value.
#[derive(Debug)]
#[non_exhaustive]
pub enum TaskErrorKind {
    /// The task failed.
    Failure(Failure),
    /// The task is to be run again (Celery: `raise self.retry(…)`).
    Retry(RetryRequest),
    /// The message is to be rejected (Celery: `raise Reject`); it has an effect with late ack only.
    Reject {
        /// Why.
        reason: String,
        /// Back to the queue rather than away.
        requeue: bool,
    },
    /// Nothing is stored and no hook is called (Celery: `raise Ignore`).
    Ignore,
    /// Another signature goes on in the task's place, under its id (Celery: `raise self.replace(…)`).
    Replace(Box<Signature>),
}

impl TaskError {
    /// Ends the task in a given way.
    pub fn new(ending: TaskErrorKind) -> Self {
        Self(Box::new(ending))
    }

    /// A failure with a message and no type of its own (`exc_type` "TaskError").
    pub fn failure(message: impl Into<String>) -> Self {
        Self::new(TaskErrorKind::Failure(Failure::message(message)))
    }

    /// A failure of a Python class, given as `module.Class`, with one argument: the message.
    pub fn of_class(path: &str, message: &str) -> Self {
        Failure::of_class(path, message).into()
    }

    /// Rejects the message; back to the queue when `requeue`.
    pub fn reject(requeue: bool) -> Self {
        Self::new(TaskErrorKind::Reject { reason: "rejected by the task".into(), requeue })
    }

    /// Rejects the message with a reason.
    pub fn reject_because(reason: impl Into<String>, requeue: bool) -> Self {
        Self::new(TaskErrorKind::Reject { reason: reason.into(), requeue })
    }

    /// Leaves the state as it is and acks the message.
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

impl<E: StdError + Send + Sync + 'static> From<E> for TaskError {
    fn from(error: E) -> Self {
        let own: &dyn Any = &error;
        let failure = match own.downcast_ref::<Error>().and_then(Error::exception) {
            Some(exception) => Failure::of_exception(exception, error),
            None => Failure::from_error(error),
        };
        Self::new(TaskErrorKind::Failure(failure))
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

/// So that `?` outside a task takes what a task's function returned when it was called directly.
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
            TaskErrorKind::Replace(_) => "the task put another in its place".into(),
        }
    }
}

/// Turns what is only convertible to a boxed error into a task's failure.
pub trait OrFail<T> {
    /// The value, or a failure made of the boxed error.
    fn or_fail(self) -> TaskResult<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> OrFail<T> for Result<T, E> {
    fn or_fail(self) -> TaskResult<T> {
        self.map_err(|error| TaskError::new(TaskErrorKind::Failure(Failure::from_boxed(error.into()))))
    }
}

#[cfg(test)]
mod tests {
    use super::{TaskError, TaskErrorKind};
    use crate::error::{Error, ErrorKind};
    use crate::failure::Failure;

    fn failure(error: Error) -> Failure {
        match TaskError::from(error).into_kind() {
            TaskErrorKind::Failure(failure) => failure,
            other => panic!("not a failure: {other:?}"),
        }
    }

    #[test]
    fn a_result_that_could_not_be_had_fails_the_task_as_in_celery() {
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
}
