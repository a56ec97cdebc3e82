//! The outcome of a run: how the body of the task ended, before the worker decides what that means.

use std::any::Any;
use std::time::Duration;

use apium_app::context::request::RetryRequest;
use apium_app::failure::Failure;
use apium_app::task_error::{TaskErrorKind, TaskResult};
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;

use crate::pool::panics;
use crate::runs::cancel::Cancelled;
use crate::runs::revoke_reason::RevokeReason;

/// How a run ended. Layers see it ([`Next::run`](crate::layer::Next::run)).
#[derive(Debug)]
#[non_exhaustive]
pub enum RunOutcome {
    /// The body returned this value, here as JSON.
    Success(Json),
    /// The body failed. A panic and a soft time limit that passed are failures too.
    Failure(Failure),
    /// The body asked for a retry (Celery: `self.retry`).
    Retry(RetryRequest),
    /// The body asked for a retry, and a child process has sent its message.
    Retried {
        /// The error that caused it.
        cause: Option<Failure>,
    },
    /// The body rejected its message (Celery: `Reject`).
    Reject {
        /// Why.
        reason: String,
        /// Whether the message goes back to its queue; otherwise it goes to the dead set.
        requeue: bool,
    },
    /// No result is stored, and the message is acked (Celery: `Ignore`).
    Ignore,
    /// The body replaced its task with another signature (Celery: `self.replace`).
    Replace(Box<Signature>),
    /// The hard time limit, of this length, passed, and the run was abandoned.
    TimedOut(Duration),
    /// `expires` had passed before the run could begin.
    Expired,
    /// The run did not begin, because the worker died during so many runs of the message before.
    CrashLoop {
        /// How many.
        crashes: u32,
    },
    /// The task was revoked before the run could begin.
    Revoked,
    /// Somebody terminated the run (Celery: `revoke(terminate=True)`), with the signal of this number.
    Terminated {
        /// The number of the signal, such as 15 for SIGTERM. It changes nothing about how the run ends.
        signal: u8,
    },
    /// The task was aborted before the run could begin.
    Aborted,
    /// The child process in which the body ran has died, or could not begin it.
    Lost {
        /// How it died, in Celery's words.
        reason: String,
    },
    /// A cold stop of the worker cancelled the run.
    Cancelled,
    /// The body failed with an error that says that a broker or a store is away ([`Failure::is_outage`]), and its
    /// message can go back to its queue. That is no failure of the task.
    Unavailable(Failure),
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
                // The enum is non-exhaustive; of a kind that this version does not have, no result is stored.
                _ => Self::Ignore,
            },
        }
    }
}

impl From<RevokeReason> for RunOutcome {
    fn from(revocation: RevokeReason) -> Self {
        match revocation {
            RevokeReason::Expired => Self::Expired,
            RevokeReason::Revoked => Self::Revoked,
            RevokeReason::Terminated(signal) => Self::Terminated { signal: signal.number() },
        }
    }
}

impl From<Cancelled> for RunOutcome {
    fn from(cancelled: Cancelled) -> Self {
        match cancelled {
            Cancelled::ByStop => Self::Cancelled,
            Cancelled::Terminated(signal) => Self::Terminated { signal: signal.number() },
        }
    }
}

impl RunOutcome {
    /// The outcome of a body that panicked on this thread, or whose panic another thread has passed on.
    pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Self {
        Self::Failure(panics::failure_of(panic))
    }
}
