//! What the end of a run does to the workflow around it: callbacks and the next step after a success, errbacks and the failure of
//! what comes behind after a failure, the part of a chord after either. Pure: it makes messages and documents and sends nothing.

use std::sync::Arc;

use apium_app::canvas::node::Node;
use apium_app::canvas::plan::SendWith;
use apium_app::context::request::Request;
use apium_app::error::Result;
use apium_app::failure::Failure;
use apium_app::publish::prepare::ParentTask;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;
use apium_protocol::result::document::ResultTuple;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_transport::broker::follow_ups::{EndedPart, FollowUps};

use crate::follow_up::builder::{FollowUpBuilder, id_seed};
use crate::follow_up::chord_part::{ChordPosition, FollowUpSource, chord_part};
use crate::follow_up::failure::FailurePropagation;
use crate::follow_up::links::Links;
use crate::follow_up::recount::Recount;
use crate::pipeline::errback::PendingErrbacks;
use crate::pipeline::task_run::TaskRun;
use crate::pipeline::verdict::Ended;

/// What follows a run.
#[derive(Default)]
pub(crate) struct PlannedFollowUps {
    pub(crate) follow_ups: FollowUps,
    /// What it sent, for the `children` of its result.
    pub(crate) children: Vec<ResultTuple>,
    /// Errbacks that this worker calls itself.
    pub(crate) errbacks: PendingErrbacks,
}

/// What follows an end; nothing for most.
///
/// # Errors
/// When a message cannot be made.
pub(crate) fn after(
    builder: &FollowUpBuilder,
    task_run: &TaskRun,
    ended: &Ended,
    stores_errors: bool,
) -> Result<Option<PlannedFollowUps>> {
    if let Ended::Replaced(with) = ended {
        return replaced(builder, &task_run.request, with).map(Some);
    }
    let Some(links) = &task_run.links else { return Ok(None) };
    if let Some(again) = &links.recount {
        return Ok(counted_again(builder, &task_run.request, links, again, ended));
    }
    match ended {
        Ended::Success(value) => succeeded(builder, &task_run.request, links, value).map(Some),
        Ended::Failure { failure, .. } => failed(builder, &task_run.request, links, failure, stores_errors).map(Some),
        Ended::Revoked(reason) => {
            let failure = Failure::from_exception(ExceptionInfo::task_revoked(reason));
            let mut planned = PlannedFollowUps::default();
            let told = (State::Revoked, failure.exception().to_json());
            let part = part(builder, &task_run.request, links, told, &planned);
            planned.follow_ups.parts.extend(part);
            Ok(Some(planned))
        }
        _ => Ok(None),
    }
}

fn succeeded(
    builder: &FollowUpBuilder,
    request: &Request,
    links: &Arc<Links>,
    value: &Json,
) -> Result<PlannedFollowUps> {
    let mut planned = PlannedFollowUps::default();
    if let (Some(parent), true) = (ParentTask::of(request), !links.callbacks.is_empty() || links.next.is_some()) {
        let mut planner = builder.planner(id_seed(request));
        let given = || {
            let mut given = SendWith::result(value.clone());
            // As with Celery the body of a chord that begins here knows the first task of all, whoever sends it.
            given.options.rare_mut().root_id = Some(parent.root_id.clone());
            given
        };
        let (groups, tasks): (Vec<Node>, Vec<Node>) = match links.callbacks.as_slice() {
            [] => (Vec::new(), Vec::new()),
            [one] => (vec![one.clone()], Vec::new()),
            // Those that are no groups go together, as one.
            several => several.iter().cloned().partition(|callback| matches!(callback, Node::Group(_))),
        };
        let together = (!tasks.is_empty()).then(|| Node::group(tasks));
        for callback in groups.into_iter().chain(together) {
            planned.children.push(planner.add(callback, given())?.child);
        }
        if let Some(next) = &links.next {
            let mut given = given();
            let rest = request.chain().split_last().map(|(_, rest)| rest.to_vec()).unwrap_or_default();
            given.options.rare_mut().chain = Some(rest);
            planned.children.push(planner.add(next.clone(), given)?.child);
        }
        builder.add_messages(planner, &parent, &mut planned.follow_ups)?;
    }
    let part = part(builder, request, links, (State::Success, value.clone()), &planned);
    planned.follow_ups.parts.extend(part);
    Ok(planned)
}

fn failed(
    builder: &FollowUpBuilder,
    request: &Request,
    links: &Arc<Links>,
    failure: &Failure,
    stores: bool,
) -> Result<PlannedFollowUps> {
    let mut planned = PlannedFollowUps::default();
    let part = part(builder, request, links, (State::Failure, failure.exception().to_json()), &planned);
    planned.follow_ups.parts.extend(part);
    let run = FollowUpSource { builder, errbacks: &planned.errbacks, queue: &request.delivery_info.queue };
    let mut fall = FailurePropagation::new((run, id_seed(request)), failure, &mut planned.follow_ups);
    fall.chain(request.chain(), stores);
    if let Some(parent) = ParentTask::of(request) {
        fall.errbacks(&links.errbacks, request, &parent, id_seed(request))?;
    }
    Ok(planned)
}

/// The task ends and another signature goes on under its id, in its group, its chord and its chain.
fn replaced(builder: &FollowUpBuilder, request: &Request, with: &Signature) -> Result<PlannedFollowUps> {
    let mut planned = PlannedFollowUps::default();
    let Some(parent) = ParentTask::of(request) else { return Ok(planned) };
    let mut planner = builder.planner(id_seed(request));
    let node = Node::from_wire(with)?.in_place_of(request, &mut planner)?;
    // What goes on under the id of the task is no child of it.
    planner.add(node, SendWith::default())?;
    builder.add_messages(planner, &parent, &mut planned.follow_ups)?;
    Ok(planned)
}

/// Whatever became of the run that counts a part once more, unless it comes again.
fn counted_again(
    builder: &FollowUpBuilder,
    request: &Request,
    links: &Links,
    again: &Recount,
    ended: &Ended,
) -> Option<PlannedFollowUps> {
    if !matches!(ended, Ended::Success(_) | Ended::Failure { .. } | Ended::Revoked(_)) {
        return None;
    }
    let Recount { group, task_id, group_index, state, result } = again.clone();
    let mut planned = PlannedFollowUps::default();
    // The body is sent as if the task of the part ended now.
    let parent = ParentTask { id: task_id.clone(), ..ParentTask::of(request)? };
    let run = FollowUpSource { builder, errbacks: &planned.errbacks, queue: &request.delivery_info.queue };
    let place = ChordPosition { group, task_id, group_index };
    let part = chord_part(run, place, links.body.clone()?, (state, result), parent);
    planned.follow_ups.parts.push(part);
    Some(planned)
}

/// The part of a chord that the end of the task of `request` is.
fn part(
    builder: &FollowUpBuilder,
    request: &Request,
    links: &Links,
    told: (State, Json),
    planned: &PlannedFollowUps,
) -> Option<EndedPart> {
    let body = links.body.clone()?;
    let place = ChordPosition {
        group: request.group()?.to_owned(),
        task_id: request.id()?.clone(),
        group_index: request.group_index(),
    };
    let run = FollowUpSource { builder, errbacks: &planned.errbacks, queue: &request.delivery_info.queue };
    Some(chord_part(run, place, body, told, ParentTask::of(request)?))
}
