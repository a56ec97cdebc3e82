//! One call: `delay` with the options of `apply_async`.

use std::future::IntoFuture;

use apium_protocol::id::TaskId;
use apium_protocol::record::ResultTuple;
use futures_util::future::BoxFuture;

use crate::app::App;
use crate::call_options::CallOptions;
use crate::current;
use crate::error::{Error, ErrorKind, Result};
use crate::local::LocalRun;
use crate::prepare::CallSpec;
use crate::producer::Producer;
use crate::publisher::Publisher;
use crate::result::AsyncResult;
use crate::setters::call_options;
use crate::signature::Signature;

/// A call that is not sent yet (Celery: `delay`, `apply_async`). Awaited, it goes through the current app; `send` names one.
#[must_use = "nothing is sent until it is awaited, or sent with an app"]
pub struct Call<T> {
    signature: Signature<T>,
    publisher: Option<Publisher>,
}

impl<T> Call<T> {
    /// A call of a signature.
    pub fn of(signature: Signature<T>) -> Self {
        Self { signature, publisher: None }
    }

    fn options_mut(&mut self) -> &mut CallOptions {
        self.signature.options_mut()
    }

    fn fail(&mut self, error: Error) {
        self.signature.fail(error);
    }

    /// Publishes through a producer that is held by hand.
    pub fn producer(mut self, producer: &Producer) -> Self {
        self.publisher = Some(producer.publisher().clone());
        self
    }

    /// The call as a signature.
    pub fn into_signature(self) -> Signature<T> {
        self.signature
    }

    /// Sends it. With `task_always_eager` it runs here and now instead, unless it is called by name.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`] when the broker cannot be reached in time, [`ErrorKind::Call`], [`ErrorKind::Codec`] and
    /// [`ErrorKind::Config`] as for [`Publisher::prepare`]. In eager mode with `task_eager_propagates`, the task's failure.
    /// Cancelling it leaves open whether the message was sent.
    pub async fn send(self, app: &App) -> Result<AsyncResult<T>> {
        let Self { signature, publisher } = self;
        let spec = tracing::trace_span!(target: "apium::walk", "call").in_scope(|| signature.into_spec())?;
        if app.config().task_always_eager {
            match app.registry().get(&spec.task) {
                Some(_) if !spec.by_name => return apply(app, spec).await,
                _ => {
                    tracing::warn!(task = %spec.task, "task_always_eager does not apply to a call by name: it is sent")
                }
            }
        }
        let publisher = publisher.as_ref().unwrap_or(app.publisher());
        let backend = app.backend_of(&spec.task).cloned();
        let prepared = publisher.prepare(spec)?;
        publisher.publish_under(vec![prepared.outgoing], prepared.policy).await?;
        if prepared.add_to_parent {
            note_child(|| ResultTuple::task(prepared.id.clone()));
        }
        Ok(AsyncResult::sent(app, prepared.id, backend, prepared.ignored))
    }

    /// Sends it from plain code; this thread waits until the message is safe.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_blocking(self, app: &App) -> Result<AsyncResult<T>>
    where
        T: 'static,
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

    /// Runs it here and now (Celery: `apply`), through all that a worker does; countdown, eta and limits do not apply.
    ///
    /// # Errors
    /// [`ErrorKind::NotRegistered`] for a task that this program does not have; with `task_eager_propagates` the task's
    /// failure.
    pub async fn apply(self, app: &App) -> Result<AsyncResult<T>> {
        apply(app, self.signature.into_spec()?).await
    }
}

call_options!(T, Call<T>);

impl<T> Signature<T> {
    /// The call of this signature.
    pub fn call(self) -> Call<T> {
        Call::of(self)
    }

    /// Sends it; see [`Call::send`].
    ///
    /// # Errors
    /// As [`Call::send`].
    pub async fn send(self, app: &App) -> Result<AsyncResult<T>> {
        self.call().send(app).await
    }

    /// Sends it from plain code; see [`Call::send_blocking`].
    ///
    /// # Errors
    /// As [`Call::send`].
    pub fn send_blocking(self, app: &App) -> Result<AsyncResult<T>>
    where
        T: 'static,
    {
        self.call().send_blocking(app)
    }

    /// Runs it here and now; see [`Call::apply`].
    ///
    /// # Errors
    /// As [`Call::apply`].
    pub async fn apply(self, app: &App) -> Result<AsyncResult<T>> {
        self.call().apply(app).await
    }
}

impl<T: 'static> IntoFuture for Call<T> {
    type Output = Result<AsyncResult<T>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let app = App::current()?;
            self.send(&app).await
        })
    }
}

/// Notes a result among the children of the running task, if one runs.
pub(crate) fn note_child(child: impl FnOnce() -> ResultTuple) {
    if let Some(ctx) = current::get() {
        ctx.add_children(child());
    }
}

pub(crate) async fn apply<T>(app: &App, spec: CallSpec) -> Result<AsyncResult<T>> {
    let Some(task) = app.registry().get(&spec.task).cloned() else {
        return Err(Error::new(
            ErrorKind::NotRegistered,
            format!("run {} here: no task of that name is registered in this program", spec.task),
        ));
    };
    let Some(runner) = app.local_runner().cloned() else {
        return Err(Error::new(
            ErrorKind::Config,
            format!("run {} here: the app has no local runner; build it with the feature `worker`", spec.task),
        ));
    };
    let backend = app.backend_for(&task).cloned();
    let prepared = app.publisher().prepare(spec)?;
    let throws = app.config().task_eager_propagates;
    let id: TaskId = prepared.id;
    let document = runner.run(app.clone(), LocalRun::new(task, prepared.outgoing.message, throws)).await?;
    let result = AsyncResult::eager(app, id, backend, document);
    if throws {
        result.raise_if_failed()?;
    }
    Ok(result)
}
