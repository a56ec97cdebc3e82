//! The log lines of a task's life, with its name and id as fields (Celery's `LOG_*` lines).

use std::time::Duration;

use apium_app::context::request::Request;
use apium_app::task::registered::RegisteredTask;
use apium_protocol::value::repr::repr_value;
use apium_transport::broker::settlement::Disposition;
use tracing::Level;

use crate::pipeline::intake::RefusedDelivery;
use crate::pipeline::task_run::TaskRun;
use crate::pipeline::verdict::{FailureReason, Verdict};

/// The span of a run: what a task logs carries its name and id, at every level.
pub(crate) fn span(task: &str, request: &Request) -> tracing::Span {
    tracing::error_span!("task", name = task, id = id(request))
}

fn id(request: &Request) -> &str {
    request.id().map_or("?", |id| id.as_str())
}

/// A task was taken in.
pub(crate) fn received(task_run: &TaskRun) {
    if tracing::enabled!(Level::INFO) {
        let (task, id) = (&*task_run.task.name, id(&task_run.request));
        tracing::info!(task, id, "task {task}[{id}] received");
    }
}

/// A work was given to another worker before it began here.
pub(crate) fn lost(task_run: &TaskRun) {
    let (task, id) = (&*task_run.task.name, id(&task_run.request));
    tracing::warn!(task, id, "task {task}[{id}] is left to another worker: its lease ran out before it began");
}

/// A delivery does not run.
pub(crate) fn refused(refused: &RefusedDelivery) {
    let task = refused.label.task.as_deref().unwrap_or("?");
    let id = refused.label.id.as_ref().map_or("?", |id| id.as_str());
    match &refused.how {
        Disposition::Dead(reason) => {
            let (code, text) = (reason.code, &reason.text);
            tracing::error!(task, id, code, "task {task}[{id}] goes to the dead set: {text}");
        }
        Disposition::Delay(eta) => tracing::debug!(task, id, %eta, "task {task}[{id}] waits for its eta"),
        Disposition::Requeue | Disposition::Discard => {}
    }
}

/// A run ended.
pub(crate) fn ended(task: &RegisteredTask, request: &Request, verdict: &Verdict, took: Duration) {
    let longest = task.effective.resultrepr_maxsize;
    let (task, id, seconds) = (&*task.name, id(request), took.as_secs_f64());
    match verdict {
        Verdict::Succeeded(value) if tracing::enabled!(Level::INFO) => {
            let result = shortened(repr_value(value), longest);
            tracing::info!(task, id, seconds, "task {task}[{id}] succeeded in {seconds:.6}s: {result}");
        }
        Verdict::Succeeded(_) => {}
        Verdict::Failed { failure, why: FailureReason::Raised { expected: true } } => {
            tracing::info!(task, id, seconds, "task {task}[{id}] raised expected: {failure}");
        }
        Verdict::Failed { failure, .. } => {
            let traceback = failure.traceback().unwrap_or_default();
            tracing::error!(task, id, seconds, traceback, "task {task}[{id}] raised unexpected: {failure}");
        }
        Verdict::Retry(next) => match &next.cause {
            Some(cause) => tracing::info!(task, id, "task {task}[{id}] retry: {cause}"),
            None => tracing::info!(task, id, "task {task}[{id}] retry"),
        },
        Verdict::Rejected { reason, requeue } => {
            tracing::warn!(task, id, requeue, "task {task}[{id}] rejected: {reason}");
        }
        Verdict::Ignored => tracing::info!(task, id, "task {task}[{id}] ignored"),
        Verdict::Replaced(_) => tracing::info!(task, id, "task {task}[{id}] put another in its place"),
        Verdict::Revoked(reason) => tracing::info!(task, id, "task {task}[{id}] discarded: {reason}"),
        Verdict::Cancelled { requeued: true } => {
            tracing::warn!(
                task,
                id,
                "task {task}[{id}] was cancelled by the stop of its worker and is back in its queue"
            );
        }
        Verdict::Cancelled { requeued: false } => {
            tracing::warn!(
                task,
                id,
                "task {task}[{id}] was cancelled by the stop of its worker; its message was acked before"
            );
        }
    }
}

fn shortened(mut text: String, longest: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(longest) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}
