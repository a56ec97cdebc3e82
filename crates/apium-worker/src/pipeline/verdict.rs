//! The third step: what the end of a run means. Pure; it talks to nobody.

use apium_app::context::request::Request;
use apium_app::failure::Failure;
use apium_app::retry::policy::{NextRun, RetryPlan, RetryWish, decide as decide_retry};
use apium_app::task::registered::RegisteredTask;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;
use fastrand::Rng;
use jiff::Timestamp;

use crate::outcome::RunOutcome;

/// What the end of a run means: what follows, what is stored and what becomes of the delivery come from it.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// SUCCESS with this value.
    Succeeded(Json),
    /// FAILURE.
    Failed { failure: Failure, why: FailureReason },
    /// It runs again, with the error behind it where there is one.
    Retry(Box<NextRun>),
    /// The task rejected its message.
    Rejected { reason: String, requeue: bool },
    /// Nothing is stored.
    Ignored,
    /// Another signature goes on in its place.
    Replaced(Box<Signature>),
    /// It did not run: `expired`.
    Revoked(&'static str),
    /// The worker stopped while it ran; `requeued` when the message is back in its queue.
    Cancelled { requeued: bool },
}

/// Why a run failed, as far as it decides what becomes of the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureReason {
    /// The body raised an error; `expected` when the task names it in `throws`.
    Raised { expected: bool },
    /// The hard limit passed.
    TimedOut,
    /// The arguments do not fit the task, so the body did not begin.
    BadArguments,
}

/// A run whose end is judged.
#[derive(Clone, Copy)]
pub(crate) struct RunFacts<'a> {
    pub(crate) request: &'a Request,
    pub(crate) task: &'a RegisteredTask,
    pub(crate) now: Timestamp,
}

/// Decides what `outcome` means by the options of the call and the task.
pub(crate) fn decide(run: RunFacts<'_>, outcome: RunOutcome, dice: &mut Rng) -> Verdict {
    let _stop = tracing::trace_span!(target: "apium::walk", "decide").entered();
    match outcome {
        RunOutcome::Success(value) => Verdict::Succeeded(value),
        // No retry mends arguments that do not fit.
        RunOutcome::Failure(failure) if run.task.judge(&failure).bad_arguments => {
            Verdict::Failed { failure, why: FailureReason::BadArguments }
        }
        RunOutcome::Failure(failure) => run.retry_or_fail(RetryWish::Failed(failure), dice),
        RunOutcome::Retry(retry) => run.retry_or_fail(RetryWish::Asked(&retry), dice),
        RunOutcome::Reject { reason, requeue } => Verdict::Rejected { reason, requeue },
        RunOutcome::Ignore => Verdict::Ignored,
        RunOutcome::Replace(with) => Verdict::Replaced(with),
        RunOutcome::TimedOut(limit) => {
            Verdict::Failed { failure: Failure::time_limit(limit.as_secs_f64()), why: FailureReason::TimedOut }
        }
        RunOutcome::Expired => Verdict::Revoked("expired"),
        RunOutcome::Cancelled => Verdict::Cancelled { requeued: run.task.effective.acks_late },
    }
}

impl RunFacts<'_> {
    fn retry_or_fail(self, wish: RetryWish<'_>, dice: &mut Rng) -> Verdict {
        match decide_retry(self.request, self.task, wish, self.now, dice) {
            RetryPlan::Retry(next) => Verdict::Retry(next),
            RetryPlan::Exceeded(failure) | RetryPlan::NotWanted(failure) => {
                let expected = self.task.judge(&failure).expected;
                Verdict::Failed { failure, why: FailureReason::Raised { expected } }
            }
        }
    }

    /// Whether the result is stored: the call's `ignore_result`, else the task's.
    pub(crate) fn stores(&self) -> bool {
        !self.request.headers.ignore_result.unwrap_or(self.task.effective.ignore_result)
    }

    /// Whether states other than SUCCESS are stored.
    pub(crate) fn stores_errors(&self) -> bool {
        self.stores() || self.task.effective.store_errors_even_if_ignored
    }
}
