//! From a verdict to what the completer can do: the result document, the message of the retry, the settled delivery.

use std::collections::HashMap;
use std::sync::Arc;

use apium_app::context::request::Request;
use apium_app::context::result_document::{ResultUpdate, result_document};
use apium_app::failure::Failure;
use apium_protocol::json::text::Json;
use apium_protocol::result::document::ResultTuple;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::{ResultRecord, SharedBackend};
use apium_transport::broker::dead_set::{DeadReason, NewDeadLetter};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::{Acknowledgement, Disposition, Settlement};
use jiff::Timestamp;

use crate::follow_up::builder::FollowUpBuilder;
use crate::outcome::RunOutcome;
use crate::pipeline::completer::Completion;
use crate::pipeline::follow::{PlannedFollowUps, after};
use crate::pipeline::intake::label;
use crate::pipeline::settle::{RunFacts, settle};
use crate::pipeline::task_run::TaskRun;
use crate::pipeline::verdict::Verdict;

/// Makes ends of works.
pub(crate) struct Finisher {
    /// What follows; its publisher and rules are the finisher's too.
    pub(crate) sender: FollowUpBuilder,
    /// Whether the app has a result backend.
    pub(crate) stores: bool,
    /// The backends of tasks that have one of their own, by task name.
    pub(crate) backends: HashMap<Arc<str>, SharedBackend>,
}

impl Finisher {
    /// The end of a run, and the verdict behind it. When the message of a retry cannot be made, the task is rejected instead,
    /// as Celery does it.
    pub(crate) fn finish(
        &self,
        task_run: &TaskRun,
        verdict: Verdict,
        children: Vec<ResultTuple>,
        now: Timestamp,
    ) -> (Completion, Verdict) {
        let run = RunFacts { request: &task_run.request, task: &task_run.task, now };
        let (verdict, followed) = match after(&self.sender, task_run, &verdict.ending, run.stores_errors()) {
            Ok(followed) => (verdict, followed),
            // A task whose follow-ups cannot be made has failed, as in Celery.
            Err(error) => {
                let failure = Failure::from_exception(ExceptionInfo::new("apium", "FollowUpError", error.to_string()));
                let verdict = settle(run, RunOutcome::Failure(failure), &mut fastrand::Rng::new());
                let followed = after(&self.sender, task_run, &verdict.ending, run.stores_errors());
                (verdict, followed.unwrap_or_default())
            }
        };
        let PlannedFollowUps { follow_ups, children: sent, errbacks: late } = followed.unwrap_or_default();
        let mut children = children;
        children.extend(sent);
        let (publish, verdict, children) = match self.next_run(task_run, &verdict) {
            None => (Vec::new(), verdict, children),
            Some(Ok(outgoing)) => {
                let mut children = children;
                // The retry is a child of the run that sent it.
                children.extend(task_run.request.id().map(|id| ResultTuple {
                    id: id.clone(),
                    parent: None,
                    children: None,
                }));
                (vec![outgoing], verdict, children)
            }
            Some(Err(reason)) => {
                let outcome = RunOutcome::Reject { reason, requeue: false };
                (Vec::new(), settle(run, outcome, &mut fastrand::Rng::new()), children)
            }
        };
        let mut verdict = verdict;
        let record = verdict.store.take().and_then(|told| self.record(task_run, told, children, now));
        let settle = std::mem::replace(&mut verdict.settle, Acknowledgement::Ack);
        // With early ack the delivery is gone already; a message that did not fit its task is kept all the same.
        let (delivery, keep) = match (task_run.acks_late(), settle) {
            (true, settle) => (Some((task_run.receipt.clone(), settle)), None),
            (false, Acknowledgement::Reject(Disposition::Dead(reason))) if reason.code == "arguments" => {
                (None, self.kept(task_run, reason))
            }
            (false, _) => (None, None),
        };
        let follow_ups = (!follow_ups.is_empty()).then(|| Box::new(follow_ups));
        let late = (follow_ups.is_some() || !late.is_empty()).then_some(late);
        let settlement = Settlement { record, publish, delivery, follow_ups };
        (Completion { dead_letter: keep, errbacks: late, ..self.end(task_run, settlement) }, verdict)
    }

    /// The message of a run, made again from its request.
    fn kept(&self, task_run: &TaskRun, reason: DeadReason) -> Option<NewDeadLetter> {
        let Request { headers, properties, body, delivery_info, .. } = &*task_run.request;
        let serializer = properties.content_type.as_deref().unwrap_or("json");
        let encoded = self.sender.publisher.codecs().encode_body(body, serializer, headers.compression.as_deref());
        let message = encoded.map(|encoded| encoded.into_message(headers.clone(), properties.clone()));
        if let Err(error) = &message {
            tracing::error!(task = &*task_run.task.name, %error, "could not keep the message of a call that does not fit its task");
        }
        Some(NewDeadLetter { queue: delivery_info.queue.clone(), message: message.ok()?, reason })
    }

    fn next_run(&self, task_run: &TaskRun, verdict: &Verdict) -> Option<Result<Outgoing, String>> {
        let next = verdict.again.as_ref()?;
        let made = self.sender.publisher.retry_message(&task_run.request, next);
        Some(made.map_err(|error| format!("the message of its retry cannot be made: {error}")))
    }

    /// What is settled before the run: the ack, with early ack, and STARTED, where it is tracked. `None` when there is nothing.
    pub(crate) fn start(&self, task_run: &TaskRun, now: Timestamp) -> Option<Completion> {
        let ignores = task_run.request.headers.ignore_result.unwrap_or(task_run.task.effective.ignore_result);
        let tracked = task_run.task.effective.track_started && !ignores;
        let record = tracked.then(|| self.started(task_run, now)).flatten();
        let delivery = (!task_run.acks_late()).then(|| (task_run.receipt.clone(), Acknowledgement::Ack));
        let settlement = Settlement { record, publish: Vec::new(), delivery, follow_ups: None };
        (settlement.record.is_some() || settlement.delivery.is_some()).then(|| self.end(task_run, settlement))
    }

    fn started(&self, task_run: &TaskRun, now: Timestamp) -> Option<ResultRecord> {
        let who = serde_json::json!({"pid": std::process::id(), "hostname": &*task_run.request.hostname});
        let result = Json::from_serialize(&who).unwrap_or(Json::NULL);
        let told = ResultUpdate { state: State::Started, result, traceback: None };
        self.record(task_run, told, Vec::new(), now)
    }

    fn record(
        &self,
        task_run: &TaskRun,
        told: ResultUpdate,
        children: Vec<ResultTuple>,
        now: Timestamp,
    ) -> Option<ResultRecord> {
        if !self.stores && !self.backends.contains_key(&task_run.task.name) {
            return None;
        }
        let id = task_run.request.id()?.clone();
        let document = result_document(&task_run.request, id, told, children, &self.sender.rules, now);
        Some(ResultRecord {
            document,
            run: Some(task_run.version()),
            ttl: self.sender.rules.ttl,
            reply_to: task_run.request.properties.reply_to.clone(),
        })
    }

    fn end(&self, task_run: &TaskRun, settlement: Settlement) -> Completion {
        let backend = match self.backends.is_empty() {
            true => None,
            false => self.backends.get(&task_run.task.name).cloned(),
        };
        Completion {
            label: label(&task_run.request),
            source: task_run.source.clone(),
            settlement,
            backend,
            dead_letter: None,
            errbacks: None,
            done: None,
        }
    }
}
