//! How a failure spreads through a workflow: the steps behind the task in its chain fail with it, its part of a chord
//! is counted as failed, and errbacks are called or sent.

use apium_app::canvas::freeze::IdSeed;
use apium_app::canvas::node::Node;
use apium_app::canvas::plan::SendWith;
use apium_app::context::request::Request;
use apium_app::context::result_document::{ResultUpdate, other_task_document};
use apium_app::error::{Error, ErrorKind, Result};
use apium_app::failure::Failure;
use apium_app::options::call_options::CallOptions;
use apium_app::publish::prepare::ParentTask;
use apium_protocol::error::with_causes;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::steps_behind::StepsBehind;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultTuple;
use apium_protocol::result::state::State;
use apium_protocol::value::printable::printable_text;
use apium_transport::backend::backend::ResultRecord;
use apium_transport::broker::follow_ups::FollowUps;

use crate::follow_up::builder::FollowUpBuilder;
use crate::follow_up::chord_part::{ChordPosition, FollowUpSource, chord_part};
use crate::follow_up::errback_style::{all_links, called_by_worker, links, own_links};
use crate::follow_up::links::read_step;
use crate::follow_up::pending_errback::PendingErrback;
use crate::pool::guard::guarded;

/// Adds what follows one failure to `follow_ups`.
pub(crate) struct FailurePropagation<'a> {
    source: FollowUpSource<'a>,
    failure: &'a Failure,
    follow_ups: &'a mut FollowUps,
    /// The owner of errbacks that this worker calls itself
    /// ([`PendingErrbacks::push`](crate::follow_up::pending_errback::PendingErrbacks::push)).
    errback_owner: IdSeed,
}

impl<'a> FailurePropagation<'a> {
    pub(crate) fn new(
        (source, errback_owner): (FollowUpSource<'a>, IdSeed),
        failure: &'a Failure,
        follow_ups: &'a mut FollowUps,
    ) -> Self {
        Self { source, failure, follow_ups, errback_owner }
    }

    /// Fails the steps behind the task. `chain` is in reverse order, as in messages. A step that cannot be read is
    /// skipped: its id is not known.
    pub(crate) fn chain(&mut self, chain: Option<&StepsBehind>, stores: bool) {
        for step in chain.map(StepsBehind::texts).unwrap_or_default() {
            match read_step(&step) {
                Ok(node) => self.step(&node, stores),
                Err(error) => {
                    tracing::warn!(error = %with_causes(&error), "could not read a step behind a failed task, so its result stays pending")
                }
            }
        }
    }

    /// Fails one step: its result becomes FAILURE, and its part of a chord is counted. As in Celery nothing is stored
    /// for the members of a group: whoever waits for them sees the failure of the step before the group.
    fn step(&mut self, node: &Node, stores: bool) {
        match node {
            Node::Task(task) => {
                if stores {
                    let group = task.call.options.rare.as_ref().and_then(|rare| rare.group_id.clone());
                    self.store(&task.call.options, group, Vec::new());
                }
                self.part(&task.call.options);
            }
            Node::Chain(chain) => chain.steps.iter().for_each(|step| self.step(step, stores)),
            Node::Group(group) => group.members.iter().for_each(|member| self.step(member, false)),
            Node::Chord(chord) => self.step(&chord.body, stores),
        }
    }

    /// Stores FAILURE for a task with these options, which has not run.
    fn store(&mut self, options: &CallOptions, group: Option<String>, children: Vec<ResultTuple>) {
        let Some(id) = options.task_id.clone() else { return };
        let update = ResultUpdate::of_failure(State::Failure, self.failure);
        let FollowUpBuilder { policy, publisher, .. } = self.source.builder;
        let mut document = other_task_document(id, update, policy, publisher.clock().now());
        document.children = Some(children);
        document.group_id = group;
        let reply_to = options.rare.as_ref().and_then(|rare| rare.reply_to.clone());
        self.follow_ups.records.push(ResultRecord::new(document).kept_for(policy.ttl).replying_to(reply_to));
    }

    /// Counts a task with these options as failed, where it is a part of a chord.
    fn part(&mut self, options: &CallOptions) {
        let (Some(id), Some(rare)) = (&options.task_id, &options.rare) else { return };
        let (Some(group), Some(body)) = (&rare.group_id, &rare.chord) else { return };
        let body = match Node::from_wire(body) {
            Ok(body) => body,
            Err(error) => {
                return tracing::warn!(error = %with_causes(&error), "could not read the chord behind a failed task, so the task is not counted as its part");
            }
        };
        let position = ChordPosition { group: group.clone(), task_id: id.clone(), group_index: rare.group_index };
        let root_id = rare.root_id.clone().unwrap_or_else(|| id.clone());
        let parent = ParentTask { id: id.clone(), root_id, priority: options.priority };
        let result = (State::Failure, self.failure.exception().to_json());
        self.follow_ups.parts.push(chord_part(self.source, position, body, result, parent));
    }

    /// Fails the body of a chord whose header failed. As in Celery a body that is a group fails with the error of the
    /// header (`original`), and any other with the ChordError that this propagates.
    pub(crate) fn body(&mut self, body: &Node, original: &Failure, parent: &ParentTask, seed: IdSeed) {
        if let Node::Group(group) = body {
            let of_group = links(&group.options);
            for member in &group.members {
                let mut errbacks = own_links(member);
                for errback in &of_group {
                    if !errbacks.contains(errback) {
                        errbacks.push(errback.clone());
                    }
                }
                let owner = (self.source, self.errback_owner);
                let mut propagation = FailurePropagation::new(owner, original, self.follow_ups);
                propagation.result_of(member, &errbacks, parent, seed);
            }
        } else {
            self.result_of(body, &own_links(body), parent, seed);
        }
        self.chain(body.options().rare.as_ref().and_then(|rare| rare.chain.as_ref()), true);
    }

    /// Fails the tasks whose results are the result of `node`, such as the last step of a chain, and calls or sends
    /// `errbacks`.
    fn result_of(&mut self, node: &Node, errbacks: &[WireSignature], parent: &ParentTask, seed: IdSeed) {
        match node {
            Node::Task(task) => {
                let options = &task.call.options;
                let errbacks_of = |id| self.errbacks_of_unrun((id, &task.call.task), options, errbacks, parent, seed);
                let sent = options.task_id.as_ref().and_then(errbacks_of);
                // As in Celery the document of a body that did not run names no group, and its children are the
                // errbacks that were sent.
                self.store(options, None, sent.into_iter().collect());
                self.part(options);
            }
            Node::Chain(chain) => {
                if let Some(last) = chain.steps.last() {
                    self.result_of(last, errbacks, parent, seed);
                }
            }
            Node::Group(group) => {
                group.members.iter().for_each(|member| self.result_of(member, errbacks, parent, seed));
            }
            Node::Chord(chord) => self.result_of(&chord.body, errbacks, parent, seed),
        }
    }

    /// Adds the errbacks of a task that failed without a run. Where it is a part of a chord, that chord's body fails
    /// with it; an errback of both runs once, for that body. Returns the result of what is sent.
    fn errbacks_of_unrun(
        &mut self,
        (id, name): (&TaskId, &str),
        options: &CallOptions,
        errbacks: &[WireSignature],
        parent: &ParentTask,
        seed: IdSeed,
    ) -> Option<ResultTuple> {
        let failed = request_of_unrun(id, name, parent);
        let read = |signature| Node::from_wire(signature).inspect_err(|error| not_made(&failed, error)).ok();
        let chord = options.rare.as_ref().and_then(|rare| rare.chord.as_deref().filter(|_| rare.group_id.is_some()));
        let later = chord.and_then(read).map(|body| all_links(&body)).unwrap_or_default();
        let once: Vec<Node> = errbacks.iter().filter(|errback| !later.contains(errback)).filter_map(read).collect();
        let parent = ParentTask { id: id.clone(), ..parent.clone() };
        self.errbacks(&once, &failed, &parent, seed.at(id.as_str().as_bytes()))
    }

    /// Adds the errbacks of the failed task of `request`: to the pending ones what this worker calls itself, and
    /// messages for the others. What cannot be made is logged, and the rest is done without it: nothing waits for an
    /// errback, while a chord waits for its part. A route, a layer and a serializer are code of the app and may panic.
    /// Returns the result of what is sent.
    pub(crate) fn errbacks(
        &mut self,
        errbacks: &[Node],
        request: &Request,
        parent: &ParentTask,
        seed: IdSeed,
    ) -> Option<ResultTuple> {
        let made = guarded(|| self.errback_messages(errbacks, request, parent, seed)).unwrap_or_else(|panicked| {
            let text = "make the errbacks: code of the app, such as a route, a layer or a serializer, panicked";
            Err(Error::new(ErrorKind::Call, text).with_source(panicked))
        });
        made.inspect_err(|error| not_made(request, error)).ok().flatten()
    }

    fn errback_messages(
        &mut self,
        errbacks: &[Node],
        request: &Request,
        parent: &ParentTask,
        seed: IdSeed,
    ) -> Result<Option<ResultTuple>> {
        let mut sent = Vec::new();
        for errback in errbacks {
            match called_by_worker(&self.source.builder.registry, errback) {
                Some(called) => {
                    self.source.errbacks.push(self.errback_owner, PendingErrback::new(called, request, self.failure));
                }
                None => sent.push(errback.clone()),
            }
        }
        if sent.is_empty() {
            return Ok(None);
        }
        let mut planner = self.source.builder.planner(seed);
        let mut send_with = SendWith::result(Json::from_serialize(&parent.id)?);
        send_with.options.rare_mut().root_id = Some(parent.root_id.clone());
        let planned = planner.add(Node::group(sent), send_with)?;
        self.source.builder.add_messages(planner, parent, self.source.request, self.follow_ups)?;
        Ok(Some(planned.child))
    }
}

/// Errbacks of the failed task of `request` could not be made.
fn not_made(request: &Request, error: &Error) {
    let task = &*printable_text(request.headers.task.as_deref().unwrap_or("?"));
    let id = &*printable_text(request.id().map_or("?", |id| id.as_str()));
    tracing::error!(task, id, error = %with_causes(error), "could not make the errbacks of the failed task {task}[{id}]");
}

/// The request of a task that has not run.
fn request_of_unrun(id: &TaskId, task: &str, parent: &ParentTask) -> Request {
    let mut request = Request::direct();
    request.called_directly = false;
    request.headers.id = Some(id.clone());
    request.headers.task = Some(task.into());
    request.headers.root_id = Some(parent.root_id.clone());
    request
}
