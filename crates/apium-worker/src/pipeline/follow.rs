//! What the end of a run does to the workflow around it: callbacks and the next step after a success, errbacks and the failure of
//! what comes behind after a failure, the part of a chord after either. Pure: it makes messages and documents and sends nothing.

use std::sync::Arc;

use apium_app::canvas::node::Node;
use apium_app::canvas::plan::Given;
use apium_app::context::request::Request;
use apium_app::error::Result;
use apium_app::failure::Failure;
use apium_app::publish::prepare::Parent;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;
use apium_protocol::result::document::ResultTuple;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_transport::broker::follow_ups::{EndedPart, FollowUps};

use crate::follow_up::builder::{Sender, seed};
use crate::follow_up::chord_part::{PartPlace, RunEnd, part_of};
use crate::follow_up::failure::Fall;
use crate::follow_up::links::Links;
use crate::follow_up::recount::Again;
use crate::pipeline::errback::Late;
use crate::pipeline::task_run::Work;
use crate::pipeline::verdict::Ended;

/// What follows a run.
#[derive(Default)]
pub(crate) struct Followed {
    pub(crate) sequel: FollowUps,
    /// What it sent, for the `children` of its result.
    pub(crate) children: Vec<ResultTuple>,
    /// Errbacks that this worker calls itself.
    pub(crate) late: Late,
}

/// What follows an end; nothing for most.
///
/// # Errors
/// When a message cannot be made.
pub(crate) fn after(sender: &Sender, work: &Work, ended: &Ended, stores_errors: bool) -> Result<Option<Followed>> {
    if let Ended::Replaced(with) = ended {
        return replaced(sender, &work.request, with).map(Some);
    }
    let Some(follow) = &work.follow else { return Ok(None) };
    if let Some(again) = &follow.again {
        return Ok(counted_again(sender, &work.request, follow, again, ended));
    }
    match ended {
        Ended::Success(value) => succeeded(sender, &work.request, follow, value).map(Some),
        Ended::Failure { failure, .. } => failed(sender, &work.request, follow, failure, stores_errors).map(Some),
        Ended::Revoked(reason) => {
            let failure = Failure::from_exception(ExceptionInfo::task_revoked(reason));
            let mut followed = Followed::default();
            let told = (State::Revoked, failure.exception().to_json());
            let part = part(sender, &work.request, follow, told, &followed);
            followed.sequel.parts.extend(part);
            Ok(Some(followed))
        }
        _ => Ok(None),
    }
}

fn succeeded(sender: &Sender, request: &Request, follow: &Arc<Links>, value: &Json) -> Result<Followed> {
    let mut followed = Followed::default();
    if let (Some(parent), true) = (Parent::of(request), !follow.callbacks.is_empty() || follow.next.is_some()) {
        let mut planner = sender.planner(seed(request));
        let given = || {
            let mut given = Given::result(value.clone());
            // As with Celery the body of a chord that begins here knows the first task of all, whoever sends it.
            given.options.rare_mut().root_id = Some(parent.root_id.clone());
            given
        };
        let (groups, tasks): (Vec<Node>, Vec<Node>) = match follow.callbacks.as_slice() {
            [] => (Vec::new(), Vec::new()),
            [one] => (vec![one.clone()], Vec::new()),
            // Those that are no groups go together, as one.
            several => several.iter().cloned().partition(|callback| matches!(callback, Node::Group(_))),
        };
        let together = (!tasks.is_empty()).then(|| Node::group(tasks));
        for callback in groups.into_iter().chain(together) {
            followed.children.push(planner.add(callback, given())?.child);
        }
        if let Some(next) = &follow.next {
            let mut given = given();
            let rest = request.chain().split_last().map(|(_, rest)| rest.to_vec()).unwrap_or_default();
            given.options.rare_mut().chain = Some(rest);
            followed.children.push(planner.add(next.clone(), given)?.child);
        }
        sender.send(planner, &parent, &mut followed.sequel)?;
    }
    let part = part(sender, request, follow, (State::Success, value.clone()), &followed);
    followed.sequel.parts.extend(part);
    Ok(followed)
}

fn failed(
    sender: &Sender,
    request: &Request,
    follow: &Arc<Links>,
    failure: &Failure,
    stores: bool,
) -> Result<Followed> {
    let mut followed = Followed::default();
    let part = part(sender, request, follow, (State::Failure, failure.exception().to_json()), &followed);
    followed.sequel.parts.extend(part);
    let run = RunEnd { sender, late: &followed.late, queue: &request.delivery_info.queue };
    let mut fall = Fall::new((run, seed(request)), failure, &mut followed.sequel);
    fall.chain(request.chain(), stores);
    if let Some(parent) = Parent::of(request) {
        fall.errbacks(&follow.errbacks, request, &parent, seed(request))?;
    }
    Ok(followed)
}

/// The task ends and another signature goes on under its id, in its group, its chord and its chain.
fn replaced(sender: &Sender, request: &Request, with: &Signature) -> Result<Followed> {
    let mut followed = Followed::default();
    let Some(parent) = Parent::of(request) else { return Ok(followed) };
    let mut planner = sender.planner(seed(request));
    let node = Node::from_wire(with)?.in_place_of(request, &mut planner)?;
    // What goes on under the id of the task is no child of it.
    planner.add(node, Given::default())?;
    sender.send(planner, &parent, &mut followed.sequel)?;
    Ok(followed)
}

/// Whatever became of the run that counts a part once more, unless it comes again.
fn counted_again(sender: &Sender, request: &Request, follow: &Links, again: &Again, ended: &Ended) -> Option<Followed> {
    if !matches!(ended, Ended::Success(_) | Ended::Failure { .. } | Ended::Revoked(_)) {
        return None;
    }
    let Again { group, task_id, group_index, state, result } = again.clone();
    let mut followed = Followed::default();
    // The body is sent as if the task of the part ended now.
    let parent = Parent { id: task_id.clone(), ..Parent::of(request)? };
    let run = RunEnd { sender, late: &followed.late, queue: &request.delivery_info.queue };
    let place = PartPlace { group, task_id, group_index };
    let part = part_of(run, place, follow.body.clone()?, (state, result), parent);
    followed.sequel.parts.push(part);
    Some(followed)
}

/// The part of a chord that the end of the task of `request` is.
fn part(
    sender: &Sender,
    request: &Request,
    follow: &Links,
    told: (State, Json),
    followed: &Followed,
) -> Option<EndedPart> {
    let body = follow.body.clone()?;
    let place = PartPlace {
        group: request.group()?.to_owned(),
        task_id: request.id()?.clone(),
        group_index: request.group_index(),
    };
    let run = RunEnd { sender, late: &followed.late, queue: &request.delivery_info.queue };
    Some(part_of(run, place, body, told, Parent::of(request)?))
}
