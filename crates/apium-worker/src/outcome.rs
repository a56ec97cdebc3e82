//! How a run ended, before anything is decided about it.

use std::any::Any;
use std::time::Duration;

use apium_app::context::request::RetryRequest;
use apium_app::failure::Failure;
use apium_app::task_error::{TaskErrorKind, TaskResult};
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;
use apium_protocol::result::exception::ExceptionInfo;

/// How a run ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunOutcome {
    /// It returned this value, encoded.
    Success(Json),
    /// It failed; a panic and a passed soft limit are failures too.
    Failure(Failure),
    /// It wants to be run again.
    Retry(RetryRequest),
    /// It wants its message rejected.
    Reject {
        /// Why.
        reason: String,
        /// Back to the queue rather than away.
        requeue: bool,
    },
    /// Nothing is to be stored.
    Ignore,
    /// Another signature goes on in its place.
    Replace(Box<Signature>),
    /// Its hard limit passed and it was given up.
    TimedOut(Duration),
    /// Its `expires` had passed before it could begin.
    Expired,
    /// The worker stops at once and gave it up.
    Cancelled,
}

impl From<TaskResult<Json>> for RunOutcome {
    fn from(result: TaskResult<Json>) -> Self {
        match result {
            Ok(value) => Self::Success(value),
            Err(error) => match error.into_kind() {
                TaskErrorKind::Failure(failure) => Self::Failure(failure),
                TaskErrorKind::Retry(retry) => Self::Retry(retry),
                TaskErrorKind::Reject { reason, requeue } => Self::Reject { reason, requeue },
                TaskErrorKind::Replace(signature) => Self::Replace(signature),
                // An ending that this version does not know leaves everything as it is.
                _ => Self::Ignore,
            },
        }
    }
}

impl RunOutcome {
    /// What a caught panic comes to: a FAILURE with `exc_type` "Panic".
    pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self::Failure(Failure::from_exception(ExceptionInfo::new(
            "apium",
            "Panic",
            text.unwrap_or("a panic without text"),
        )))
    }
}
