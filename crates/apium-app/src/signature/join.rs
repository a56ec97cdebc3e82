//! Joins: tasks of different types side by side, whose results are a tuple.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::app::App;
use crate::canvas::node::{IntoNode, IntoWireSignature, Node, TaskChange};
use crate::canvas::stamp::{StampVisitor, Stamps};
use crate::error::{Error, Result};
use crate::options::call_options::CallOptions;
use crate::result::group_result::GroupResult;
use crate::result::result_set::JoinAll;
use crate::signature::fits::Complete;
use crate::signature::parallel::Parallel;
use crate::signature::partial::encoded;
use crate::signature::signature::Signature;

/// Tasks of different types side by side: one to eight signatures that take the same first argument.
///
/// In messages it is a group, and `join | body` is a chord. But each result keeps its type, and `body` takes their
/// tuple.
pub fn join<S: SideBySide<In, Out>, In: ?Sized, Out>(signatures: S) -> Join<In, Out> {
    signatures.into_join()
}

/// A tuple of signatures that all take `In` from the task before, and return the parts of the tuple `Out`.
// The types are parameters, not associated types: else each mistake is an error twice.
#[diagnostic::on_unimplemented(
    message = "these signatures cannot be joined",
    label = "no tuple of signatures that take the same first argument",
    note = "a join is a tuple of one to eight signatures that all lack a first argument of one type, or all lack none",
    note = "an immutable signature gets the first argument of the others by `.taking()`"
)]
pub trait SideBySide<In: ?Sized, Out> {
    /// The signatures as a join.
    fn into_join(self) -> Join<In, Out>;
}

macro_rules! tuples {
    ($(($($index:tt $type:ident)+))+) => {$(
        impl<In: ?Sized, $($type),+> SideBySide<In, ($($type,)+)> for ($(Signature<In, $type>,)+) {
            fn into_join(self) -> Join<In, ($($type,)+)> {
                let mut inner = Parallel::default();
                $(inner.push(self.$index);)+
                Join::of(inner)
            }
        }
    )+};
}

tuples! {
    (0 A)
    (0 A 1 B)
    (0 A 1 B 2 C)
    (0 A 1 B 2 C 3 D)
    (0 A 1 B 2 C 3 D 4 E)
    (0 A 1 B 2 C 3 D 4 E 5 F)
    (0 A 1 B 2 C 3 D 4 E 5 F 6 G)
    (0 A 1 B 2 C 3 D 4 E 5 F 6 G 7 H)
}

/// Tasks of different types side by side; `Out` is the tuple of what they return. The options of a join replace those
/// of its members; `task_id` is the id of the group. Where tasks come before the join, options that are set then go to
/// the first step, as those of a [`Group`](crate::signature::group::Group).
#[must_use = "nothing is sent until it is awaited, or sent with an app"]
pub struct Join<In: ?Sized, Out> {
    pub(crate) inner: Parallel,
    types: PhantomData<fn(*const In) -> Out>,
}

impl<In: ?Sized, Out> Join<In, Out> {
    pub(crate) fn of(inner: Parallel) -> Self {
        Self { inner, types: PhantomData }
    }

    /// The options of the join.
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

    /// Sets whether the members ignore the result of the task before (Celery: `immutable`).
    pub fn set_immutable(mut self, immutable: bool) -> Self {
        self.inner.set_immutable(immutable);
        self
    }

    /// Sends every member; or only the first task, where tasks come before the join.
    ///
    /// # Errors
    /// As [`Group::send`](crate::signature::group::Group::send).
    // Boxed as the future of `Signature::send`.
    pub fn send<'a>(self, app: &'a App) -> BoxFuture<'a, Result<JoinResult<Out>>>
    where
        In: Complete,
        Out: 'a,
    {
        let inner = self.inner;
        Box::pin(async move { Ok(JoinResult::of(inner.send(app).await?)) })
    }

    /// Sends it from code that is not async, as [`send`](Self::send) does, and blocks the thread until then.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_blocking(self, app: &App) -> Result<JoinResult<Out>>
    where
        In: Complete,
        Out: 'static,
    {
        Ok(JoinResult::of(self.inner.send_blocking(app)?))
    }
}

impl<In: Serialize, Out> Join<In, Out> {
    /// Gives the first argument, which the result of a task before would be otherwise. Every first task gets it.
    pub fn partial(mut self, first: In) -> Join<(), Out> {
        match encoded(&first, "the first argument") {
            Ok(value) => self.inner.put_first(&value),
            Err(error) => self.fail(error),
        }
        Join::of(self.inner)
    }
}

impl<In: ?Sized, Out> IntoWireSignature for Join<In, Out> {
    fn into_wire(self) -> Result<WireSignature> {
        self.inner.into_node()?.to_wire()
    }
}

impl<In: ?Sized, Out> IntoNode for Join<In, Out> {
    fn into_node(self) -> Result<Node> {
        self.inner.into_node()
    }
}

impl<In: ?Sized, Out> Clone for Join<In, Out> {
    fn clone(&self) -> Self {
        Self::of(self.inner.clone())
    }
}

impl<In: ?Sized, Out> fmt::Display for Join<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<In: ?Sized, Out> fmt::Debug for Join<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<In: ?Sized + Complete + 'static, Out: 'static> IntoFuture for Join<In, Out> {
    type Output = Result<JoinResult<Out>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let app = App::current()?;
            self.send(&app).await
        })
    }
}

/// The results of tasks of different types. `Out` is the tuple of what they return.
pub struct JoinResult<Out> {
    group: GroupResult<Json>,
    types: PhantomData<fn() -> Out>,
}

impl<Out> JoinResult<Out> {
    /// The results of a group whose members return these types in this order, which nothing checks.
    pub fn of(group: GroupResult<Json>) -> Self {
        Self { group, types: PhantomData }
    }

    /// The id of the group.
    pub fn id(&self) -> &TaskId {
        self.group.id()
    }

    /// The result of the group, for states, counts and the results of single members.
    pub fn group(&self) -> &GroupResult<Json> {
        &self.group
    }
}

impl<Out: DeserializeOwned + Send + 'static> JoinResult<Out> {
    /// Waits for all values and returns them as a tuple. Fails at the first failure that is seen, without waiting for
    /// the others.
    pub fn get(&self) -> JoinGet<Out> {
        JoinGet { wait: self.group.get(), types: PhantomData }
    }

    /// Waits as [`get`](Self::get) does, and blocks the thread. For code that is not async.
    ///
    /// # Errors
    /// As `get().await`.
    pub fn get_blocking(&self) -> Result<Out> {
        tuple(self.group.get().wait()?)
    }
}

/// The values of the members as a tuple.
fn tuple<Out: DeserializeOwned>(list: Vec<Json>) -> Result<Out> {
    Ok(Json::from_serialize(&list)?.decode()?)
}

impl<Out> Clone for JoinResult<Out> {
    fn clone(&self) -> Self {
        Self::of(self.group.clone())
    }
}

impl<Out> fmt::Debug for JoinResult<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.group.fmt(f)
    }
}

/// Waits for the values of a join when it is awaited; see [`JoinResult::get`].
#[must_use = "nothing happens until it is awaited"]
pub struct JoinGet<Out> {
    wait: JoinAll<Json>,
    types: PhantomData<fn() -> Out>,
}

impl<Out> JoinGet<Out> {
    /// Waits no longer than this for all together. Default: no limit.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.wait = self.wait.timeout(limit);
        self
    }

    /// Calls `callback` with the document of every state of every member.
    pub fn on_message(mut self, callback: impl FnMut(&ResultDocument) + Send + 'static) -> Self {
        self.wait = self.wait.on_message(callback);
        self
    }

    /// Allows the wait inside a task; see [`Get::allow_in_task`](crate::result::get::Get::allow_in_task).
    pub fn allow_in_task(mut self) -> Self {
        self.wait = self.wait.allow_in_task();
        self
    }
}

impl<Out: DeserializeOwned + Send + 'static> IntoFuture for JoinGet<Out> {
    type Output = Result<Out>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { tuple(self.wait.await?) })
    }
}
