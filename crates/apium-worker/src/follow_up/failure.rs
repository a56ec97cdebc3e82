//! How a failure falls through a workflow: what comes behind in the chain fails with it, the chord learns of it, errbacks are told.

use apium_app::canvas::node::Node;
use apium_app::canvas::plan::SendWith;
use apium_app::context::request::Request;
use apium_app::context::result_document::{ResultUpdate, other_task_document};
use apium_app::error::Result;
use apium_app::failure::Failure;
use apium_app::options::call_options::CallOptions;
use apium_app::publish::prepare::ParentTask;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::ResultRecord;
use apium_transport::broker::follow_ups::FollowUps;

use crate::follow_up::builder::{id_seed_of, is_called_here};
use crate::follow_up::chord_part::{ChordPosition, FollowUpSource, chord_part};
use crate::follow_up::pending_errback::PendingErrback;

/// A failure on its way.
pub(crate) struct FailurePropagation<'a> {
    run: FollowUpSource<'a>,
    failure: &'a Failure,
    follow_ups: &'a mut FollowUps,
    /// What the errbacks that this worker calls itself belong to.
    key: u64,
}

impl<'a> FailurePropagation<'a> {
    pub(crate) fn new(
        (run, key): (FollowUpSource<'a>, u64),
        failure: &'a Failure,
        follow_ups: &'a mut FollowUps,
    ) -> Self {
        Self { run, failure, follow_ups, key }
    }

    /// Every step behind fails with it. `chain` is reversed, as it travels. What cannot be read has no id to fail.
    pub(crate) fn chain(&mut self, chain: &[WireSignature], stores: bool) {
        for step in chain {
            match Node::from_wire(step) {
                Ok(node) => self.step(&node, stores),
                Err(error) => tracing::warn!(%error, "a step behind a failed task cannot be failed with it"),
            }
        }
    }

    /// One step: its result fails, and its part of a chord is in. Of a group nothing is stored, as in Celery: whoever waits for it
    /// sees the failure before it.
    fn step(&mut self, node: &Node, stores: bool) {
        match node {
            Node::Task(task) => {
                if stores {
                    let group = task.call.options.rare.as_ref().and_then(|rare| rare.group_id.clone());
                    self.store(&task.call.options, group);
                }
                self.part(&task.call.options);
            }
            Node::Chain(chain) => chain.steps.iter().for_each(|step| self.step(step, stores)),
            Node::Group(group) => group.members.iter().for_each(|member| self.step(member, false)),
            Node::Chord(chord) => self.step(&chord.body, stores),
        }
    }

    fn store(&mut self, options: &CallOptions, group: Option<String>) {
        let Some(id) = options.task_id.clone() else { return };
        let told = ResultUpdate::of_failure(State::Failure, self.failure);
        let rules = &self.run.builder.rules;
        let mut document = other_task_document(id, told, rules, self.run.builder.publisher.clock().now());
        document.children = Some(Vec::new());
        document.group_id = group;
        let reply_to = options.rare.as_ref().and_then(|rare| rare.reply_to.clone());
        self.follow_ups.records.push(ResultRecord::new(document).kept_for(rules.ttl).replying_to(reply_to));
    }

    /// Tells the chord that a task with these options is a part of.
    fn part(&mut self, options: &CallOptions) {
        let (Some(id), Some(rare)) = (&options.task_id, &options.rare) else { return };
        let (Some(group), Some(body)) = (&rare.group_id, &rare.chord) else { return };
        let body = match Node::from_wire(body) {
            Ok(body) => body,
            Err(error) => return tracing::warn!(%error, "the chord behind a failed task cannot be told of it"),
        };
        let place = ChordPosition { group: group.clone(), task_id: id.clone(), group_index: rare.group_index };
        let root_id = rare.root_id.clone().unwrap_or_else(|| id.clone());
        let parent = ParentTask { id: id.clone(), root_id, priority: options.priority };
        let told = (State::Failure, self.failure.exception().to_json());
        self.follow_ups.parts.push(chord_part(self.run, place, body, told, parent));
    }

    /// The body of a chord whose header failed. One that is a task fails with this, the members of a group with the error behind it.
    pub(crate) fn body(&mut self, body: &Node, original: &Failure, parent: &ParentTask, seed: u64) -> Result<()> {
        if let Node::Group(group) = body {
            let of_group = links(&group.options);
            for member in &group.members {
                let mut errbacks = own_links(member);
                for errback in &of_group {
                    if !errbacks.contains(errback) {
                        errbacks.push(errback.clone());
                    }
                }
                let mut fall = FailurePropagation::new((self.run, self.key), original, self.follow_ups);
                fall.result_of(member, &errbacks, parent, seed)?;
            }
        } else {
            self.result_of(body, &own_links(body), parent, seed)?;
        }
        if let Some(chain) = body.options().rare.as_ref().and_then(|rare| rare.chain.as_ref()) {
            self.chain(chain, true);
        }
        Ok(())
    }

    /// What bears the result of a signature fails, and its errbacks are told.
    fn result_of(&mut self, node: &Node, errbacks: &[WireSignature], parent: &ParentTask, seed: u64) -> Result<()> {
        match node {
            Node::Task(task) => {
                // As with Celery, the document of a body that did not run names no group.
                self.store(&task.call.options, None);
                self.part(&task.call.options);
                let Some(id) = &task.call.options.task_id else { return Ok(()) };
                let errbacks: Vec<Node> = errbacks.iter().map(Node::from_wire).collect::<Result<_>>()?;
                let failed = request_of_unrun(id, &task.call.task, parent);
                let parent = ParentTask { id: id.clone(), ..parent.clone() };
                self.errbacks(&errbacks, &failed, &parent, seed ^ id_seed_of(id.as_str(), 0))
            }
            Node::Chain(chain) => match chain.steps.last() {
                Some(last) => self.result_of(last, errbacks, parent, seed),
                None => Ok(()),
            },
            Node::Group(group) => {
                group.members.iter().try_for_each(|member| self.result_of(member, errbacks, parent, seed))
            }
            Node::Chord(chord) => self.result_of(&chord.body, errbacks, parent, seed),
        }
    }

    /// Tells errbacks of the failure of the task of `request`: those that this worker calls itself later, the others by messages.
    pub(crate) fn errbacks(
        &mut self,
        errbacks: &[Node],
        request: &Request,
        parent: &ParentTask,
        seed: u64,
    ) -> Result<()> {
        let mut sent = Vec::new();
        for errback in errbacks {
            if is_called_here(&self.run.builder.registry, errback) {
                self.run.errbacks.push(self.key, PendingErrback::new(errback, request, self.failure));
            } else {
                sent.push(errback.clone());
            }
        }
        if sent.is_empty() {
            return Ok(());
        }
        let mut planner = self.run.builder.planner(seed);
        let mut given = SendWith::result(Json::from_serialize(&parent.id)?);
        given.options.rare_mut().root_id = Some(parent.root_id.clone());
        planner.add(Node::group(sent), given)?;
        self.run.builder.add_messages(planner, parent, self.follow_ups)
    }
}

fn links(options: &CallOptions) -> Vec<WireSignature> {
    options.rare.as_ref().map(|rare| rare.link_error.clone()).unwrap_or_default()
}

/// The errbacks of what bears the result of a signature: its own, and of a chord those of its body too.
fn own_links(node: &Node) -> Vec<WireSignature> {
    let mut own = links(node.options());
    if let Node::Chord(chord) = node {
        own.extend(own_links(&chord.body));
    }
    own
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
