//! Groups: tasks of one type sent side by side, with one result for all.

use std::future::IntoFuture;
use std::marker::PhantomData;
use std::time::Duration;

use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;
use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::app::app::App;
use crate::canvas::node::{IntoNode, IntoWireSignature, Node, TaskChange};
use crate::canvas::stamp::{StampVisitor, Stamps};
use crate::error::{Error, Result};
use crate::options::call_options::CallOptions;
use crate::result::group_result::GroupResult;
use crate::signature::fits::Complete;
use crate::signature::parallel::Parallel;
use crate::signature::partial::encoded;
use crate::signature::signature::Signature;

/// A group of these tasks (Celery: `group(…)`).
///
/// `group | body` is a chord: `body` runs when all members have succeeded, with the list of their results.
pub fn group<In: ?Sized, Out>(members: impl IntoIterator<Item = Signature<In, Out>>) -> Group<In, Out> {
    members.into_iter().collect()
}

/// Tasks that run side by side. Each gets the result of the task before the group, if there is one. The options of a
/// group replace those of its members; `task_id` is the id of the group. Where tasks come before the group
/// (`a | group`), it is a chain as in Celery: options that are set then go to its first step.
#[must_use = "nothing is sent until it is awaited, or sent with an app"]
pub struct Group<In: ?Sized, Out> {
    pub(crate) inner: Parallel,
    types: PhantomData<fn(*const In) -> Out>,
}

impl<In: ?Sized, Out> Group<In, Out> {
    pub(crate) fn of(inner: Parallel) -> Self {
        Self { inner, types: PhantomData }
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether it has no members. Its result is an empty list then.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a member.
    pub fn push(&mut self, member: Signature<In, Out>) {
        self.inner.push(member);
    }

    /// The members as nodes of the canvas.
    pub fn members(&self) -> &[Node] {
        self.inner.members()
    }

    /// The id of the group, if one was set.
    pub fn id(&self) -> Option<&TaskId> {
        self.inner.id()
    }

    /// The options of the group.
    pub fn options(&self) -> &CallOptions {
        self.inner.options()
    }

    pub(crate) fn options_mut(&mut self) -> &mut CallOptions {
        self.inner.options_mut()
    }

    pub(crate) fn add_link_error(&mut self, errback: WireSignature) {
        self.inner.add_link_error(errback);
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.inner.fail(error);
    }

    pub(crate) fn visit(&mut self, visitor: &mut dyn StampVisitor, stamps: &Stamps, append: bool) {
        self.inner.visit(visitor, stamps, append);
    }

    pub(crate) fn change_tasks(&mut self, change: &mut TaskChange<'_>) -> Result<()> {
        self.inner.change_tasks(change)
    }

    /// The same group with other types, which nothing checks.
    pub fn cast<NewIn: ?Sized, NewOut>(self) -> Group<NewIn, NewOut> {
        Group::of(self.inner.cast())
    }

    /// Sets whether the members ignore the result of the task before (Celery: `immutable`).
    pub fn set_immutable(mut self, immutable: bool) -> Self {
        self.inner.set_immutable(immutable);
        self
    }

    /// Gives the members growing countdowns: `start`, `start + step`, … (Celery: `skew`). None is greater than `stop`:
    /// the members that would exceed it get the last countdown.
    pub fn skew(mut self, start: Duration, stop: Option<Duration>, step: Duration) -> Self {
        let mut countdown = start;
        for member in self.inner.members_mut() {
            member.options_mut().countdown = Some(countdown);
            let next = countdown.saturating_add(step);
            if stop.is_none_or(|stop| next <= stop) {
                countdown = next;
            }
        }
        self
    }

    /// Sets a keyword argument of the first tasks. Nothing checks that they have such a parameter.
    pub fn kwarg(mut self, name: impl AsRef<str>, value: impl Serialize) -> Self {
        let name = name.as_ref();
        match encoded(&value, &format!("the keyword argument {name}")) {
            Ok(value) => self.inner.set_keyword(name, &value),
            Err(error) => self.fail(error),
        }
        self
    }

    /// Sends every member, in batches of at most 2,000 messages; or only the first task, where tasks come before the
    /// group.
    ///
    /// # Errors
    /// As [`Batch::send_all`](crate::call::batch::Batch::send_all).
    // Boxed as the future of `Signature::send`.
    pub fn send<'a>(self, app: &'a App) -> BoxFuture<'a, Result<GroupResult<Out>>>
    where
        In: Complete,
        Out: 'a,
    {
        Box::pin(self.inner.send(app))
    }

    /// Sends it from code that is not async, as [`send`](Self::send) does, and blocks the thread until then.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_blocking(self, app: &App) -> Result<GroupResult<Out>>
    where
        In: Complete,
        Out: 'static,
    {
        self.inner.send_blocking(app)
    }
}

impl<In: Serialize, Out> Group<In, Out> {
    /// Gives the first argument, which the result of a task before would be otherwise. Every first task gets it.
    pub fn partial(mut self, first: In) -> Group<(), Out> {
        match encoded(&first, "the first argument") {
            Ok(value) => self.inner.put_first(&value),
            Err(error) => self.fail(error),
        }
        Group::of(self.inner)
    }
}

impl<In: ?Sized, Out> FromIterator<Signature<In, Out>> for Group<In, Out> {
    fn from_iter<I: IntoIterator<Item = Signature<In, Out>>>(members: I) -> Self {
        let mut group = Self::of(Parallel::default());
        group.extend(members);
        group
    }
}

impl<In: ?Sized, Out> Extend<Signature<In, Out>> for Group<In, Out> {
    fn extend<I: IntoIterator<Item = Signature<In, Out>>>(&mut self, members: I) {
        let members = members.into_iter();
        self.inner.reserve(members.size_hint().0);
        members.for_each(|member| self.inner.push(member));
    }
}

impl<In: ?Sized, Out> IntoWireSignature for Group<In, Out> {
    fn into_wire(self) -> Result<WireSignature> {
        self.inner.into_node()?.to_wire()
    }
}

impl<In: ?Sized, Out> IntoNode for Group<In, Out> {
    fn into_node(self) -> Result<Node> {
        self.inner.into_node()
    }
}

impl<In: ?Sized, Out> Clone for Group<In, Out> {
    fn clone(&self) -> Self {
        Self::of(self.inner.clone())
    }
}

impl<In: ?Sized, Out> std::fmt::Display for Group<In, Out> {
    /// As Celery shows it: `group([tasks.add(2, 2), add(4, 4)])`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl<In: ?Sized, Out> std::fmt::Debug for Group<In, Out> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl<In: ?Sized + Complete + 'static, Out: 'static> IntoFuture for Group<In, Out> {
    type Output = Result<GroupResult<Out>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let app = App::current()?;
            self.inner.send(&app).await
        })
    }
}
