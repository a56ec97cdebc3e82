//! The third step: what the outcome of a run means. Pure.

use apium_app::context::request::Request;
use apium_app::failure::Failure;
use apium_app::retry::policy::{NextRun, RetryPlan, RetryWish, decide_retry};
use apium_app::task::registered::RegisteredTask;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;
use apium_protocol::result::exception::ExceptionInfo;
use fastrand::Rng;
use jiff::Timestamp;

use crate::outcome::RunOutcome;
use crate::runs::revoke_reason::RevokeReason;
use crate::runs::terminate_signal::TerminateSignal;

/// What the outcome of a run means. From it come what follows, what is stored and how the delivery ends.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// SUCCESS, with this value.
    Succeeded(Json),
    /// FAILURE.
    Failed { failure: Failure, why: FailureReason },
    /// RETRY: the task runs once more. The error that caused it, if any, is in `NextRun::cause`.
    Retry(Box<NextRun>),
    /// RETRY of a foreign task, whose child has sent the message of the next run.
    Retried { cause: Option<Failure> },
    /// The task rejected its message.
    Rejected { reason: String, requeue: bool },
    /// No result is stored.
    Ignored,
    /// Another signature runs in the task's place, and no result is stored.
    Replaced(Box<Signature>),
    /// REVOKED: without a run, or terminated in it.
    Revoked(RevokeReason),
    /// Aborted without a run. Its state stays ABORTED.
    Aborted,
    /// A cold stop cancelled the run. A late-ack message goes back to its queue (`requeued`); an early-ack one is gone.
    Cancelled { requeued: bool },
    /// A broker or a store that the body used is away: the late-ack message goes back to its queue.
    Unavailable(Failure),
}

impl Verdict {
    /// Whether the same message is delivered again, so that the run is repeated.
    pub(crate) fn comes_again(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Cancelled { requeued: true } | Self::Rejected { requeue: true, .. })
    }
}

/// Why a run failed. It decides how the delivery ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureReason {
    /// The body returned an error or panicked. `expected` when the task names the error in `throws`.
    Raised { expected: bool },
    /// The hard time limit passed.
    TimedOut,
    /// The arguments do not fit the task's parameters, so the body did not begin.
    BadArguments,
    /// The body ended, and its result is too large to be stored. Another run would end in the same way.
    TooLarge,
    /// The worker died during so many runs of the message before, so the body did not begin.
    CrashLoop { crashes: u32 },
    /// The child process of the run died.
    Lost,
}

/// What a verdict depends on, beside the outcome.
#[derive(Clone, Copy)]
pub(crate) struct RunFacts<'a> {
    pub(crate) request: &'a Request,
    pub(crate) task: &'a RegisteredTask,
    pub(crate) now: Timestamp,
}

/// Decides what `outcome` means by the options of the call and the task.
pub(crate) fn decide(run: RunFacts<'_>, outcome: RunOutcome, random: &mut Rng) -> Verdict {
    let _stop = tracing::trace_span!(target: "apium::walk", "decide").entered();
    match outcome {
        RunOutcome::Success(value) => Verdict::Succeeded(value),
        // A retry would fail in the same way.
        RunOutcome::Failure(failure) if run.task.judgement_of(&failure).bad_arguments => {
            Verdict::Failed { failure, why: FailureReason::BadArguments }
        }
        RunOutcome::Failure(failure) => run.retry_or_fail(RetryWish::Failed(failure), random),
        RunOutcome::Retried { cause } => Verdict::Retried { cause },
        RunOutcome::Retry(retry) => run.retry_or_fail(RetryWish::Asked(&retry), random),
        RunOutcome::Reject { reason, requeue } => Verdict::Rejected { reason, requeue },
        RunOutcome::Ignore => Verdict::Ignored,
        RunOutcome::Replace(with) => Verdict::Replaced(with),
        RunOutcome::TimedOut(limit) => {
            Verdict::Failed { failure: Failure::time_limit(limit.as_secs_f64()), why: FailureReason::TimedOut }
        }
        RunOutcome::Expired => Verdict::Revoked(RevokeReason::Expired),
        RunOutcome::Revoked => Verdict::Revoked(RevokeReason::Revoked),
        RunOutcome::Terminated { signal } => {
            Verdict::Revoked(RevokeReason::Terminated(TerminateSignal::of_number(signal)))
        }
        // A retry would kill the next worker.
        RunOutcome::CrashLoop { crashes } => Verdict::Failed {
            failure: Failure::from_exception(ExceptionInfo::worker_lost(crash_loop_text(crashes))),
            why: FailureReason::CrashLoop { crashes },
        },
        RunOutcome::Lost { reason } => run.lost(&reason, random),
        RunOutcome::Aborted => Verdict::Aborted,
        RunOutcome::Unavailable(failure) => Verdict::Unavailable(failure),
        RunOutcome::Cancelled => Verdict::Cancelled { requeued: run.task.effective.acks_late },
    }
}

/// Why a message that kills its workers is not run.
pub(crate) fn crash_loop_text(crashes: u32) -> String {
    format!("its worker died during {crashes} of its runs, which is as many as worker_max_crashes allows")
}

impl RunFacts<'_> {
    fn retry_or_fail(self, wish: RetryWish<'_>, random: &mut Rng) -> Verdict {
        match decide_retry(self.request, self.task, wish, self.now, random) {
            RetryPlan::Retry(next) => Verdict::Retry(next),
            RetryPlan::Exceeded(failure) | RetryPlan::NotWanted(failure) => {
                let expected = self.task.judgement_of(&failure).expected;
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
