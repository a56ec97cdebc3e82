//! The log lines of a run, with the name and the id of the task as fields (Celery's `LOG_*` formats).
//!
//! Names, ids, errors and values come from messages, so anybody may have written them. Here, and nowhere else, they are
//! made [`printable`]: a newline in one of them does not begin a line of the log.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use apium_app::context::request::Request;
use apium_app::failure::Failure;
use apium_app::observe::trace_context;
use apium_app::retry::policy::NextRun;
use apium_app::task::registered::RegisteredTask;
use apium_protocol::error::with_causes;
use apium_protocol::value::printable::{printable, printable_text};
use apium_protocol::value::repr::repr_value;
use apium_transport::broker::settlement::Disposition;
use apium_transport::error::Error;
use jiff::Timestamp;
use tracing::Level;

use crate::pipeline::completion::RefusedDelivery;
use crate::pipeline::task_run::{TaskLabel, TaskRun};
use crate::pipeline::verdict::{FailureReason, Verdict, crash_loop_text};
use crate::pool::guard::Panicked;
use crate::runs::revoke_reason::RevokeReason;
use crate::runs::slot::ActiveRun;

/// The span of a run. What a task logs is inside it, and so carries the task's name and id. It is an error span, so
/// that it exists at every log level.
pub(crate) fn span(task: &str, request: &Request) -> tracing::Span {
    let span = tracing::error_span!("task", name = task, id = &*id(request));
    trace_context::set_parent(&span, &request.headers);
    span
}

fn id(request: &Request) -> Cow<'_, str> {
    printable_text(request.id().map_or("?", |id| id.as_str()))
}

/// The name and the id of a task as Celery writes them: `tasks.add[the-id]`.
fn task_name(task: &str, id: &str) -> impl fmt::Display {
    printable(format!("{task}[{id}]"))
}

/// A run was accepted by the intake.
pub(crate) fn received(task_run: &TaskRun) {
    if tracing::enabled!(Level::INFO) {
        let (task, id) = (&*task_run.task.name, &*id(&task_run.request));
        tracing::info!(task, id, "task {} received", task_name(task, id));
    }
}

/// What follows the end of a foreign task could not be done.
pub(crate) fn not_concluded(task_run: &TaskRun) {
    let (task, id) = (&*task_run.task.name, &*id(&task_run.request));
    tracing::error!(
        task,
        id,
        "no child process has done what follows the end of task {}: its errbacks, its chord and its chain learn nothing",
        task_name(task, id)
    );
}

/// The child process of a run that may begin again has died.
pub(crate) fn lost(task_run: &TaskRun, reason: &str) {
    let (task, id) = (&*task_run.task.name, &*id(&task_run.request));
    tracing::error!(task, id, "the child process of task {} has died: {reason}", task_name(task, id));
}

/// The result of a run is larger than `result_size_warning`.
pub(crate) fn large_result(task_run: &TaskRun, size: usize) {
    let (task, id) = (&*task_run.task.name, &*id(&task_run.request));
    tracing::warn!(
        task,
        id,
        size,
        "the result of task {} has {size} bytes, which is more than result_size_warning; store it elsewhere, and return \
         where it is",
        task_name(task, id)
    );
}

/// The turn of a run is far away, so it goes back to the broker.
pub(crate) fn waits_for_turn(task_run: &TaskRun, turn: Timestamp) {
    let (task, id) = (&*task_run.task.name, &*id(&task_run.request));
    let name = task_name(task, id);
    tracing::debug!(task, id, %turn, "task {name} waits at the broker for its rate limit");
}

/// Whether a task was aborted could not be read.
pub(crate) fn abort_not_read(task_run: &TaskRun, error: &Error) {
    let (task, id) = (&*task_run.task.name, &*id(&task_run.request));
    let name = task_name(task, id);
    tracing::warn!(task, id, error = %with_causes(&error), "could not read whether task {name} was aborted, so it begins");
}

/// Another worker has the message of a run that did not begin here.
pub(crate) fn lease_lost(task_run: &TaskRun) {
    let (task, id) = (&*task_run.task.name, &*id(&task_run.request));
    tracing::warn!(
        task,
        id,
        "task {} does not begin here: its lease expired, and another worker has the message",
        task_name(task, id)
    );
}

/// Another worker has the message of a run that ended here.
pub(crate) fn lease_lost_at_end(label: &TaskLabel) {
    let (task, id) = names(label);
    let (task, id, name) = (&*task, &*id, task_name(&task, &id));
    tracing::warn!(
        id,
        task,
        "task {name} ended after its lease had expired, so its result is not stored: another worker has its message, unless the broker lost it"
    );
}

/// A warm stop lasts as long as its runs do. Who waits for it sees for which, and what ends it sooner.
pub(crate) fn waits_for_runs(active: &[ActiveRun]) {
    let Some((first, others)) = active.split_first() else { return };
    let others = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
    let id = id(&first.request);
    let name = task_name(&first.task.name, &id);
    tracing::info!("it waits for {name}{others}; a second Ctrl-C cancels what runs");
}

/// Completions were given up, because the worker stops and their store is away.
pub(crate) fn not_settled(error: &Error, count: usize) {
    tracing::error!(error = %with_causes(error), completions = count, "could not settle before the worker stopped; what is in flight is delivered again");
}

/// A store refused a completion.
pub(crate) fn not_completed(label: &TaskLabel, error: &Error) {
    let (task, id) = names(label);
    let (task, id, name) = (&*task, &*id, task_name(&task, &id));
    tracing::error!(id, task, error = %with_causes(&error), "could not complete task {name}");
}

/// The message of a completion that a store refused is in the dead set, and that its task has failed is not stored.
pub(crate) fn failure_not_stored(label: &TaskLabel, error: &Error) {
    let (task, id) = names(label);
    let (task, id, name) = (&*task, &*id, task_name(&task, &id));
    tracing::error!(id, task, error = %with_causes(&error), "could not store the failure of task {name}, whose message is in the dead set; who waits for its result is not told");
}

/// The message of a completion that a store refused is in no dead set either.
pub(crate) fn not_dead_lettered(label: &TaskLabel, error: &Error) {
    let (task, id) = names(label);
    let (task, id, name) = (&*task, &*id, task_name(&task, &id));
    tracing::error!(id, task, error = %with_causes(&error), "could not put task {name} into the dead set; it stays in flight and is tried again, and the worker is unhealthy meanwhile");
}

fn names(label: &TaskLabel) -> (Cow<'_, str>, Cow<'_, str>) {
    let (task, id) = (label.task.as_deref().unwrap_or("?"), label.id.as_ref().map_or("?", |id| id.as_str()));
    (printable_text(task), printable_text(id))
}

/// The parts of a run that ended could not be counted before it is settled.
pub(crate) fn chord_not_counted(task_run: &TaskRun, error: &Error) {
    let (task, id) = (&*task_run.task.name, &*id(&task_run.request));
    let name = task_name(task, id);
    tracing::warn!(task, id, error = %with_causes(&error), "could not count task {name} as a part of its chord before it is settled; if this worker dies meanwhile, errbacks of the chord are lost");
}

/// The intake refused a delivery.
pub(crate) fn refused(refused: &RefusedDelivery) {
    let (task, id) = names(&refused.label);
    let (task, id, name) = (&*task, &*id, task_name(&task, &id));
    match &refused.disposition {
        Disposition::Dead(reason) => {
            let (code, text) = (reason.code, printable(&reason.text));
            tracing::error!(task, id, code, "task {name} goes to the dead set: {text}");
        }
        Disposition::Delay(eta) => tracing::debug!(task, id, %eta, "task {name} waits for its eta"),
        Disposition::Requeue | Disposition::Discard => {}
    }
}

/// A run panicked outside of the code of the app that is guarded.
pub(crate) fn panicked(task_run: &TaskRun, panicked: &Panicked) {
    let (task, id) = (&*task_run.task.name, &*id(&task_run.request));
    let (name, panicked) = (task_name(task, id), printable(panicked));
    tracing::error!(task, id, "the run of task {name} {panicked}, outside of its body");
}

/// A run ended.
pub(crate) fn ended(task: &RegisteredTask, request: &Request, verdict: &Verdict, took: Duration, now: Timestamp) {
    if is_logged_by_child(task, verdict) {
        return;
    }
    let longest = task.effective.resultrepr_maxsize;
    let (task, id, seconds) = (&*task.name, &*id(request), took.as_secs_f64());
    if matches!(verdict, Verdict::Succeeded(_)) && !tracing::enabled!(Level::INFO) {
        return;
    }
    let name = task_name(task, id);
    match verdict {
        Verdict::Succeeded(value) => {
            let result = printable(shortened(repr_value(value), longest));
            tracing::info!(task, id, seconds, "task {name} succeeded in {seconds:.6}s: {result}");
        }
        Verdict::Failed { failure, why: FailureReason::Raised { expected: true } } => {
            let failure = printable(failure);
            tracing::info!(task, id, seconds, "task {name} raised expected: {failure}");
        }
        Verdict::Failed { why: FailureReason::CrashLoop { crashes }, .. } => {
            let text = crash_loop_text(*crashes);
            tracing::error!(task, id, crashes, "task {name} goes to the dead set: {text}");
        }
        Verdict::Failed { failure, why } => {
            let traceback = &*traceback(failure);
            let traceback = (!traceback.is_empty()).then_some(traceback);
            let failure = printable(failure);
            let then = match why {
                FailureReason::BadArguments => "; its body did not begin, and the message goes to the dead set",
                _ => "",
            };
            tracing::error!(task, id, seconds, traceback, "task {name} raised unexpected: {failure}{then}");
        }
        Verdict::Retry(next) => retry(task, id, next, now),
        Verdict::Retried { cause } => {
            let cause = cause.as_ref().map(|cause| format!(": {}", printable(cause))).unwrap_or_default();
            tracing::info!(task, id, seconds, "task {name} retry{cause}");
        }
        Verdict::Rejected { reason, requeue } => {
            let reason = printable(reason);
            tracing::warn!(task, id, requeue, "task {name} rejected: {reason}");
        }
        Verdict::Ignored => tracing::info!(task, id, "task {name} ignored"),
        Verdict::Replaced(_) => tracing::info!(task, id, "task {name} was replaced by another"),
        Verdict::Revoked(RevokeReason::Terminated(signal)) => {
            tracing::warn!(task, id, %signal, "task {name} was terminated ({signal})");
        }
        Verdict::Revoked(why) => tracing::info!(task, id, "task {name} discarded: {}", why.reason()),
        Verdict::Aborted => tracing::info!(task, id, "task {name} does not run: it was aborted"),
        Verdict::Unavailable(failure) => {
            let failure = printable(failure);
            tracing::warn!(
                task,
                id,
                "task {name} goes back to its queue, since a broker or a store that it used is away: {failure}"
            );
        }
        Verdict::Cancelled { requeued: true } => {
            tracing::warn!(task, id, "task {name} was cancelled by the stop of its worker and is requeued");
        }
        Verdict::Cancelled { requeued: false } => {
            tracing::warn!(
                task,
                id,
                "task {name} was cancelled by the stop of its worker; its message was acked before"
            );
        }
    }
}

/// Whether the child of a foreign task has logged its end, as its language does.
fn is_logged_by_child(task: &RegisteredTask, verdict: &Verdict) -> bool {
    let by_child = matches!(
        verdict,
        Verdict::Succeeded(_)
            | Verdict::Failed { why: FailureReason::Raised { .. }, .. }
            | Verdict::Retried { .. }
            | Verdict::Rejected { requeue: false, .. }
            | Verdict::Ignored
    );
    task.is_foreign() && by_child
}

/// A run is to be repeated: which retry it is, when it comes, and why.
fn retry(task: &str, id: &str, next: &NextRun, now: Timestamp) {
    let name = task_name(task, id);
    let delay = next.eta.map_or(0.0, |eta| eta.duration_since(now).as_secs_f64().max(0.0));
    // Milliseconds are enough, and whole seconds are written as such.
    let seconds = (delay * 1000.0).round() / 1000.0;
    let cause = next.cause.as_ref().map(|cause| format!(": {}", printable(cause))).unwrap_or_default();
    tracing::info!(
        task,
        id,
        retries = next.retries,
        seconds,
        "task {name} retry {} in {seconds}s{cause}",
        next.retries
    );
}

/// The traceback of a failure, for a field: formats of logs escape the ends of its lines themselves.
fn traceback(failure: &Failure) -> String {
    let lines = failure.traceback().unwrap_or_default().split('\n').map(printable_text);
    lines.collect::<Vec<_>>().join("\n")
}

/// The text, cut after `longest` characters.
fn shortened(mut text: String, longest: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(longest) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}
