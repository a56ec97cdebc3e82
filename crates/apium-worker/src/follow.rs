//! What the end of a run does to the workflow around it: callbacks and the next step after a success, errbacks and the failure of
//! what comes behind after a failure, the part of a chord after either. Pure: it makes messages and documents and sends nothing.
//!
//! Ids of what follows come from the id of the task and its retries, so a run that is repeated sends the same again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use apium_app::canvas::node::{Node, TaskKind, TaskNode};
use apium_app::canvas::plan::{Given, Planner};
use apium_app::error::Result;
use apium_app::failure::Failure;
use apium_app::prepare::Parent;
use apium_app::publisher::Publisher;
use apium_app::record::RecordRules;
use apium_app::registry::Registry;
use apium_app::request::Request;
use apium_protocol::id::TaskId;
use apium_protocol::json::Json;
use apium_protocol::record::ResultTuple;
use apium_protocol::state::State;
use apium_transport::chord::ChordPart;
use apium_transport::sequel::{PartEnd, Sequel};

use crate::chord_body::ChordBody;
use crate::errback::Late;
use crate::fail::Fall;
use crate::follow_ups::FollowUps;
use crate::verdict::Ended;
use crate::work::Work;

/// Makes what follows.
#[derive(Clone)]
pub(crate) struct Follow {
    pub(crate) publisher: Publisher,
    pub(crate) registry: Arc<Registry>,
    pub(crate) rules: RecordRules,
}

/// What follows a run.
#[derive(Default)]
pub(crate) struct Followed {
    pub(crate) sequel: Sequel,
    /// What it sent, for the `children` of its result.
    pub(crate) children: Vec<ResultTuple>,
    /// Errbacks that this worker calls itself.
    pub(crate) late: Late,
}

impl Follow {
    /// What follows an end; nothing for most.
    ///
    /// # Errors
    /// When a message cannot be made.
    pub(crate) fn after(&self, work: &Work, ended: &Ended, stores_errors: bool) -> Result<Option<Followed>> {
        if let Ended::Replaced(node) = ended {
            return self.replaced(&work.request, node).map(Some);
        }
        let Some(follow) = &work.follow else { return Ok(None) };
        match ended {
            Ended::Success(value) => self.succeeded(&work.request, follow, value).map(Some),
            Ended::Failure { failure, .. } => self.failed(&work.request, follow, failure, stores_errors).map(Some),
            Ended::Revoked(reason) => {
                let failure = Failure::from_exception(apium_protocol::exception::ExceptionInfo::task_revoked(reason));
                let mut followed = Followed::default();
                let part = self.part(&work.request, follow, State::Revoked, failure.exception().to_json(), &followed);
                followed.sequel.parts.extend(part);
                Ok(Some(followed))
            }
            _ => Ok(None),
        }
    }

    fn succeeded(&self, request: &Request, follow: &Arc<FollowUps>, value: &Json) -> Result<Followed> {
        let mut followed = Followed::default();
        if let (Some(parent), true) = (Parent::of(request), !follow.callbacks.is_empty() || follow.next.is_some()) {
            let mut planner = self.planner(seed(request));
            let (groups, tasks): (Vec<Node>, Vec<Node>) = match follow.callbacks.as_slice() {
                [] => (Vec::new(), Vec::new()),
                [one] => (vec![one.clone()], Vec::new()),
                // Those that are no groups go together, as one.
                several => several.iter().cloned().partition(|callback| matches!(callback, Node::Group(_))),
            };
            let together = (!tasks.is_empty()).then(|| Node::group(tasks));
            for callback in groups.into_iter().chain(together) {
                followed.children.push(planner.add(callback, Given::result(value.clone()))?.child);
            }
            if let Some(next) = &follow.next {
                let mut given = Given::result(value.clone());
                let rest = request.chain().split_last().map(|(_, rest)| rest.to_vec()).unwrap_or_default();
                given.options.rare_mut().chain = Some(rest);
                followed.children.push(planner.add(next.clone(), given)?.child);
            }
            self.send(planner, &parent, &mut followed.sequel)?;
        }
        let part = self.part(request, follow, State::Success, value.clone(), &followed);
        followed.sequel.parts.extend(part);
        Ok(followed)
    }

    fn failed(&self, request: &Request, follow: &Arc<FollowUps>, failure: &Failure, stores: bool) -> Result<Followed> {
        let mut followed = Followed::default();
        let part = self.part(request, follow, State::Failure, failure.exception().to_json(), &followed);
        followed.sequel.parts.extend(part);
        let mut fall = Fall::new((self, seed(request)), failure, &mut followed.sequel, &followed.late);
        fall.chain(request.chain(), stores);
        if let Some(parent) = Parent::of(request) {
            fall.errbacks(&follow.errbacks, request, &parent, seed(request))?;
        }
        Ok(followed)
    }

    /// The task ends and another signature goes on under its id, in its group, its chord and its chain.
    fn replaced(&self, request: &Request, node: &Node) -> Result<Followed> {
        let mut followed = Followed::default();
        let Some(parent) = Parent::of(request) else { return Ok(followed) };
        let mut planner = self.planner(seed(request));
        let node = node.clone().in_place_of(request, &mut planner)?;
        // What goes on under the id of the task is no child of it.
        planner.add(node, Given::default())?;
        self.send(planner, &parent, &mut followed.sequel)?;
        Ok(followed)
    }

    pub(crate) fn planner(&self, seed: u64) -> Planner {
        self.publisher.planner(self.publisher.ids_from(seed))
    }

    /// Makes messages of what is planned.
    pub(crate) fn send(&self, planner: Planner, parent: &Parent, sequel: &mut Sequel) -> Result<()> {
        let plan = planner.finish();
        sequel.publish.extend(self.publisher.messages_after(plan.calls, parent)?);
        sequel.opens.extend(plan.opens);
        Ok(())
    }

    /// The part of a chord that the end of the task of `request` is.
    fn part(
        &self,
        request: &Request,
        follow: &Arc<FollowUps>,
        state: State,
        result: Json,
        followed: &Followed,
    ) -> Option<PartEnd> {
        let body = follow.body.clone()?;
        let place = PartPlace {
            group: request.group()?.to_owned(),
            task_id: request.id()?.clone(),
            group_index: request.group_index(),
        };
        Some(self.part_of(place, body, (state, result), Parent::of(request)?, &followed.late))
    }

    /// A part of a chord whose body is `body`.
    pub(crate) fn part_of(
        &self,
        place: PartPlace,
        body: Node,
        (state, result): (State, Json),
        parent: Parent,
        late: &Late,
    ) -> PartEnd {
        let config = self.publisher.config();
        let PartPlace { group, task_id, group_index } = place;
        let rest = ChordBody { follow: self.clone(), body, seed: seed_of(&group, 0), parent, late: late.clone() };
        let claimant = task_id.to_string();
        let part = ChordPart {
            group,
            task_id,
            group_index,
            state,
            result,
            ttl: config.chord_ttl(),
            claimant,
            claim: config.chord_claim(),
        };
        PartEnd { part, rest: Arc::new(rest) }
    }
}

/// Which part of which chord.
pub(crate) struct PartPlace {
    pub(crate) group: String,
    pub(crate) task_id: TaskId,
    pub(crate) group_index: Option<i64>,
}

/// What the ids of all that follows a run are made from.
pub(crate) fn seed(request: &Request) -> u64 {
    seed_of(request.id().map_or("", |id| id.as_str()), request.retries())
}

fn seed_of(id: &str, retries: u32) -> u64 {
    // Its keys are fixed, and both runs that must agree are of one program.
    let mut hasher = DefaultHasher::new();
    (id, retries).hash(&mut hasher);
    hasher.finish()
}

/// Whether an errback is called here rather than sent: a task of this worker that takes more than the id of the failed task, and
/// is not bound, as in Celery.
pub(crate) fn is_called_here(registry: &Registry, errback: &Node) -> bool {
    let Node::Task(TaskNode { call, immutable, kind: TaskKind::Plain }) = errback else { return false };
    let Some(task) = registry.get(&call.task) else { return false };
    let given = if *immutable { 0 } else { call.arguments.args.len() + call.arguments.kwargs.len() };
    !task.takes_ctx && (task.parameters.var_args || task.parameters.named.len().saturating_sub(given) > 1)
}
