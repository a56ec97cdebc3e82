//! Calls the hooks of a task after its run. They run when the result is stored, and cannot change it.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use apium_app::context::context::Ctx;
use apium_app::context::current;
use apium_app::task::definition::Returned;
use apium_app::task::registered::HookSet;
use apium_app::task_error::TaskResult;
use apium_protocol::value::printable::printable_text;
use futures_util::FutureExt as _;

use crate::pipeline::verdict::Verdict;

/// Whether there is a hook to call after `verdict`.
pub(crate) fn wanted(hooks: &HookSet, verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Succeeded(_) => hooks.on_success.is_some() || hooks.after_return.is_some(),
        Verdict::Failed { .. } => hooks.on_failure.is_some() || hooks.after_return.is_some(),
        Verdict::Retry(_) => hooks.on_retry.is_some(),
        Verdict::Rejected { .. }
        | Verdict::Retried { .. }
        | Verdict::Ignored
        | Verdict::Replaced(_)
        | Verdict::Revoked(_)
        | Verdict::Aborted
        | Verdict::Unavailable(_)
        | Verdict::Cancelled { .. } => false,
    }
}

/// Calls the hooks for `verdict`, one after the other. As in Celery `after_return` is called for SUCCESS and FAILURE
/// only.
pub(crate) async fn after(hooks: &HookSet, ctx: &Ctx, verdict: Verdict) {
    let returned = match verdict {
        Verdict::Succeeded(value) => {
            if let Some(hook) = &hooks.on_success {
                call("on_success", ctx, || hook(ctx.clone(), value.clone())).await;
            }
            Returned::success(value)
        }
        Verdict::Failed { failure, .. } => {
            if let Some(hook) = &hooks.on_failure {
                call("on_failure", ctx, || hook(ctx.clone(), failure.clone())).await;
            }
            Returned::failure(failure)
        }
        Verdict::Retry(next) => {
            if let Some(hook) = &hooks.on_retry {
                call("on_retry", ctx, || hook(ctx.clone(), next.cause)).await;
            }
            return;
        }
        _ => return,
    };
    if let Some(hook) = &hooks.after_return {
        call("after_return", ctx, || hook(ctx.clone(), returned)).await;
    }
}

/// Calls a hook. It may panic before it has made its future, too.
async fn call<F: Future<Output = TaskResult<()>>>(name: &str, ctx: &Ctx, hook: impl FnOnce() -> F) {
    let called = AssertUnwindSafe(current::scope(ctx.clone(), async { hook().await })).catch_unwind().await;
    let (task, id) = (ctx.task_name(), &*printable_text(ctx.request().id().map_or("?", |id| id.as_str())));
    match called {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(task, id, ?error, "{name} of task {task}[{id}] failed; the result stays as it is")
        }
        Err(_) => tracing::error!(task, id, "{name} of task {task}[{id}] panicked; the result stays as it is"),
    }
}
