//! The fields of events, in Celery's order.

use std::borrow::Cow;

use apium_app::failure::Failure;
use apium_app::observe::event_sender::{EventBatch, EventSender};
use apium_protocol::json::text::Json;
use apium_protocol::message::outgoing_event::OutgoingEvent;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::value::repr::{args_repr, kwargs_repr, repr_value};
use jiff::Timestamp;

use crate::observe::fact::{HowRevoked, RefusedFact, RunChange, TaskFact};

/// How many events a fact is made into, at most.
pub(crate) fn most_events(fact: &TaskFact) -> u64 {
    if matches!(fact.change, RunChange::Rejected { requeue: false, .. }) { 2 } else { 1 }
}

/// Adds the events of a fact, the first of them at this time of the logical clock. Celery tells two of a task that
/// rejects its message for good.
pub(crate) fn of_task(batch: &mut EventBatch<'_>, fact: &TaskFact, clock: u64) {
    let Some(id) = fact.request.id() else { return };
    let mut add = |kind: &'static str, clock: u64, fields: &dyn Fn(OutgoingEvent) -> OutgoingEvent| {
        batch.add_of_task(kind, (fact.at, clock), |event| fields(event.text("uuid", id.as_str())));
    };
    let mut tell = |kind: &'static str, fields: &dyn Fn(OutgoingEvent) -> OutgoingEvent| add(kind, clock, fields);
    match &fact.change {
        RunChange::Received => tell("task-received", &|event| received(event, fact)),
        RunChange::Started => tell("task-started", &|event| event),
        RunChange::Succeeded { value, took } => {
            let result = shortened(repr_value(value), fact.task.effective.resultrepr_maxsize);
            tell("task-succeeded", &|event| event.text("result", &result).float("runtime", took.as_secs_f64()));
        }
        RunChange::Failed { failure, .. } => {
            tell("task-failed", &|event| failed(event, &failure.exception().python_repr(), Some(failure)));
        }
        RunChange::Retried { cause, .. } => {
            let exception = cause.as_ref().map_or_else(|| "None".to_owned(), |cause| cause.exception().python_repr());
            tell("task-retried", &|event| failed(event, &exception, cause.as_ref()));
        }
        RunChange::Rejected { reason, requeue: false, .. } => {
            let text = format!("reject requeue=False: {reason}");
            let failure = Failure::from_exception(ExceptionInfo::reject(Some(reason), false));
            add("task-failed", clock, &|event| failed(event, &text, Some(&failure)));
            add("task-rejected", clock + 1, &|event| event.with("requeue", false));
        }
        RunChange::Rejected { requeue: true, .. } | RunChange::Unavailable { .. } => {
            tell("task-rejected", &|event| event.with("requeue", true));
        }
        RunChange::Revoked(how) => tell("task-revoked", &|event| revoked(event, *how)),
        // It does not run, and nothing else says so.
        RunChange::Aborted => tell("task-revoked", &|event| revoked(event, HowRevoked::default())),
        RunChange::Cancelled { .. } => tell("task-cancelled", &|event| event),
        RunChange::Panicked(text) => {
            let exception = ExceptionInfo::new("apium", "Panic", &**text);
            let failure = Failure::from_exception(exception.clone());
            tell("task-failed", &|event| failed(event, &exception.python_repr(), Some(&failure)));
        }
        // As in Celery nothing is told of these.
        RunChange::Ignored { .. } | RunChange::Replaced { .. } => {}
    }
}

fn failed(event: OutgoingEvent, exception: &str, failure: Option<&Failure>) -> OutgoingEvent {
    let traceback = failure.map(Failure::traceback_text).unwrap_or(Cow::Borrowed(""));
    event.text("exception", exception).text("traceback", &traceback)
}

fn received(event: OutgoingEvent, fact: &TaskFact) -> OutgoingEvent {
    let headers = &fact.request.headers;
    let args = match &headers.argsrepr {
        Some(args) => Cow::Borrowed(&**args),
        None => Cow::Owned(args_repr(fact.request.args())),
    };
    let kwargs = match &headers.kwargsrepr {
        Some(kwargs) => Cow::Borrowed(&**kwargs),
        None => Cow::Owned(kwargs_repr(fact.request.kwargs())),
    };
    event
        .text("name", headers.task.as_deref().unwrap_or(&fact.task.name))
        .text("args", &args)
        .text("kwargs", &kwargs)
        .text_or_null("root_id", headers.root_id.as_ref().map(TaskId::as_str))
        .text_or_null("parent_id", headers.parent_id.as_ref().map(TaskId::as_str))
        .int("retries", headers.retries.into())
        .text_or_null("eta", headers.eta.as_deref())
        .text_or_null("expires", headers.expires.as_deref())
}

fn revoked(event: OutgoingEvent, how: HowRevoked) -> OutgoingEvent {
    event.with("terminated", how.terminated).with("signum", how.signum).with("expired", how.expired)
}

/// Adds the event of a delivery that was not accepted: of an unknown task, and of one whose follow-ups cannot be made.
/// Of what cannot be read Celery tells nothing either.
pub(crate) fn of_refused(batch: &mut EventBatch<'_>, fact: &RefusedFact, clock: u64) {
    let (Some(id), Some(exception)) = (fact.label.id.as_ref(), fact.exception()) else { return };
    batch.add_of_task("task-failed", (fact.at, clock), |event| {
        event.text("uuid", id.as_str()).text("exception", &exception.python_repr())
    });
}

/// What a worker says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerFigures {
    pub(crate) active: usize,
    pub(crate) processed: u64,
    pub(crate) load: [f64; 3],
}

/// An event of the worker: `worker-online`, `worker-heartbeat` or `worker-offline`. `freq` is how many seconds later
/// the next heartbeat comes. Without figures it is the answer to somebody who asks for a heartbeat.
pub(crate) fn of_worker(
    sender: &EventSender,
    (kind, at, clock): (&'static str, Timestamp, u64),
    freq: f64,
    figures: Option<WorkerFigures>,
) -> OutgoingEvent {
    let event = sender.event(kind, at, clock);
    let event = match figures {
        Some(WorkerFigures { active, processed, load }) => {
            event.with("freq", freq).with("active", active).with("processed", processed).with("loadavg", load)
        }
        None => event.with("freq", freq as u64),
    };
    event.with("sw_ident", "apium").with("sw_ver", env!("CARGO_PKG_VERSION")).with("sw_sys", SYSTEM)
}

/// The answer to `worker-elect`.
pub(crate) fn elect_ack(sender: &EventSender, at: Timestamp, clock: u64, id: &Json) -> OutgoingEvent {
    sender.event("worker-elect-ack", at, clock).json("id", id)
}

/// The system, as Python's `platform.system()` names it.
const SYSTEM: &str = if cfg!(target_os = "linux") {
    "Linux"
} else if cfg!(target_os = "macos") {
    "Darwin"
} else if cfg!(target_os = "windows") {
    "Windows"
} else {
    std::env::consts::OS
};

/// The text, cut after `longest` characters.
fn shortened(mut text: String, longest: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(longest) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}
