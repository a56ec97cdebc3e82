//! One call (Celery: `delay`, `apply_async`): how it is sent, and how it is run eagerly.

use std::future::IntoFuture;

use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::result::document::ResultTuple;
use apium_protocol::value::printable::printable;
use futures_util::future::BoxFuture;

use crate::app::app::App;
use crate::canvas::eager;
use crate::canvas::eager_results;
use crate::canvas::freeze::{Ids, WorkflowIds};
use crate::canvas::node::{Node, TaskChange};
use crate::canvas::plan::SendWith;
use crate::canvas::send::send_through;
use crate::canvas::stamp::{StampVisitor, Stamps};
use crate::context::current;
use crate::context::current::note_child;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::options::call_options::CallOptions;
use crate::publish::prepare::{CallSpec, PreparedMessage};
use crate::publish::producer::Producer;
use crate::publish::publisher::Publisher;
use crate::result::async_result::AsyncResult;
use crate::signature::fits::Complete;
use crate::signature::signature::Signature;

/// A call that is not sent yet (Celery: `delay`, `apply_async`). Awaited, it is sent through the current app
/// ([`App::current`]); [`send`](Self::send) names an app.
#[must_use = "nothing is sent until it is awaited, or `send` is called"]
pub struct Call<Out> {
    signature: Signature<(), Out>,
    publisher: Option<Publisher>,
}

impl<Out> Call<Out> {
    /// A call of a signature.
    pub fn of<In: ?Sized + Complete>(signature: Signature<In, Out>) -> Self {
        Self { signature: signature.cast(), publisher: None }
    }

    pub(crate) fn options_mut(&mut self) -> &mut CallOptions {
        self.signature.options_mut()
    }

    pub(crate) fn add_link(&mut self, callback: WireSignature) {
        self.signature.add_link(callback);
    }

    pub(crate) fn add_link_error(&mut self, errback: WireSignature) {
        self.signature.add_link_error(errback);
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.signature.fail(error);
    }

    pub(crate) fn visit(&mut self, visitor: &mut dyn StampVisitor, stamps: &Stamps, append: bool) {
        self.signature.visit(visitor, stamps, append);
    }

    pub(crate) fn change_tasks(&mut self, change: &mut TaskChange<'_>) -> Result<()> {
        self.signature.change_tasks(change)
    }

    /// Publishes it through this producer, which [`App::producer`] acquired (Celery: `producer`).
    pub fn producer(mut self, producer: &Producer) -> Self {
        self.publisher = Some(producer.publisher().clone());
        self
    }

    /// The call as a signature.
    pub fn into_signature(self) -> Signature<(), Out> {
        self.signature
    }

    /// Sends it. With the setting `task_always_eager` it is run in this process instead, unless it is a call by name.
    ///
    /// It is not cancel-safe: the message may have been published or not.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`] when the broker does not take the message in time (`broker_publish_timeout`);
    /// [`ErrorKind::Call`], [`ErrorKind::Codec`] and [`ErrorKind::Config`] as for [`Publisher::prepare`]. In an eager
    /// run with `task_eager_propagates`, the task's failure.
    pub async fn send(self, app: &App) -> Result<AsyncResult<Out>> {
        let Self { signature, publisher } = self;
        let publisher = publisher.as_ref().unwrap_or(app.publisher());
        match tracing::trace_span!(target: "apium::walk", "call").in_scope(|| signature.into_node())? {
            Node::Task(task) => send_call(app, publisher, task.call).await,
            node => Box::pin(send_node(app, publisher, node)).await,
        }
    }

    /// Sends it, and waits on this thread until the broker has the message. For code that is not async.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_blocking(self, app: &App) -> Result<AsyncResult<Out>>
    where
        Out: 'static,
    {
        let (app, ctx) = (app.clone(), current::get());
        let on = app.clone();
        on.blocking().run(async move {
            match ctx {
                Some(ctx) => current::scope(ctx, self.send(&app)).await,
                None => self.send(&app).await,
            }
        })?
    }

    /// Runs it eagerly: in this process, now, as a worker would (Celery: `apply`). Countdown, eta and time limits have
    /// no effect.
    ///
    /// # Errors
    /// [`ErrorKind::NotRegistered`] for a task that this app does not have; with the setting `task_eager_propagates`
    /// the task's failure. In a workflow, the failure of a task that others follow.
    pub async fn apply(self, app: &App) -> Result<AsyncResult<Out>> {
        match self.signature.into_node()? {
            Node::Task(task) => eager::apply_task(app, task.call).await,
            node => Box::pin(eager_results::apply(app, node)).await,
        }
    }
}

impl<In: ?Sized, Out> Signature<In, Out> {
    /// The call of this signature.
    pub fn call(self) -> Call<Out>
    where
        In: Complete,
    {
        Call::of(self)
    }

    /// Sends a call of it; see [`Call::send`].
    ///
    /// # Errors
    /// As [`Call::send`].
    // The future is boxed since its type must not name `In`: else a missing argument is an error here and again at
    // `.await`.
    pub fn send<'a>(self, app: &'a App) -> BoxFuture<'a, Result<AsyncResult<Out>>>
    where
        In: Complete,
        Out: 'a,
    {
        Box::pin(self.call().send(app))
    }

    /// Sends a call of it, for code that is not async; see [`Call::send_blocking`].
    ///
    /// # Errors
    /// As [`Call::send`].
    pub fn send_blocking(self, app: &App) -> Result<AsyncResult<Out>>
    where
        In: Complete,
        Out: 'static,
    {
        self.call().send_blocking(app)
    }

    /// Runs it eagerly; see [`Call::apply`].
    ///
    /// # Errors
    /// As [`Call::apply`].
    pub fn apply<'a>(self, app: &'a App) -> BoxFuture<'a, Result<AsyncResult<Out>>>
    where
        In: Complete,
        Out: 'a,
    {
        Box::pin(self.call().apply(app))
    }

    /// Gives ids to all tasks of the signature now, and returns the result that it will have when it is sent (Celery:
    /// `freeze`). Send it once only: a second time would use the same ids.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] for an argument that could not be encoded.
    pub fn freeze(&mut self, app: &App) -> Result<AsyncResult<Out>> {
        self.check()?;
        let mut ids = Ids::random(app.publisher().reply_to().clone());
        let tuple = self.node_mut().freeze(WorkflowIds::default(), &mut ids)?;
        Ok(AsyncResult::of_tuple(app, &tuple))
    }
}

impl<Out: 'static> IntoFuture for Call<Out> {
    type Output = Result<AsyncResult<Out>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let app = App::current()?;
            self.send(&app).await
        })
    }
}

impl<In: ?Sized + Complete, Out: 'static> IntoFuture for Signature<In, Out> {
    type Output = Result<AsyncResult<Out>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.call().into_future()
    }
}

/// Sends a call of one task, or runs it here with `task_always_eager`.
pub(crate) async fn send_call<T>(app: &App, publisher: &Publisher, call: CallSpec) -> Result<AsyncResult<T>> {
    if app.config().task_always_eager {
        match app.registry().get(&call.task) {
            Some(_) if !call.by_name => return Box::pin(eager::apply_task(app, call)).await,
            _ => {
                tracing::warn!(task = %printable(&call.task), "task_always_eager does not apply to a call by name: it is sent")
            }
        }
    }
    let backend = app.backend_of(&call.task).cloned();
    let PreparedMessage { id, outgoing, ignored, add_to_parent, policy } = publisher.prepare(call)?;
    let result = AsyncResult::sent(app, id, backend, ignored);
    publisher.publish_calls(vec![outgoing], policy).await?;
    if add_to_parent {
        note_child(|| ResultTuple::task(result.id().clone()));
    }
    Ok(result)
}

/// Sends a workflow, or runs it here with `task_always_eager`.
pub(crate) async fn send_node<T>(app: &App, publisher: &Publisher, node: Node) -> Result<AsyncResult<T>> {
    if app.config().task_always_eager {
        return eager_results::apply(app, node).await;
    }
    Ok(AsyncResult::of_tuple(app, &send_through(app, publisher, node, SendWith::default()).await?))
}
