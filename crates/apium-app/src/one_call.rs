//! One call of one task: sent, or run here.

use apium_protocol::id::TaskId;
use apium_protocol::record::ResultTuple;

use crate::app::App;
use crate::current;
use crate::error::{Error, ErrorKind, Result};
use crate::local::LocalRun;
use crate::prepare::CallSpec;
use crate::publisher::Publisher;
use crate::result::AsyncResult;

/// Sends one task, or runs it here in eager mode.
pub(crate) async fn send_call<T>(app: &App, publisher: &Publisher, call: CallSpec) -> Result<AsyncResult<T>> {
    if app.config().task_always_eager {
        match app.registry().get(&call.task) {
            Some(_) if !call.by_name => return apply(app, call).await,
            _ => tracing::warn!(task = %call.task, "task_always_eager does not apply to a call by name: it is sent"),
        }
    }
    let backend = app.backend_of(&call.task).cloned();
    let prepared = publisher.prepare(call)?;
    publisher.publish_under(vec![prepared.outgoing], prepared.policy).await?;
    if prepared.add_to_parent {
        note_child(|| ResultTuple::task(prepared.id.clone()));
    }
    Ok(AsyncResult::sent(app, prepared.id, backend, prepared.ignored))
}

/// Notes a result among the children of the running task, if one runs.
pub(crate) fn note_child(child: impl FnOnce() -> ResultTuple) {
    if let Some(ctx) = current::get() {
        ctx.add_children(child());
    }
}

/// Runs a call here and now.
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
