//! Several signatures side by side, and what comes before them: what a group and a join are made of.

use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;

use crate::app::app::App;
use crate::call::batch::{calls_of, send_all};
use crate::call::call::send_node;
use crate::canvas::eager_results;
use crate::canvas::node::{GroupNode, Node};
use crate::canvas::send;
use crate::canvas::stamp::{StampVisitor, Stamps};
use crate::context::current::note_child;
use crate::error::{Error, Result};
use crate::options::call_options::CallOptions;
use crate::result::group_result::GroupResult;
use crate::signature::display::shown;
use crate::signature::partial::{put_first, set_keyword};
use crate::signature::signature::Signature;

/// Signatures side by side.
///
/// What comes before them is joined to them only when they are sent, or when something follows them: by Celery's rules
/// a group of one behind a task is its member, and what follows would get no list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parallel {
    /// What comes before, in order: signatures, and groups that each wait for what follows them.
    stages: Vec<Node>,
    group: GroupNode,
    /// Whether all arguments of what begins it are given.
    whole: bool,
    failed: Option<Arc<Error>>,
}

impl Parallel {
    /// Adds a member.
    pub(crate) fn push<In: ?Sized, Out>(&mut self, member: Signature<In, Out>) {
        let (node, whole, failed) = member.into_parts();
        // Where there is something before them, that decides.
        if self.stages.is_empty() {
            self.whole = whole && (self.whole || self.group.members.is_empty());
        }
        self.failed = self.failed.take().or(failed);
        self.group.members.push(node);
    }

    pub(crate) fn reserve(&mut self, members: usize) {
        self.group.members.reserve(members);
    }

    pub(crate) fn len(&self) -> usize {
        self.group.members.len()
    }

    pub(crate) fn members(&self) -> &[Node] {
        &self.group.members
    }

    pub(crate) fn members_mut(&mut self) -> &mut [Node] {
        &mut self.group.members
    }

    pub(crate) fn options(&self) -> &CallOptions {
        &self.group.options
    }

    pub(crate) fn options_mut(&mut self) -> &mut CallOptions {
        &mut self.group.options
    }

    pub(crate) fn add_link_error(&mut self, errback: WireSignature) {
        self.group.members.iter_mut().for_each(|member| member.link_error(errback.clone()));
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.failed.get_or_insert_with(|| Arc::new(error));
    }

    /// Stamps all of it.
    pub(crate) fn visit(&mut self, visitor: &mut dyn StampVisitor, stamps: &Stamps, append: bool) {
        let mut group = Node::Group(std::mem::take(&mut self.group));
        let stages = self.stages.iter_mut().try_for_each(|stage| stage.stamp(visitor, stamps, append));
        let stamped = stages.and_then(|()| group.stamp(visitor, stamps, append));
        if let Node::Group(group) = group {
            self.group = group;
        }
        if let Err(error) = stamped {
            self.fail(error);
        }
    }

    /// With other types, of which nothing is known.
    pub(crate) fn unchecked(self) -> Self {
        Self { whole: false, ..self }
    }

    fn check(&self) -> Result<()> {
        match &self.failed {
            Some(error) => Err(Error::new(error.kind(), "call a group").with_source(error.clone())),
            None => Ok(()),
        }
    }

    /// Gives what begins it its first argument.
    pub(crate) fn put_first(&mut self, value: &Json) {
        if !std::mem::replace(&mut self.whole, true) {
            self.first_nodes().iter_mut().for_each(|first| put_first(first, value));
        }
    }

    /// Sets a keyword argument of what begins it.
    pub(crate) fn set_keyword(&mut self, name: &str, value: &Json) {
        self.first_nodes().iter_mut().for_each(|first| set_keyword(first, name, value));
    }

    fn first_nodes(&mut self) -> &mut [Node] {
        match self.stages.is_empty() {
            true => &mut self.group.members,
            false => &mut self.stages[..1],
        }
    }

    /// Whether what begins it takes the result of what comes before it.
    pub(crate) fn set_immutable(&mut self, immutable: bool) {
        self.first_nodes().iter_mut().for_each(|first| first.set_immutable(immutable));
    }

    /// A signature, and then these.
    pub(crate) fn behind<In: ?Sized, Out>(mut self, left: Signature<In, Out>) -> Self {
        let (left, whole, failed) = left.into_parts();
        self.drop_what_comes_before();
        self.stages.insert(0, left);
        Self { whole, failed: failed.or(self.failed.take()), ..self }
    }

    /// These, and then others.
    pub(crate) fn then(mut self, mut right: Self) -> Self {
        right.drop_what_comes_before();
        self.stages.push(Node::Group(self.group));
        self.stages.append(&mut right.stages);
        Self { stages: self.stages, group: right.group, whole: self.whole, failed: self.failed.or(right.failed) }
    }

    /// These, and then a signature with the list of their results.
    pub(crate) fn chord<In: ?Sized, Body: ?Sized, Out>(self, body: Signature<Body, Out>) -> Signature<In, Out> {
        let (mut body, complete, failed) = body.into_parts();
        if complete {
            body.set_immutable(true);
        }
        let chord = Node::Group(self.group).pipe(body);
        Signature::of_parts(joined(self.stages, chord), self.whole, self.failed.or(failed))
    }

    /// A task that has all its arguments takes none; it can only stand behind one that returns nothing.
    fn drop_what_comes_before(&mut self) {
        if self.whole {
            self.set_immutable(true);
        }
    }

    /// All of it as one node.
    pub(crate) fn into_node(self) -> Result<Node> {
        self.check()?;
        Ok(joined(self.stages, Node::Group(self.group)))
    }

    /// Sends it. Of what comes before, only the first task is sent now.
    pub(crate) async fn send<T>(self, app: &App) -> Result<GroupResult<T>> {
        self.check()?;
        let is_plain = self.stages.is_empty() && self.group.members.iter().all(|node| matches!(node, Node::Task(_)));
        if is_plain {
            return send_plain(app, self.group).await;
        }
        if self.group.members.is_empty() {
            let id = self.group.options.task_id.unwrap_or_else(TaskId::random);
            let empty = GroupResult::new(app, id, Vec::new());
            let before = self.stages.into_iter().rev().reduce(|right, left| left.pipe(right));
            return match before {
                Some(before) => Ok(empty.with_parent(send_node::<Json>(app, app.publisher(), before).await?)),
                None => Ok(empty),
            };
        }
        let node = joined(self.stages, Node::Group(self.group));
        match app.config().task_always_eager {
            true => eager_results::apply_group(app, node).await,
            false => Ok(GroupResult::of_tuple(app, &send::send(app, node).await?)),
        }
    }
}

impl std::fmt::Display for Parallel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shown(&joined(self.stages.clone(), Node::Group(self.group.clone()))))
    }
}

fn joined(stages: Vec<Node>, last: Node) -> Node {
    stages.into_iter().rev().fold(last, |right, left| left.pipe(right))
}

/// Sends a group of tasks: as the canvas does, without the way through a plan, since none of them needs more than its
/// message.
async fn send_plain<T>(app: &App, group: GroupNode) -> Result<GroupResult<T>> {
    let GroupNode { members, mut options } = group;
    let as_child = options.rare.as_ref().and_then(|rare| rare.add_to_parent).unwrap_or(true);
    let id = options.task_id.take().unwrap_or_else(TaskId::random);
    let group_id = id.to_string();
    let mut calls = calls_of(members);
    for (index, call) in calls.iter_mut().enumerate() {
        if options != CallOptions::default() {
            let mut given = options.clone();
            given.fill_from(&call.options);
            call.options = given;
        }
        let rare = call.options.rare_mut();
        rare.group_id = Some(group_id.clone());
        rare.group_index = i64::try_from(index).ok();
    }
    let result = GroupResult::new(app, id, send_all(app, calls, false).await?);
    if as_child {
        note_child(|| result.as_tuple());
    }
    Ok(result)
}
