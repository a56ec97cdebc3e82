//! Running one task in the caller's process.

use apium_protocol::message::task_id::TaskId;

use crate::app::app::App;
use crate::app::eager_runner::EagerRun;
use crate::error::{Error, ErrorKind, Result};
use crate::publish::prepare::CallSpec;
use crate::result::async_result::AsyncResult;

/// Runs a task here and now; its result knows its document.
pub(crate) async fn apply_task<T>(app: &App, spec: CallSpec) -> Result<AsyncResult<T>> {
    let Some(task) = app.registry().get(&spec.task).cloned() else {
        return Err(Error::new(
            ErrorKind::NotRegistered,
            format!("run {} here: no task of that name is registered in this program", spec.task),
        ));
    };
    let Some(runner) = app.eager_runner().cloned() else {
        return Err(Error::new(
            ErrorKind::Config,
            format!("run {} here: the app has no local runner; build it with the feature `worker`", spec.task),
        ));
    };
    let backend = app.backend_for(&task).cloned();
    let prepared = app.publisher().prepare(spec)?;
    let throws = app.config().task_eager_propagates;
    let id: TaskId = prepared.id;
    let document = runner.run(app.clone(), EagerRun::new(task, prepared.outgoing.message, throws)).await?;
    let result = AsyncResult::eager(app, id, backend, document);
    if throws {
        result.raise_if_failed()?;
    }
    Ok(result)
}
