//! The body of a task, as the pools run it.

use std::sync::Arc;

use apium_app::context::context::Ctx;
use apium_app::task::registered::{RegisteredTask, TaskBody};
use apium_app::task_error::TaskResult;
use apium_protocol::json::text::Json;

use crate::outcome::RunOutcome;

/// Runs the hook `before_start`, and then the body. An error of the hook is the task's, and the body does not run.
pub(crate) async fn body(ctx: Ctx, task: Arc<RegisteredTask>) -> TaskResult<Json> {
    if let Some(hook) = &task.hooks.before_start {
        hook(ctx.clone(), ()).await?;
    }
    match &task.runner {
        TaskBody::Async(run) => run(ctx).await,
        TaskBody::Blocking(run) => run(ctx),
    }
}

/// The outcome of a body that returned, or panicked.
pub(crate) fn outcome_of(returned: std::thread::Result<TaskResult<Json>>) -> RunOutcome {
    match returned {
        Ok(result) => result.into(),
        Err(panic) => RunOutcome::of_panic(&*panic),
    }
}
