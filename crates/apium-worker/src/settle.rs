//! The third stop: what the end of a run means. Pure; it talks to nobody.
//!
//! With early ack the delivery is gone before the run, so that `settle` of a [`Verdict`] says nothing then; everything else is
//! the same for both (law (b)).

use apium_app::failure::Failure;
use apium_app::record::Told;
use apium_app::registered_task::RegisteredTask;
use apium_app::request::{Request, RetryRequest};
use apium_app::retry::{NextRun, RetryPlan, automatic_retry, plan};
use apium_protocol::exception::ExceptionInfo;
use apium_protocol::json::Json;
use apium_protocol::state::State;
use apium_transport::consumer::{Disposition, Settle};
use apium_transport::dead::DeadReason;
use fastrand::Rng;
use jiff::Timestamp;

use crate::outcome::Outcome;
use crate::verdict::{Ended, Verdict};

/// The run whose end is to be judged.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) request: &'a Request,
    pub(crate) task: &'a RegisteredTask,
    pub(crate) now: Timestamp,
}

/// Decides what is stored, published and settled after `outcome`.
pub(crate) fn settle(run: Run<'_>, outcome: Outcome, dice: &mut Rng) -> Verdict {
    match outcome {
        Outcome::Success(value) => run.success(value),
        Outcome::Failure(failure) => match automatic_retry(run.task, &failure) {
            Some(retry) => run.retry(&retry, dice),
            None => run.failure(failure),
        },
        Outcome::Retry(retry) => run.retry(&retry, dice),
        Outcome::Reject { reason, requeue } => run.reject(reason, requeue),
        Outcome::Ignore => Verdict { store: None, again: None, settle: Settle::Ack, ending: Ended::Ignored },
        Outcome::TimedOut(limit) => run.timed_out(Failure::time_limit(limit.as_secs_f64())),
        Outcome::Expired => run.revoked("expired"),
        Outcome::Cancelled => run.cancelled(),
    }
}

impl Run<'_> {
    /// Whether the result is to be stored: the call's wish, else the task's.
    fn stores(&self) -> bool {
        !self.request.headers.ignore_result.unwrap_or(self.task.effective.ignore_result)
    }

    /// Whether anything but SUCCESS is to be stored.
    fn stores_errors(&self) -> bool {
        self.stores() || self.task.effective.store_errors_even_if_ignored
    }

    fn success(self, value: Json) -> Verdict {
        let stored = || Told { state: State::Success, result: value.clone(), traceback: None };
        Verdict { store: self.stores().then(stored), again: None, settle: Settle::Ack, ending: Ended::Success(value) }
    }

    fn failed(&self, failure: &Failure) -> Option<Told> {
        self.stores_errors().then(|| error(State::Failure, failure))
    }

    fn failure(self, failure: Failure) -> Verdict {
        let settle = match self.task.effective.acks_on_failure {
            true => Settle::Ack,
            false => dead("rejected", format!("it failed and acks_on_failure is off: {failure}")),
        };
        let expected = self.task.is_expected(&failure);
        Verdict { store: self.failed(&failure), again: None, settle, ending: Ended::Failure { failure, expected } }
    }

    fn timed_out(self, failure: Failure) -> Verdict {
        let settle = match self.task.effective.acks_on_timeout {
            true => Settle::Ack,
            false => Settle::Reject(Disposition::Requeue),
        };
        Verdict {
            store: self.failed(&failure),
            again: None,
            settle,
            ending: Ended::Failure { failure, expected: false },
        }
    }

    fn retry(self, retry: &RetryRequest, dice: &mut Rng) -> Verdict {
        match plan(self.request, &self.task.name, &self.task.effective, retry, self.now, dice) {
            RetryPlan::Again(next) => self.again(next),
            RetryPlan::Exceeded(failure) => self.failure(failure),
        }
    }

    fn again(self, next: NextRun) -> Verdict {
        let cause = next.cause.clone();
        let stored = || match &cause {
            Some(cause) => error(State::Retry, cause),
            None => Told { state: State::Retry, result: Json::NULL, traceback: None },
        };
        Verdict {
            store: self.stores_errors().then(stored),
            again: Some(next),
            settle: Settle::Ack,
            ending: Ended::Retry(cause),
        }
    }

    fn reject(self, reason: String, requeue: bool) -> Verdict {
        let (store, settle) = match requeue {
            true => (None, Settle::Reject(Disposition::Requeue)),
            false => {
                let failure = Failure::from_exception(ExceptionInfo::reject(Some(&reason), requeue));
                (self.failed(&failure), dead("rejected", reason.clone()))
            }
        };
        Verdict { store, again: None, settle, ending: Ended::Rejected { reason, requeue } }
    }

    fn revoked(self, reason: &'static str) -> Verdict {
        let failure = || Failure::from_exception(ExceptionInfo::task_revoked(reason));
        Verdict {
            store: self.stores_errors().then(|| error(State::Revoked, &failure())),
            again: None,
            settle: Settle::Ack,
            ending: Ended::Revoked(reason),
        }
    }

    /// A cold stop. Late ack: back to the queue, the state untouched. Early ack: the message is gone and must not run twice, so
    /// that REVOKED (`terminated`) tells the truth, where Celery stores a RETRY that never comes.
    fn cancelled(self) -> Verdict {
        let requeued = self.task.effective.acks_late;
        let mut verdict = self.revoked("terminated");
        if requeued {
            verdict.store = None;
            verdict.settle = Settle::Reject(Disposition::Requeue);
        }
        verdict.ending = Ended::Cancelled { requeued };
        verdict
    }
}

fn error(state: State, failure: &Failure) -> Told {
    Told { state, result: failure.exception().to_json(), traceback: failure.traceback().map(str::to_owned) }
}

fn dead(code: &'static str, text: String) -> Settle {
    Settle::Reject(Disposition::Dead(DeadReason { code, text }))
}
