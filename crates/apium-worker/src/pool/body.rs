//! The body of a task, as pools run it.

use apium_app::context::context::Ctx;
use apium_app::task::registered::{RegisteredTask, TaskBody};
use apium_app::task_error::TaskResult;
use apium_protocol::json::text::Json;
use std::sync::Arc;

use crate::outcome::RunOutcome;

/// The body of an `async fn` with `before_start` in front, which may fail it.
pub(crate) async fn body(ctx: Ctx, task: Arc<RegisteredTask>) -> TaskResult<Json> {
    if let Some(hook) = &task.hooks.before_start {
        hook(ctx.clone(), ()).await?;
    }
    match &task.runner {
        TaskBody::Async(run) => run(ctx).await,
        TaskBody::Blocking(run) => run(ctx),
    }
}

/// What a body that ended, or panicked, comes to.
pub(crate) fn outcome_of(ended: std::thread::Result<TaskResult<Json>>) -> RunOutcome {
    match ended {
        Ok(result) => result.into(),
        Err(panic) => RunOutcome::of_panic(&*panic),
    }
}
