//! Signatures side by side, and what comes before them. The untyped content of a group and of a join.

use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;

use crate::app::app::App;
use crate::call::batch::{calls_of, send_all};
use crate::call::call::send_node;
use crate::canvas::eager_results;
use crate::canvas::merge::with_stored;
use crate::canvas::node::{GroupNode, Node, TaskChange};
use crate::canvas::send;
use crate::canvas::stamp::{StampVisitor, Stamps};
use crate::context::current;
use crate::error::{Error, Result};
use crate::options::call_options::CallOptions;
use crate::result::group_result::GroupResult;
use crate::signature::display::repr;
use crate::signature::partial::{put_first, set_keyword};
use crate::signature::signature::Signature;

/// Signatures side by side, after any number of stages.
///
/// The stages are joined to the group only when it is sent or when something follows it. Celery's rules replace a group
/// of one after a task by its member, and what follows would not get a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parallel {
    /// What comes before the group, in order: signatures, and groups that are the header of what follows them.
    stages: Vec<Node>,
    group: GroupNode,
    /// Options of the stages and the group together: in Celery those of a chain, which its first task gets.
    whole: CallOptions,
    /// Whether all arguments of the first tasks are given.
    complete: bool,
    first_error: Option<Arc<Error>>,
}

impl Parallel {
    /// Adds a member.
    pub(crate) fn push<In: ?Sized, Out>(&mut self, member: Signature<In, Out>) {
        let (node, complete, error) = member.into_parts();
        // With stages, the first stage says whether it is complete.
        if self.stages.is_empty() {
            self.complete = complete && (self.complete || self.group.members.is_empty());
        }
        self.first_error = self.first_error.take().or(error);
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

    /// The options of the group, or of the stages and the group together.
    pub(crate) fn options(&self) -> &CallOptions {
        if self.stages.is_empty() { &self.group.options } else { &self.whole }
    }

    pub(crate) fn options_mut(&mut self) -> &mut CallOptions {
        if self.stages.is_empty() { &mut self.group.options } else { &mut self.whole }
    }

    /// The id of the group.
    pub(crate) fn id(&self) -> Option<&TaskId> {
        self.whole.task_id.as_ref().or(self.group.options.task_id.as_ref())
    }

    /// Adds an errback to each stage and each member. A header has none, as in a chord.
    pub(crate) fn add_link_error(&mut self, errback: WireSignature) {
        let stages = self.stages.iter_mut().filter(|stage| !matches!(stage, Node::Group(_)));
        stages.for_each(|stage| stage.link_error(errback.clone()));
        self.group.members.iter_mut().for_each(|member| member.link_error(errback.clone()));
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.first_error.get_or_insert_with(|| Arc::new(error));
    }

    /// Stamps the stages and the group.
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

    /// Changes every task of the stages and of the group.
    pub(crate) fn change_tasks(&mut self, change: &mut TaskChange<'_>) -> Result<()> {
        self.stages.iter_mut().try_for_each(|stage| stage.change_tasks(change))?;
        self.group.members.iter_mut().try_for_each(|member| member.change_tasks(change))
    }

    /// The same for other types. Whether it is complete is not known for them.
    pub(crate) fn cast(self) -> Self {
        Self { complete: false, ..self }
    }

    fn check(&self) -> Result<()> {
        match &self.first_error {
            Some(error) => Err(Error::new(error.kind(), "call a group").with_source(error.clone())),
            None => Ok(()),
        }
    }

    /// Puts an argument in front of those of the first tasks, unless they are complete.
    pub(crate) fn put_first(&mut self, value: &Json) {
        if !std::mem::replace(&mut self.complete, true) {
            self.first_nodes().iter_mut().for_each(|first| put_first(first, value));
        }
    }

    /// Sets a keyword argument of the first tasks.
    pub(crate) fn set_keyword(&mut self, name: &str, value: &Json) {
        self.first_nodes().iter_mut().for_each(|first| set_keyword(first, name, value));
    }

    fn first_nodes(&mut self) -> &mut [Node] {
        match self.stages.is_empty() {
            true => &mut self.group.members,
            false => &mut self.stages[..1],
        }
    }

    /// Sets whether the first tasks ignore the result of the task before.
    pub(crate) fn set_immutable(&mut self, immutable: bool) {
        self.first_nodes().iter_mut().for_each(|first| first.set_immutable(immutable));
    }

    /// Puts a signature in front of everything.
    pub(crate) fn after<In: ?Sized, Out>(mut self, left: Signature<In, Out>) -> Self {
        let (left, complete, error) = left.into_parts();
        self.ignore_result_before();
        self.drop_whole();
        self.stages.insert(0, left);
        Self { complete, first_error: error.or(self.first_error.take()), ..self }
    }

    /// This group, and then another one.
    pub(crate) fn then(mut self, mut right: Self) -> Self {
        right.ignore_result_before();
        self.drop_whole();
        right.drop_whole();
        self.stages.push(Node::Group(self.group));
        self.stages.append(&mut right.stages);
        let first_error = self.first_error.or(right.first_error);
        Self { stages: self.stages, group: right.group, complete: self.complete, first_error, ..Self::default() }
    }

    /// This group, and then a signature with the list of its results.
    pub(crate) fn chord<In: ?Sized, Body: ?Sized, Out>(mut self, body: Signature<Body, Out>) -> Signature<In, Out> {
        let (mut body, body_complete, error) = body.into_parts();
        if body_complete {
            body.set_immutable(true);
        }
        self.give_id();
        let chord = Node::Group(self.group).pipe(body);
        let node = with_options(joined(self.stages, chord), self.whole);
        Signature::of_parts(node, self.complete, self.first_error.or(error))
    }

    /// A task that has all its arguments ignores the result before it. By its type, that result is `()`.
    fn ignore_result_before(&mut self) {
        if self.complete {
            self.set_immutable(true);
        }
    }

    /// The stages and the group as one node.
    pub(crate) fn into_node(mut self) -> Result<Node> {
        self.check()?;
        self.give_id();
        Ok(with_options(joined(self.stages, Node::Group(self.group)), self.whole))
    }

    /// The id that was set for the whole is the group's.
    fn give_id(&mut self) {
        if let Some(id) = self.whole.task_id.take() {
            self.group.options.task_id = Some(id);
        }
    }

    /// Stages and group become a part of something else, and as in Celery their options are gone, but for the id.
    fn drop_whole(&mut self) {
        self.give_id();
        self.whole = CallOptions::default();
    }

    /// Sends the group, or its first stage: the worker sends what follows that.
    pub(crate) async fn send<T>(mut self, app: &App) -> Result<GroupResult<T>> {
        self.check()?;
        let only_tasks = self.stages.is_empty() && self.group.members.iter().all(|node| matches!(node, Node::Task(_)));
        if only_tasks {
            return send_tasks(app, self.group).await;
        }
        if self.group.members.is_empty() {
            let id = self.id().cloned().unwrap_or_else(TaskId::random);
            let empty = GroupResult::new(app, id, Vec::new());
            let before = self.stages.into_iter().rev().reduce(|right, left| left.pipe(right));
            self.whole.task_id = None;
            return match before.map(|before| with_options(before, self.whole)) {
                Some(before) => Ok(empty.with_parent(send_node::<Json>(app, app.publisher(), before).await?)),
                None => Ok(empty),
            };
        }
        let node = self.into_node()?;
        match app.config().task_always_eager {
            true => eager_results::apply_group(app, node).await,
            false => Ok(GroupResult::of_tuple(app, &send::send(app, node).await?)),
        }
    }

    /// Sends it as [`send`](Self::send) does, and blocks the thread until then. Inside a task it is a child of that
    /// task.
    pub(crate) fn send_blocking<T: 'static>(self, app: &App) -> Result<GroupResult<T>> {
        let (sending_app, ctx) = (app.clone(), current::get());
        app.blocking().run(async move {
            match ctx {
                Some(ctx) => current::scope(ctx, self.send(&sending_app)).await,
                None => self.send(&sending_app).await,
            }
        })?
    }
}

impl std::fmt::Display for Parallel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&repr(&joined(self.stages.clone(), Node::Group(self.group.clone()))))
    }
}

/// A workflow with options, which go over its own.
fn with_options(mut node: Node, options: CallOptions) -> Node {
    let own = std::mem::take(node.options_mut());
    *node.options_mut() = with_stored(options, own);
    node
}

/// Joins the stages and what follows them, from right to left.
fn joined(stages: Vec<Node>, last: Node) -> Node {
    stages.into_iter().rev().fold(last, |right, left| left.pipe(right))
}

/// Sends a group that has only tasks, as [`send::send`] would. It needs no plan: each member is one message.
async fn send_tasks<T>(app: &App, group: GroupNode) -> Result<GroupResult<T>> {
    let GroupNode { members, mut options } = group;
    let as_child = options.rare.as_ref().and_then(|rare| rare.add_to_parent).unwrap_or(true);
    let id = options.task_id.take().unwrap_or_else(TaskId::random);
    let group_id = id.to_string();
    let mut calls = calls_of(members);
    for (index, call) in calls.iter_mut().enumerate() {
        if options != CallOptions::default() {
            call.options = with_stored(options.clone(), std::mem::take(&mut call.options));
        }
        let rare = call.options.rare_mut();
        rare.group_id = Some(group_id.clone());
        rare.group_index = i64::try_from(index).ok();
    }
    let result = GroupResult::new(app, id, send_all(app, calls, false).await?);
    if as_child {
        current::note_child(|| result.as_tuple());
    }
    Ok(result)
}
