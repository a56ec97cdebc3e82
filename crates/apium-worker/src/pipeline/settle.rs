//! The fifth step: what is stored of a run, and how its delivery ends. Pure.
//!
//! With early ack the delivery was acked before the run, so nothing acknowledges it here (the second law, in
//! [completer](crate::pipeline::completer)).

use std::sync::Arc;

use apium_app::context::result_document::{ResultPolicy, ResultUpdate, result_document};
use apium_app::failure::Failure;
use apium_app::publish::publisher::Publisher;
use apium_app::task::registered::RegisteredTask;
use apium_protocol::json::text::Json;
use apium_protocol::result::document::ResultTuple;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::ResultRecord;
use apium_transport::broker::dead_set::DeadReason;
use apium_transport::broker::settlement::{Acknowledgement, Disposition, Settlement};
use jiff::Timestamp;

use crate::backends::Backends;
use crate::pipeline::completion::Completion;
use crate::pipeline::follow::PlannedFollowUps;
use crate::pipeline::task_run::{DeliveryState, RunEnd, TaskLabel, TaskRun};
use crate::pipeline::verdict::{FailureReason, RunFacts, Verdict, crash_loop_text};
use crate::pool::guard::Panicked;

/// Says for each verdict what the completer is to store, publish and acknowledge.
pub(crate) struct Settler {
    /// Encodes the message of an early-ack call whose arguments do not fit, for the dead set.
    pub(crate) publisher: Publisher,
    pub(crate) policy: ResultPolicy,
    pub(crate) backends: Arc<Backends>,
}

impl Settler {
    /// The completion of a run that ended.
    pub(crate) fn settle(
        &self,
        task_run: &TaskRun,
        verdict: &Verdict,
        planned: PlannedFollowUps,
        end: RunEnd,
    ) -> Completion {
        let _stop = tracing::trace_span!(target: "apium::walk", "settle").entered();
        let PlannedFollowUps { follow_ups, children: sent, errbacks, retry } = planned;
        let mut children = end.children;
        children.extend(sent);
        let is_stored = end.handed.as_ref().is_some_and(|handed| handed.is_stored);
        let update = stored(task_run.facts(end.now), verdict).filter(|_| !is_stored);
        let record = update.and_then(|update| self.record(task_run, update, children, end.now));
        let acknowledgement = acknowledgement(&task_run.task, verdict);
        let (delivery, dead_letter) = match (end.delivery, acknowledgement) {
            (DeliveryState::InFlight, acknowledgement) => (Some((task_run.receipt.clone(), acknowledgement)), None),
            // The delivery is gone. Still a call whose arguments do not fit goes to the dead set, as with late ack.
            (DeliveryState::AckedEarly, Acknowledgement::Reject(Disposition::Dead(reason)))
                if matches!(verdict, Verdict::Failed { why: FailureReason::BadArguments, .. }) =>
            {
                (None, self.dead_letter(task_run, reason).map(Box::new))
            }
            (DeliveryState::AckedEarly, _) => (None, None),
        };
        let follow_ups = (!follow_ups.is_empty()).then(|| Box::new(follow_ups));
        let errbacks = (follow_ups.is_some() || !errbacks.is_empty()).then_some(errbacks);
        let messages = retry.into_iter().collect();
        let settlement =
            Settlement::default().storing(record).publishing(messages).ending(delivery).following_up(follow_ups);
        Completion { dead_letter, errbacks, ..completion(task_run, settlement) }
    }

    /// The completion at the start of a run: it acks the delivery with early ack, and stores STARTED where
    /// `track_started` is on. `None` when there is nothing to do.
    pub(crate) fn started(&self, task_run: &TaskRun, now: Timestamp) -> Option<Completion> {
        let is_tracked = task_run.task.effective.track_started && task_run.facts(now).stores();
        let record = is_tracked.then(|| {
            let runner = serde_json::json!({"pid": std::process::id(), "hostname": &*task_run.request.hostname});
            let result = Json::from_serialize(&runner).unwrap_or(Json::NULL);
            let update = ResultUpdate { state: State::Started, result, traceback: None };
            self.record(task_run, update, Vec::new(), now)
        });
        let record = record.flatten();
        let delivery = (!task_run.acks_late()).then(|| (task_run.receipt.clone(), Acknowledgement::Ack));
        let is_needed = record.is_some() || delivery.is_some();
        let settlement = Settlement::default().storing(record).ending(delivery);
        is_needed.then(|| Completion { begins: true, ..completion(task_run, settlement) })
    }

    /// FAILURE of a run whose end cannot be told, since code of the app panicked where nothing expects it.
    pub(crate) fn panicked(&self, task_run: &TaskRun, panicked: &Panicked, now: Timestamp) -> Option<Completion> {
        let failure = Failure::from_exception(ExceptionInfo::new("apium", "Panic", panicked.to_string()));
        let update = task_run.facts(now).stores_errors().then(|| ResultUpdate::of_failure(State::Failure, &failure));
        let record = self.record(task_run, update?, Vec::new(), now)?;
        Some(completion(task_run, Settlement::default().storing(Some(record))))
    }

    /// The result to store; `None` when the task has no backend, or the message no id.
    fn record(
        &self,
        task_run: &TaskRun,
        update: ResultUpdate,
        children: Vec<ResultTuple>,
        now: Timestamp,
    ) -> Option<ResultRecord> {
        self.backends.of(&task_run.task.name)?;
        let id = task_run.request.id()?.clone();
        let document = result_document(&task_run.request, id, update, children, &self.policy, now);
        let reply_to = task_run.request.properties.reply_to.clone();
        let record = ResultRecord::new(document).by(Some(task_run.version())).kept_for(self.policy.ttl);
        Some(record.replying_to(reply_to))
    }
}

fn completion(task_run: &TaskRun, settlement: Settlement) -> Completion {
    let task = Some(task_run.task.name.clone());
    Completion { task, ..Completion::new(TaskLabel::of(&task_run.request), task_run.source.clone(), settlement) }
}

/// The state that is stored for a verdict, if any.
fn stored(run: RunFacts<'_>, verdict: &Verdict) -> Option<ResultUpdate> {
    let failed = |state, failure: &Failure| run.stores_errors().then(|| ResultUpdate::of_failure(state, failure));
    let retry = |cause: Option<&Failure>| match cause {
        Some(cause) => failed(State::Retry, cause),
        None => run.stores_errors().then(|| ResultUpdate { state: State::Retry, result: Json::NULL, traceback: None }),
    };
    let revoked = |reason| failed(State::Revoked, &Failure::from_exception(ExceptionInfo::task_revoked(reason)));
    match verdict {
        Verdict::Succeeded(value) => {
            run.stores().then(|| ResultUpdate { state: State::Success, result: value.clone(), traceback: None })
        }
        Verdict::Failed { failure, .. } => failed(State::Failure, failure),
        Verdict::Retry(next) => retry(next.cause.as_ref()),
        Verdict::Retried { cause } => retry(cause.as_ref()),
        // The one failure that Celery stores without a traceback.
        Verdict::Rejected { reason, requeue: false } => run.stores_errors().then(|| ResultUpdate {
            state: State::Failure,
            result: ExceptionInfo::reject(Some(reason), false).to_json(),
            traceback: None,
        }),
        Verdict::Revoked(why) => revoked(why.reason()),
        // The message was acked before the run, so the task does not run again. Celery stores RETRY, although no retry
        // comes.
        Verdict::Cancelled { requeued: false } => revoked("terminated"),
        Verdict::Rejected { requeue: true, .. }
        | Verdict::Ignored
        | Verdict::Replaced(_)
        | Verdict::Aborted
        | Verdict::Unavailable(_)
        | Verdict::Cancelled { requeued: true } => None,
    }
}

/// How the delivery ends, where it was not acked before the run.
fn acknowledgement(task: &RegisteredTask, verdict: &Verdict) -> Acknowledgement {
    let requeue = Acknowledgement::Reject(Disposition::Requeue);
    let dead = |code, text| Acknowledgement::Reject(Disposition::Dead(DeadReason::new(code, text)));
    match verdict {
        // The message can be replayed once the task is corrected.
        Verdict::Failed { failure, why: FailureReason::BadArguments } => {
            let text = failure.source().map_or_else(|| failure.to_string(), ToString::to_string);
            dead("arguments", format!("its arguments do not fit the task: {text}"))
        }
        Verdict::Failed { why: FailureReason::CrashLoop { crashes }, .. } => {
            dead("crash-loop", crash_loop_text(*crashes))
        }
        Verdict::Failed { why: FailureReason::TimedOut, .. } if !task.effective.acks_on_timeout => requeue,
        Verdict::Failed { failure, why: FailureReason::Raised { .. } | FailureReason::Lost }
            if !task.effective.acks_on_failure =>
        {
            dead("rejected", format!("it failed and acks_on_failure is off: {failure}"))
        }
        Verdict::Rejected { requeue: true, .. } | Verdict::Cancelled { requeued: true } | Verdict::Unavailable(_) => {
            requeue
        }
        Verdict::Rejected { reason, requeue: false } => dead("rejected", reason.clone()),
        Verdict::Succeeded(_)
        | Verdict::Failed { .. }
        | Verdict::Retry(_)
        | Verdict::Retried { .. }
        | Verdict::Ignored
        | Verdict::Replaced(_)
        | Verdict::Revoked(_)
        | Verdict::Aborted
        | Verdict::Cancelled { requeued: false } => Acknowledgement::Ack,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use apium_app::context::request::{Request, RetryRequest};
    use apium_app::options::effective_options::TaskDefaults;
    use apium_app::options::task_options::{ErrorMatcher, TaskOptions};
    use apium_app::task::arguments::ParameterList;
    use apium_app::task::definition::{Hooks, TaskDef, TaskFn};
    use apium_app::task::registry::RegistryBuilder;
    use fastrand::Rng;

    use super::*;
    use crate::outcome::RunOutcome;
    use crate::pipeline::verdict::decide;

    /// What decide and settle make of an outcome.
    struct Settled {
        update: Option<ResultUpdate>,
        acknowledgement: Acknowledgement,
        verdict: Verdict,
    }

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

    fn decided(set: Set, ignore: Option<bool>, retries: u32, outcome: RunOutcome) -> Settled {
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
        let task = registry.get("t").unwrap();
        let run = RunFacts { request: &request, task, now: Timestamp::UNIX_EPOCH };
        let verdict = decide(run, outcome, &mut Rng::with_seed(1));
        let (update, acknowledgement) = (stored(run, &verdict), acknowledgement(task, &verdict));
        Settled { update, acknowledgement, verdict }
    }

    /// The stored state, whether the task is retried, and how the delivery ends.
    fn shown(settled: &Settled) -> (Option<&str>, bool, &'static str) {
        let delivery = match &settled.acknowledgement {
            Acknowledgement::Ack => "ack",
            Acknowledgement::Reject(Disposition::Requeue) => "requeue",
            Acknowledgement::Reject(Disposition::Dead(_)) => "dead",
            Acknowledgement::Reject(_) => "other",
        };
        let is_retried = matches!(settled.verdict, Verdict::Retry(_));
        (settled.update.as_ref().map(|update| update.state.as_str()), is_retried, delivery)
    }

    fn failure() -> RunOutcome {
        RunOutcome::Failure(Failure::message("no"))
    }

    #[test]
    fn what_each_outcome_stores_and_does_to_the_delivery_by_the_options_of_the_task() {
        let plain: Set = |_| {};
        let reject = |requeue| RunOutcome::Reject { reason: "r".into(), requeue };
        let timed_out = RunOutcome::TimedOut(Duration::from_secs(1));
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
            ("timed out", plain, timed_out, (Some("FAILURE"), false, "ack")),
            (
                "timed out, not acked, never retried",
                |o| (o.acks_on_timeout, o.autoretry_for) = (Some(false), vec![ErrorMatcher::ANY].into()),
                RunOutcome::TimedOut(Duration::from_secs(1)),
                (Some("FAILURE"), false, "requeue"),
            ),
            ("expired", plain, RunOutcome::Expired, (Some("REVOKED"), false, "ack")),
            ("revoked", plain, RunOutcome::Revoked, (Some("REVOKED"), false, "ack")),
            ("terminated", plain, RunOutcome::Terminated { signal: 15 }, (Some("REVOKED"), false, "ack")),
            ("expired ignored", |o| o.ignore_result = Some(true), RunOutcome::Expired, (None, false, "ack")),
            ("a store is away", plain, RunOutcome::Unavailable(Failure::message("no")), (None, false, "requeue")),
            (
                "crash loop, never retried",
                |o| o.autoretry_for = vec![ErrorMatcher::ANY].into(),
                RunOutcome::CrashLoop { crashes: 3 },
                (Some("FAILURE"), false, "dead"),
            ),
            ("aborted", plain, RunOutcome::Aborted, (None, false, "ack")),
            ("cancelled late", plain, RunOutcome::Cancelled, (None, false, "requeue")),
            ("cancelled early", |o| o.acks_late = Some(false), RunOutcome::Cancelled, (Some("REVOKED"), false, "ack")),
        ];
        for (name, set, outcome, wanted) in table {
            assert_eq!(shown(&decided(set, None, 0, outcome)), wanted, "{name}");
        }
    }

    #[test]
    fn a_calls_ignore_result_wins_over_the_tasks() {
        let ignoring: Set = |options| options.ignore_result = Some(true);
        let stored = decided(ignoring, Some(false), 0, RunOutcome::Success(Json::NULL));
        assert_eq!(shown(&stored).0, Some("SUCCESS"));
        let ignored = decided(|_| {}, Some(true), 0, RunOutcome::Success(Json::NULL));
        assert_eq!(shown(&ignored).0, None);
    }

    #[test]
    fn a_retry_past_its_limit_fails_with_its_cause() {
        let retry = RetryRequest::default;
        let settled = decided(|options| options.max_retries = Some(Some(2)), None, 2, RunOutcome::Retry(retry()));
        assert_eq!(shown(&settled), (Some("FAILURE"), false, "ack"));
        assert!(settled.update.unwrap().result.as_str().contains("MaxRetriesExceededError"));
    }

    #[test]
    fn expected_errors_are_told_apart_and_stored_all_the_same() {
        let expected: Set = |options| options.throws = vec![ErrorMatcher::ANY].into();
        for (set, wanted) in [(expected, true), ((|_: &mut TaskOptions| {}) as Set, false)] {
            let settled = decided(set, None, 0, failure());
            assert_eq!(shown(&settled).0, Some("FAILURE"));
            assert!(
                matches!(settled.verdict, Verdict::Failed { why: FailureReason::Raised { expected }, .. } if expected == wanted)
            );
        }
    }
}
