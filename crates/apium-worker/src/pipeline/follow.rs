//! The fourth step: what follows a run. After a success these are callbacks and the next step of the chain; after a
//! failure, errbacks and the failure of the steps behind; after both, the part of a chord; and for a retry, its
//! message. Pure: it makes messages and documents, and sends nothing.

use std::sync::Arc;

use apium_app::canvas::node::Node;
use apium_app::canvas::plan::SendWith;
use apium_app::context::request::Request;
use apium_app::error::{Error, ErrorKind, Result};
use apium_app::failure::Failure;
use apium_app::publish::prepare::ParentTask;
use apium_app::retry::policy::NextRun;
use apium_protocol::error::with_causes;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;
use apium_protocol::message::steps_behind::StepsBehind;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultTuple;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_protocol::value::printable::printable_text;
use apium_transport::broker::follow_ups::{EndedPart, FollowUps};
use apium_transport::broker::outgoing::Outgoing;
use jiff::Timestamp;

use crate::follow_up::builder::{FollowUpBuilder, id_seed};
use crate::follow_up::chord_part::{ChordPosition, FollowUpSource, chord_part, unsent_part};
use crate::follow_up::failure::FailurePropagation;
use crate::follow_up::handed_over::handed_over;
use crate::follow_up::links::Links;
use crate::follow_up::pending_errback::PendingErrbacks;
use crate::follow_up::recount::Recount;
use crate::pipeline::task_run::{RunEnd, TaskRun};
use crate::pipeline::verdict::{FailureReason, Verdict};
use crate::pool::guard::guarded;

/// What follows a run.
#[derive(Default)]
pub(crate) struct PlannedFollowUps {
    pub(crate) follow_ups: FollowUps,
    /// The tasks that it sends, for the `children` of the result.
    pub(crate) children: Vec<ResultTuple>,
    /// Errbacks that this worker calls itself, after the failure is stored.
    pub(crate) errbacks: PendingErrbacks,
    /// The message of the next run.
    pub(crate) retry: Option<Outgoing>,
}

/// Plans what follows a run.
pub(crate) struct FollowUpPlanner {
    pub(crate) builder: FollowUpBuilder,
}

impl FollowUpPlanner {
    /// Plans what follows `verdict`, and returns the verdict that holds in the end. It is another one where the
    /// messages cannot be made, as in Celery: a retry that cannot be sent rejects the task, and a task whose follow-ups
    /// cannot be sent has failed. That is no reason to run its body once more, whatever its `autoretry_for` says.
    pub(crate) fn plan(&self, task_run: &TaskRun, verdict: Verdict, end: &RunEnd) -> (Verdict, PlannedFollowUps) {
        let _run = end.span.enter();
        let _stop = tracing::trace_span!(target: "apium::walk", "follow").entered();
        if let Some(handed) = &end.handed {
            let (follow_ups, errbacks) = handed_over(&self.builder, &task_run.request, handed);
            return (verdict, PlannedFollowUps { follow_ups, errbacks, ..PlannedFollowUps::default() });
        }
        let (verdict, mut planned) = self.plan_links(task_run, verdict, end.now);
        if !end.unsent.is_empty() && !verdict.comes_again() {
            let (builder, errbacks) = (&self.builder, &planned.errbacks);
            let source = FollowUpSource { builder, errbacks, request: &task_run.request };
            let body = task_run.links.as_ref().and_then(|links| links.body.as_ref());
            let parts = end.unsent.iter().filter_map(|added| unsent_part(source, body?, added));
            planned.follow_ups.parts.extend(parts);
        }
        (verdict, planned)
    }

    /// What the links of the message ask for.
    fn plan_links(&self, task_run: &TaskRun, verdict: Verdict, now: Timestamp) -> (Verdict, PlannedFollowUps) {
        let error = match self.follow_ups(task_run, &verdict, now) {
            Ok(planned) => return (verdict, planned),
            Err(error) => error,
        };
        let (verdict, failure) = match verdict {
            Verdict::Retry(_) => {
                let reason = format!("the message of its retry cannot be made: {error:#}");
                let failure = Failure::from_exception(ExceptionInfo::reject(Some(&reason), false));
                (Verdict::Rejected { reason, requeue: false }, failure)
            }
            // It stays what it is. What follows it is made as far as it can be.
            Verdict::Failed { failure, why } => (Verdict::Failed { failure: failure.clone(), why }, failure),
            _ => {
                let text = format!("{error:#}");
                let failure = Failure::from_exception(ExceptionInfo::new("apium", "FollowUpError", text));
                let why = FailureReason::Raised { expected: false };
                (Verdict::Failed { failure: failure.clone(), why }, failure)
            }
        };
        let failed = Verdict::Failed { failure, why: FailureReason::Raised { expected: false } };
        let planned = self.follow_ups(task_run, &failed, now).unwrap_or_else(|error| {
            let id = &*printable_text(task_run.request.id().map_or("?", |id| id.as_str()));
            let task = &*task_run.task.name;
            tracing::error!(task, id, error = %with_causes(&error), "could not make what follows the failure of task {task}[{id}]");
            PlannedFollowUps::default()
        });
        (verdict, planned)
    }

    /// What follows this verdict. Code of the app, a route, a layer or a serializer, makes a part of it and may panic.
    fn follow_ups(&self, task_run: &TaskRun, verdict: &Verdict, now: Timestamp) -> Result<PlannedFollowUps> {
        guarded(|| self.follow_ups_unguarded(task_run, verdict, now)).unwrap_or_else(|panicked| {
            let text =
                "make what follows the task: code of the app, such as a route, a layer or a serializer, panicked";
            Err(Error::new(ErrorKind::Call, text).with_source(panicked))
        })
    }

    fn follow_ups_unguarded(&self, task_run: &TaskRun, verdict: &Verdict, now: Timestamp) -> Result<PlannedFollowUps> {
        let (builder, request) = (&self.builder, &task_run.request);
        match verdict {
            Verdict::Replaced(with) => return replaced(builder, request, with),
            Verdict::Retry(next) => return retried(builder, request, next),
            _ => {}
        }
        let Some(links) = &task_run.links else { return Ok(PlannedFollowUps::default()) };
        if let Some(recount) = &links.recount {
            return Ok(recounted(builder, request, links, recount, verdict).unwrap_or_default());
        }
        match verdict {
            Verdict::Succeeded(value) => succeeded(builder, request, links, value),
            Verdict::Failed { failure, .. } => {
                failed(builder, request, links, failure, task_run.facts(now).stores_errors())
            }
            Verdict::Revoked(why) => Ok(revoked(builder, request, links, why.reason())),
            Verdict::Aborted => Ok(revoked(builder, request, links, "aborted")),
            _ => Ok(PlannedFollowUps::default()),
        }
    }
}

/// What follows a run that is retried: the message of the next run. Celery counts it among the children, under the
/// task's own id.
fn retried(builder: &FollowUpBuilder, request: &Arc<Request>, next: &NextRun) -> Result<PlannedFollowUps> {
    let retry = Some(builder.retry_message(request, next)?);
    let child = |id: &TaskId| ResultTuple::task(id.clone());
    let children = request.id().map(child).into_iter().collect();
    Ok(PlannedFollowUps { retry, children, ..PlannedFollowUps::default() })
}

/// What follows a success: callbacks, the next step of the chain, and the part of a chord.
fn succeeded(
    builder: &FollowUpBuilder,
    request: &Arc<Request>,
    links: &Arc<Links>,
    value: &Json,
) -> Result<PlannedFollowUps> {
    let mut planned = PlannedFollowUps::default();
    if let (Some(parent), true) = (ParentTask::of(request), !links.callbacks.is_empty() || links.next.is_some()) {
        let mut planner = builder.planner(id_seed(request));
        let send_with = || {
            let mut send_with = SendWith::result(value.clone());
            // As in Celery a chord that is sent here keeps the root id of the workflow for its body, whichever worker
            // sends that.
            send_with.options.rare_mut().root_id = Some(parent.root_id.clone());
            send_with
        };
        let (groups, tasks): (Vec<Node>, Vec<Node>) = match links.callbacks.as_slice() {
            [] => (Vec::new(), Vec::new()),
            [one] => (vec![one.clone()], Vec::new()),
            // As in Celery, callbacks that are no groups are sent together as one group.
            several => several.iter().cloned().partition(|callback| matches!(callback, Node::Group(_))),
        };
        let together = (!tasks.is_empty()).then(|| Node::group(tasks));
        for callback in groups.into_iter().chain(together) {
            planned.children.push(planner.add(callback, send_with())?.child);
        }
        if let Some(next) = &links.next {
            let mut send_with = send_with();
            send_with.options.rare_mut().chain = request.body.embed.chain.as_ref().map(StepsBehind::behind_next);
            planned.children.push(planner.add(next.clone(), send_with)?.child);
        }
        builder.add_messages(planner, &parent, request, &mut planned.follow_ups)?;
    }
    let part = part(builder, request, links, (State::Success, value.clone()), &planned);
    planned.follow_ups.parts.extend(part);
    Ok(planned)
}

/// What follows a failure: the part of a chord first, the steps behind, and the errbacks.
fn failed(
    builder: &FollowUpBuilder,
    request: &Arc<Request>,
    links: &Arc<Links>,
    failure: &Failure,
    stores: bool,
) -> Result<PlannedFollowUps> {
    let mut planned = PlannedFollowUps::default();
    let part = part(builder, request, links, (State::Failure, failure.exception().to_json()), &planned);
    planned.follow_ups.parts.extend(part);
    let source = FollowUpSource { builder, errbacks: &planned.errbacks, request };
    let mut propagation = FailurePropagation::new((source, id_seed(request)), failure, &mut planned.follow_ups);
    propagation.chain(request.body.embed.chain.as_ref(), stores);
    if let Some(parent) = ParentTask::of(request) {
        propagation.errbacks(&links.errbacks, request, &parent, id_seed(request));
    }
    Ok(planned)
}

/// What follows a task that does not run: its part of a chord, which has not returned.
fn revoked(
    builder: &FollowUpBuilder,
    request: &Arc<Request>,
    links: &Arc<Links>,
    reason: &'static str,
) -> PlannedFollowUps {
    let mut planned = PlannedFollowUps::default();
    let result = (State::Revoked, ExceptionInfo::task_revoked(reason).to_json());
    let part = part(builder, request, links, result, &planned);
    planned.follow_ups.parts.extend(part);
    planned
}

/// What follows a task that was replaced: the other signature, which takes its id and its place in group, chord and
/// chain.
fn replaced(builder: &FollowUpBuilder, request: &Arc<Request>, with: &Signature) -> Result<PlannedFollowUps> {
    let mut planned = PlannedFollowUps::default();
    let Some(parent) = ParentTask::of(request) else { return Ok(planned) };
    let mut planner = builder.planner(id_seed(request));
    let node = Node::from_wire(with)?.in_place_of(request, &mut planner)?;
    // What goes on under the id of the task is no child of it.
    planner.add(node, SendWith::default())?;
    builder.add_messages(planner, &parent, request, &mut planned.follow_ups)?;
    Ok(planned)
}

/// What follows a recount: the part that it counts. Whether the recount itself succeeded does not matter, unless it is
/// retried or delivered again: then the part is counted by that run.
fn recounted(
    builder: &FollowUpBuilder,
    request: &Arc<Request>,
    links: &Links,
    recount: &Recount,
    verdict: &Verdict,
) -> Option<PlannedFollowUps> {
    if !matches!(verdict, Verdict::Succeeded(_) | Verdict::Failed { .. } | Verdict::Revoked(_) | Verdict::Aborted) {
        return None;
    }
    let Recount { group, task_id, group_index, state, result } = recount.clone();
    let mut planned = PlannedFollowUps::default();
    // The body gets the parent that it would have if the task of the part ended now, and so do the layers.
    let parent = ParentTask { id: task_id.clone(), ..ParentTask::of(request)? };
    let mut of_part = Request::clone(request);
    of_part.headers.id = Some(task_id.clone());
    let request = &Arc::new(of_part);
    let source = FollowUpSource { builder, errbacks: &planned.errbacks, request };
    let position = ChordPosition { group, task_id, group_index };
    let part = chord_part(source, position, links.body.clone()?, (state, result), parent);
    planned.follow_ups.parts.push(part);
    Some(planned)
}

/// The part of a chord that this task is, ended with this state and result; `None` when it is none.
fn part(
    builder: &FollowUpBuilder,
    request: &Arc<Request>,
    links: &Links,
    result: (State, Json),
    planned: &PlannedFollowUps,
) -> Option<EndedPart> {
    let body = links.body.clone()?;
    let position = ChordPosition {
        group: request.group()?.to_owned(),
        task_id: request.id()?.clone(),
        group_index: request.group_index(),
    };
    let source = FollowUpSource { builder, errbacks: &planned.errbacks, request };
    Some(chord_part(source, position, body, result, ParentTask::of(request)?))
}
