//! The body of a task, as the pools run it.

use std::sync::Arc;

use apium_app::context::context::Ctx;
use apium_app::task::registered::{RegisteredTask, TaskBody};
use apium_app::task_error::{TaskError, TaskErrorKind, TaskResult};
use apium_protocol::json::text::Json;

use crate::outcome::RunOutcome;

/// Runs the hook `before_start`, the body, and `on_replace`. An error of a hook is the task's; after one of
/// `before_start` the body does not run.
pub(crate) async fn body(ctx: Ctx, task: Arc<RegisteredTask>) -> TaskResult<Json> {
    if let Some(hook) = &task.hooks.before_start {
        hook(ctx.clone(), ()).await?;
    }
    let returned = match &task.runner {
        TaskBody::Async(run) => run(ctx.clone()).await,
        TaskBody::Blocking(run) => run(ctx.clone()),
        TaskBody::Foreign { .. } => Err(foreign()),
    };
    on_replace(ctx, &task, returned).await
}

/// The failure of a foreign task that runs where no child process has its body.
pub(crate) fn foreign() -> TaskError {
    TaskError::failure("its body is in a program of another language, and runs in a child process of a worker only")
}

/// Runs the hook `on_replace` of a task whose body replaced it.
pub(crate) async fn on_replace(ctx: Ctx, task: &RegisteredTask, returned: TaskResult<Json>) -> TaskResult<Json> {
    let Some(hook) = &task.hooks.on_replace else { return returned };
    match returned.map_err(TaskError::into_kind) {
        Ok(value) => Ok(value),
        Err(TaskErrorKind::Replace(with)) => {
            Err(TaskError::new(TaskErrorKind::Replace(Box::new(hook(ctx, *with).await?))))
        }
        Err(other) => Err(TaskError::new(other)),
    }
}

/// The outcome of a body that returned, or panicked.
pub(crate) fn outcome_of(returned: std::thread::Result<TaskResult<Json>>) -> RunOutcome {
    match returned {
        Ok(result) => result.into(),
        Err(panic) => RunOutcome::of_panic(&*panic),
    }
}
