//! The third stop: what the end of a run means. Pure; it talks to nobody.
//!
//! With early ack the delivery is gone before the run, so that `settle` of a [`Verdict`] says nothing then; everything else is
//! the same for both (law (b)).

use apium_app::context::request::{Request, RetryRequest};
use apium_app::context::result_document::ResultUpdate;
use apium_app::failure::Failure;
use apium_app::retry::policy::{NextRun, RetryPlan, automatic_retry, plan};
use apium_app::task::binding::is_argument_mismatch;
use apium_app::task::registered::RegisteredTask;
use apium_protocol::json::text::Json;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_transport::broker::dead_set::DeadReason;
use apium_transport::broker::settlement::{Acknowledgement, Disposition};
use fastrand::Rng;
use jiff::Timestamp;

use crate::outcome::RunOutcome;
use crate::pipeline::verdict::{Ended, Verdict};

/// The run whose end is to be judged.
#[derive(Clone, Copy)]
pub(crate) struct RunFacts<'a> {
    pub(crate) request: &'a Request,
    pub(crate) task: &'a RegisteredTask,
    pub(crate) now: Timestamp,
}

/// Decides what is stored, published and settled after `outcome`.
pub(crate) fn settle(run: RunFacts<'_>, outcome: RunOutcome, dice: &mut Rng) -> Verdict {
    let _stop = tracing::trace_span!(target: "apium::walk", "settle").entered();
    match outcome {
        RunOutcome::Success(value) => run.success(value),
        RunOutcome::Failure(failure) if is_argument_mismatch(&failure) => run.misfit(failure),
        RunOutcome::Failure(failure) => match automatic_retry(run.task, &failure) {
            Some(retry) => run.retry(&retry, dice),
            None => run.failure(failure),
        },
        RunOutcome::Retry(retry) => run.retry(&retry, dice),
        RunOutcome::Reject { reason, requeue } => run.reject(reason, requeue),
        RunOutcome::Ignore => {
            Verdict { store: None, again: None, settle: Acknowledgement::Ack, ending: Ended::Ignored }
        }
        RunOutcome::Replace(with) => {
            Verdict { store: None, again: None, settle: Acknowledgement::Ack, ending: Ended::Replaced(with) }
        }
        RunOutcome::TimedOut(limit) => run.timed_out(Failure::time_limit(limit.as_secs_f64())),
        RunOutcome::Expired => run.revoked("expired"),
        RunOutcome::Cancelled => run.cancelled(),
    }
}

impl RunFacts<'_> {
    /// Whether the result is to be stored: the call's wish, else the task's.
    fn stores(&self) -> bool {
        !self.request.headers.ignore_result.unwrap_or(self.task.effective.ignore_result)
    }

    /// Whether anything but SUCCESS is to be stored.
    pub(crate) fn stores_errors(&self) -> bool {
        self.stores() || self.task.effective.store_errors_even_if_ignored
    }

    fn success(self, value: Json) -> Verdict {
        let stored = || ResultUpdate { state: State::Success, result: value.clone(), traceback: None };
        Verdict {
            store: self.stores().then(stored),
            again: None,
            settle: Acknowledgement::Ack,
            ending: Ended::Success(value),
        }
    }

    fn failed(&self, failure: &Failure) -> Option<ResultUpdate> {
        self.stores_errors().then(|| failure_update(State::Failure, failure))
    }

    fn failure(self, failure: Failure) -> Verdict {
        let settle = match self.task.effective.acks_on_failure {
            true => Acknowledgement::Ack,
            false => dead("rejected", format!("it failed and acks_on_failure is off: {failure}")),
        };
        let expected = self.task.is_expected(&failure);
        Verdict { store: self.failed(&failure), again: None, settle, ending: Ended::Failure { failure, expected } }
    }

    /// Arguments that do not fit fail the task, and its message is kept: a fixed task can take it again.
    fn misfit(self, failure: Failure) -> Verdict {
        let words = failure.source().map_or_else(|| failure.to_string(), ToString::to_string);
        let settle = dead("arguments", format!("its arguments do not fit the task: {words}"));
        Verdict {
            store: self.failed(&failure),
            again: None,
            settle,
            ending: Ended::Failure { failure, expected: false },
        }
    }

    fn timed_out(self, failure: Failure) -> Verdict {
        let settle = match self.task.effective.acks_on_timeout {
            true => Acknowledgement::Ack,
            false => Acknowledgement::Reject(Disposition::Requeue),
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
            RetryPlan::Retry(next) => self.again(next.for_parameters(&self.task.parameters, self.request)),
            RetryPlan::Exceeded(failure) => self.failure(failure),
        }
    }

    fn again(self, next: NextRun) -> Verdict {
        let cause = next.cause.clone();
        let stored = || match &cause {
            Some(cause) => failure_update(State::Retry, cause),
            None => ResultUpdate { state: State::Retry, result: Json::NULL, traceback: None },
        };
        Verdict {
            store: self.stores_errors().then(stored),
            again: Some(next),
            settle: Acknowledgement::Ack,
            ending: Ended::Retry(cause),
        }
    }

    fn reject(self, reason: String, requeue: bool) -> Verdict {
        let (store, settle) = match requeue {
            true => (None, Acknowledgement::Reject(Disposition::Requeue)),
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
            store: self.stores_errors().then(|| failure_update(State::Revoked, &failure())),
            again: None,
            settle: Acknowledgement::Ack,
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
            verdict.settle = Acknowledgement::Reject(Disposition::Requeue);
        }
        verdict.ending = Ended::Cancelled { requeued };
        verdict
    }
}

/// A state with its error. One of FAILURE and RETRY always has a traceback, as in Celery.
pub(crate) fn failure_update(state: State, failure: &Failure) -> ResultUpdate {
    let traceback = match state {
        State::Failure | State::Retry => Some(failure.traceback_text().into_owned()),
        _ => failure.traceback().map(str::to_owned),
    };
    ResultUpdate { state, result: failure.exception().to_json(), traceback }
}

fn dead(code: &'static str, text: String) -> Acknowledgement {
    Acknowledgement::Reject(Disposition::Dead(DeadReason { code, text }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use apium_app::options::effective_options::TaskDefaults;
    use apium_app::options::task_options::{ErrorMatcher, TaskOptions};
    use apium_app::task::arguments::ParameterList;
    use apium_app::task::definition::{Hooks, TaskDef, TaskFn};
    use apium_app::task::registry::RegistryBuilder;

    use super::*;

    static DEF: TaskDef = TaskDef {
        name: "t",
        aliases: &[],
        parameters: ParameterList { function: "t", named: &[], var_args: true, var_kwargs: true },
        options: || TaskOptions::NEW,
        hooks: Hooks::NONE,
        needs: &[],
        takes_ctx: true,
        run: TaskFn::Blocking(|_| Ok(Json::NULL)),
        location: "here",
    };

    type Set = fn(&mut TaskOptions);
    type Row = (&'static str, Set, RunOutcome, (Option<&'static str>, bool, &'static str));

    fn judge(set: Set, ignore: Option<bool>, retries: u32, outcome: RunOutcome) -> Verdict {
        let mut builder = RegistryBuilder::new();
        builder.def(&DEF);
        let annotation = |_: &str| {
            let mut options = TaskOptions::NEW;
            options.acks_late = Some(true);
            set(&mut options);
            options
        };
        let registry = builder.build(&TaskDefaults::default(), annotation).unwrap();
        let mut request = Request::direct();
        request.headers.id = Some("id".into());
        request.headers.ignore_result = ignore;
        request.headers.retries = retries;
        let run = RunFacts { request: &request, task: registry.get("t").unwrap(), now: Timestamp::UNIX_EPOCH };
        settle(run, outcome, &mut Rng::with_seed(1))
    }

    /// What is stored, whether it runs again, and what becomes of the delivery.
    fn told(verdict: &Verdict) -> (Option<&str>, bool, &'static str) {
        let delivery = match &verdict.settle {
            Acknowledgement::Ack => "ack",
            Acknowledgement::Reject(Disposition::Requeue) => "requeue",
            Acknowledgement::Reject(Disposition::Dead(_)) => "dead",
            Acknowledgement::Reject(_) => "other",
        };
        (verdict.store.as_ref().map(|told| told.state.as_str()), verdict.again.is_some(), delivery)
    }

    fn failure() -> RunOutcome {
        RunOutcome::Failure(Failure::message("no"))
    }

    #[test]
    fn every_end_by_the_options_of_the_task() {
        let plain: Set = |_| {};
        let reject = |requeue| RunOutcome::Reject { reason: "r".into(), requeue };
        let late = RunOutcome::TimedOut(Duration::from_secs(1));
        let table: Vec<Row> = vec![
            ("success", plain, RunOutcome::Success(Json::NULL), (Some("SUCCESS"), false, "ack")),
            (
                "success ignored",
                |o| o.ignore_result = Some(true),
                RunOutcome::Success(Json::NULL),
                (None, false, "ack"),
            ),
            ("failure", plain, failure(), (Some("FAILURE"), false, "ack")),
            ("failure ignored", |o| o.ignore_result = Some(true), failure(), (None, false, "ack")),
            (
                "failure ignored but stored",
                |o| (o.ignore_result, o.store_errors_even_if_ignored) = (Some(true), Some(true)),
                failure(),
                (Some("FAILURE"), false, "ack"),
            ),
            ("failure not acked", |o| o.acks_on_failure = Some(false), failure(), (Some("FAILURE"), false, "dead")),
            (
                "automatic retry",
                |o| o.autoretry_for = vec![ErrorMatcher::ANY].into(),
                failure(),
                (Some("RETRY"), true, "ack"),
            ),
            (
                "no automatic retry left",
                |o| (o.autoretry_for, o.max_retries) = (vec![ErrorMatcher::ANY].into(), Some(Some(0))),
                failure(),
                (Some("FAILURE"), false, "ack"),
            ),
            (
                "excepted from automatic retry",
                |o| {
                    o.autoretry_for = vec![ErrorMatcher::ANY].into();
                    o.dont_autoretry_for = vec![ErrorMatcher::ANY].into();
                },
                failure(),
                (Some("FAILURE"), false, "ack"),
            ),
            ("retry", plain, RunOutcome::Retry(RetryRequest::default()), (Some("RETRY"), true, "ack")),
            (
                "retry ignored",
                |o| o.ignore_result = Some(true),
                RunOutcome::Retry(RetryRequest::default()),
                (None, true, "ack"),
            ),
            ("reject away", plain, reject(false), (Some("FAILURE"), false, "dead")),
            ("reject back", plain, reject(true), (None, false, "requeue")),
            ("ignore", plain, RunOutcome::Ignore, (None, false, "ack")),
            ("timed out", plain, late, (Some("FAILURE"), false, "ack")),
            (
                "timed out, not acked, never retried",
                |o| (o.acks_on_timeout, o.autoretry_for) = (Some(false), vec![ErrorMatcher::ANY].into()),
                RunOutcome::TimedOut(Duration::from_secs(1)),
                (Some("FAILURE"), false, "requeue"),
            ),
            ("expired", plain, RunOutcome::Expired, (Some("REVOKED"), false, "ack")),
            ("expired ignored", |o| o.ignore_result = Some(true), RunOutcome::Expired, (None, false, "ack")),
            ("cancelled late", plain, RunOutcome::Cancelled, (None, false, "requeue")),
            ("cancelled early", |o| o.acks_late = Some(false), RunOutcome::Cancelled, (Some("REVOKED"), false, "ack")),
        ];
        for (name, set, outcome, wanted) in table {
            assert_eq!(told(&judge(set, None, 0, outcome)), wanted, "{name}");
        }
    }

    #[test]
    fn the_call_s_wish_about_the_result_wins() {
        let ignoring: Set = |options| options.ignore_result = Some(true);
        let keeps = judge(ignoring, Some(false), 0, RunOutcome::Success(Json::NULL));
        assert_eq!(told(&keeps).0, Some("SUCCESS"));
        let drops = judge(|_| {}, Some(true), 0, RunOutcome::Success(Json::NULL));
        assert_eq!(told(&drops).0, None);
    }

    #[test]
    fn a_retry_past_its_limit_fails_with_its_cause() {
        let retry = RetryRequest::default;
        let verdict = judge(|options| options.max_retries = Some(Some(2)), None, 2, RunOutcome::Retry(retry()));
        assert_eq!(told(&verdict), (Some("FAILURE"), false, "ack"));
        assert!(verdict.store.unwrap().result.as_str().contains("MaxRetriesExceededError"));
    }

    #[test]
    fn expected_errors_are_told_apart_and_stored_all_the_same() {
        let expected: Set = |options| options.throws = vec![ErrorMatcher::ANY].into();
        for (set, wanted) in [(expected, true), ((|_: &mut TaskOptions| {}) as Set, false)] {
            let verdict = judge(set, None, 0, failure());
            assert_eq!(told(&verdict).0, Some("FAILURE"));
            assert!(matches!(verdict.ending, Ended::Failure { expected, .. } if expected == wanted));
        }
    }
}
