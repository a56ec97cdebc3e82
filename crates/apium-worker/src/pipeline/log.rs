//! The log lines of a run, with the name and the id of the task as fields (Celery's `LOG_*` formats).

use std::time::Duration;

use apium_app::context::request::Request;
use apium_app::task::registered::RegisteredTask;
use apium_protocol::error::with_causes;
use apium_protocol::value::repr::repr_value;
use apium_transport::broker::settlement::Disposition;
use apium_transport::error::Error;
use jiff::Timestamp;
use tracing::Level;

use crate::pipeline::completion::RefusedDelivery;
use crate::pipeline::task_run::{TaskLabel, TaskRun};
use crate::pipeline::verdict::{FailureReason, Verdict, crash_loop_text};

/// The span of a run. What a task logs is inside it, and so carries the task's name and id. It is an error span, so
/// that it exists at every log level.
pub(crate) fn span(task: &str, request: &Request) -> tracing::Span {
    tracing::error_span!("task", name = task, id = id(request))
}

fn id(request: &Request) -> &str {
    request.id().map_or("?", |id| id.as_str())
}

/// A run was accepted by the intake.
pub(crate) fn received(task_run: &TaskRun) {
    if tracing::enabled!(Level::INFO) {
        let (task, id) = (&*task_run.task.name, id(&task_run.request));
        tracing::info!(task, id, "task {task}[{id}] received");
    }
}

/// The turn of a run is far away, so it goes back to the broker.
pub(crate) fn waits_for_turn(task_run: &TaskRun, turn: Timestamp) {
    let (task, id) = (&*task_run.task.name, id(&task_run.request));
    tracing::debug!(task, id, %turn, "task {task}[{id}] waits at the broker for its rate limit");
}

/// Another worker has the message of a run that did not begin here.
pub(crate) fn lease_lost(task_run: &TaskRun) {
    let (task, id) = (&*task_run.task.name, id(&task_run.request));
    tracing::warn!(
        task,
        id,
        "task {task}[{id}] does not begin here: its lease expired, and another worker has the message"
    );
}

/// Another worker has the message of a run that ended here.
pub(crate) fn lease_lost_at_end(label: &TaskLabel) {
    let (task, id) = names(label);
    tracing::warn!(id, task, "task {task}[{id}] ended after its lease had expired: another worker has its message");
}

/// A completion was given up.
pub(crate) fn not_completed(label: &TaskLabel, error: &Error) {
    let (task, id) = names(label);
    tracing::error!(id, task, error = %with_causes(&error), "could not complete task {task}[{id}]");
}

/// The message of a completion that was given up is in no dead set either.
pub(crate) fn not_dead_lettered(label: &TaskLabel, error: &Error) {
    let (task, id) = names(label);
    tracing::error!(id, task, error = %with_causes(&error), "could not put task {task}[{id}] into the dead set; it will be delivered again");
}

fn names(label: &TaskLabel) -> (&str, &str) {
    (label.task.as_deref().unwrap_or("?"), label.id.as_ref().map_or("?", |id| id.as_str()))
}

/// The intake refused a delivery.
pub(crate) fn refused(refused: &RefusedDelivery) {
    let (task, id) = names(&refused.label);
    match &refused.disposition {
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
        Verdict::Failed { why: FailureReason::CrashLoop { crashes }, .. } => {
            let text = crash_loop_text(*crashes);
            tracing::error!(task, id, crashes, "task {task}[{id}] goes to the dead set: {text}");
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
        Verdict::Replaced(_) => tracing::info!(task, id, "task {task}[{id}] was replaced by another"),
        Verdict::Revoked(reason) => tracing::info!(task, id, "task {task}[{id}] discarded: {reason}"),
        Verdict::Aborted => tracing::info!(task, id, "task {task}[{id}] does not run: it was aborted"),
        Verdict::Cancelled { requeued: true } => {
            tracing::warn!(task, id, "task {task}[{id}] was cancelled by the stop of its worker and is requeued");
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

/// The text, cut after `longest` characters.
fn shortened(mut text: String, longest: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(longest) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}
