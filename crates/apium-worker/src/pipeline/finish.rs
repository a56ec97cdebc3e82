//! From a verdict to what the completer can do: the result document, the message of the retry, the settled delivery.

use std::collections::HashMap;
use std::sync::Arc;

use apium_app::context::request::Request;
use apium_app::context::result_document::{Told, document};
use apium_app::failure::Failure;
use apium_protocol::json::text::Json;
use apium_protocol::result::document::ResultTuple;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::{ResultRecord, SharedBackend};
use apium_transport::broker::consumer::{Acknowledgement, Disposition, Settlement};
use apium_transport::broker::dead_set::{DeadReason, NewDeadLetter};
use apium_transport::broker::outgoing::Outgoing;
use jiff::Timestamp;

use crate::follow_up::builder::Sender;
use crate::outcome::Outcome;
use crate::pipeline::completer::Finish;
use crate::pipeline::follow::{Followed, after};
use crate::pipeline::intake::label;
use crate::pipeline::settle::{Run, settle};
use crate::pipeline::task_run::Work;
use crate::pipeline::verdict::Verdict;

/// Makes ends of works.
pub(crate) struct Finisher {
    /// What follows; its publisher and rules are the finisher's too.
    pub(crate) sender: Sender,
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
        work: &Work,
        verdict: Verdict,
        children: Vec<ResultTuple>,
        now: Timestamp,
    ) -> (Finish, Verdict) {
        let run = Run { request: &work.request, task: &work.task, now };
        let (verdict, followed) = match after(&self.sender, work, &verdict.ending, run.stores_errors()) {
            Ok(followed) => (verdict, followed),
            // A task whose follow-ups cannot be made has failed, as in Celery.
            Err(error) => {
                let failure = Failure::from_exception(ExceptionInfo::new("apium", "FollowUpError", error.to_string()));
                let verdict = settle(run, Outcome::Failure(failure), &mut fastrand::Rng::new());
                let followed = after(&self.sender, work, &verdict.ending, run.stores_errors());
                (verdict, followed.unwrap_or_default())
            }
        };
        let Followed { sequel, children: sent, late } = followed.unwrap_or_default();
        let mut children = children;
        children.extend(sent);
        let (publish, verdict, children) = match self.next_run(work, &verdict) {
            None => (Vec::new(), verdict, children),
            Some(Ok(outgoing)) => {
                let mut children = children;
                // The retry is a child of the run that sent it.
                children.extend(work.request.id().map(|id| ResultTuple {
                    id: id.clone(),
                    parent: None,
                    children: None,
                }));
                (vec![outgoing], verdict, children)
            }
            Some(Err(reason)) => {
                let outcome = Outcome::Reject { reason, requeue: false };
                (Vec::new(), settle(run, outcome, &mut fastrand::Rng::new()), children)
            }
        };
        let mut verdict = verdict;
        let record = verdict.store.take().and_then(|told| self.record(work, told, children, now));
        let settle = std::mem::replace(&mut verdict.settle, Acknowledgement::Ack);
        // With early ack the delivery is gone already; a message that did not fit its task is kept all the same.
        let (delivery, keep) = match (work.is_late(), settle) {
            (true, settle) => (Some((work.receipt.clone(), settle)), None),
            (false, Acknowledgement::Reject(Disposition::Dead(reason))) if reason.code == "arguments" => {
                (None, self.kept(work, reason))
            }
            (false, _) => (None, None),
        };
        let sequel = (!sequel.is_empty()).then(|| Box::new(sequel));
        let late = (sequel.is_some() || !late.is_empty()).then_some(late);
        let settlement = Settlement { record, publish, delivery, follow_ups: sequel };
        (Finish { keep, late, ..self.end(work, settlement) }, verdict)
    }

    /// The message of a run, made again from its request.
    fn kept(&self, work: &Work, reason: DeadReason) -> Option<NewDeadLetter> {
        let Request { headers, properties, body, delivery_info, .. } = &*work.request;
        let serializer = properties.content_type.as_deref().unwrap_or("json");
        let encoded = self.sender.publisher.codecs().encode_body(body, serializer, headers.compression.as_deref());
        let message = encoded.map(|encoded| encoded.into_message(headers.clone(), properties.clone()));
        if let Err(error) = &message {
            tracing::error!(task = &*work.task.name, %error, "could not keep the message of a call that does not fit its task");
        }
        Some(NewDeadLetter { queue: delivery_info.queue.clone(), message: message.ok()?, reason })
    }

    fn next_run(&self, work: &Work, verdict: &Verdict) -> Option<Result<Outgoing, String>> {
        let next = verdict.again.as_ref()?;
        let made = self.sender.publisher.retry_message(&work.request, next);
        Some(made.map_err(|error| format!("the message of its retry cannot be made: {error}")))
    }

    /// What is settled before the run: the ack, with early ack, and STARTED, where it is tracked. `None` when there is nothing.
    pub(crate) fn start(&self, work: &Work, now: Timestamp) -> Option<Finish> {
        let ignores = work.request.headers.ignore_result.unwrap_or(work.task.effective.ignore_result);
        let tracked = work.task.effective.track_started && !ignores;
        let record = tracked.then(|| self.started(work, now)).flatten();
        let delivery = (!work.is_late()).then(|| (work.receipt.clone(), Acknowledgement::Ack));
        let settlement = Settlement { record, publish: Vec::new(), delivery, follow_ups: None };
        (settlement.record.is_some() || settlement.delivery.is_some()).then(|| self.end(work, settlement))
    }

    fn started(&self, work: &Work, now: Timestamp) -> Option<ResultRecord> {
        let who = serde_json::json!({"pid": std::process::id(), "hostname": &*work.request.hostname});
        let result = Json::from_serialize(&who).unwrap_or(Json::NULL);
        let told = Told { state: State::Started, result, traceback: None };
        self.record(work, told, Vec::new(), now)
    }

    fn record(&self, work: &Work, told: Told, children: Vec<ResultTuple>, now: Timestamp) -> Option<ResultRecord> {
        if !self.stores && !self.backends.contains_key(&work.task.name) {
            return None;
        }
        let id = work.request.id()?.clone();
        let document = document(&work.request, id, told, children, &self.sender.rules, now);
        Some(ResultRecord { document, run: Some(work.mark()), ttl: self.sender.rules.ttl })
    }

    fn end(&self, work: &Work, settlement: Settlement) -> Finish {
        let backend = match self.backends.is_empty() {
            true => None,
            false => self.backends.get(&work.task.name).cloned(),
        };
        Finish {
            label: label(&work.request),
            source: work.source.clone(),
            settlement,
            backend,
            keep: None,
            late: None,
            done: None,
        }
    }
}
