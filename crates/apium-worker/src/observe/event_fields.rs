//! The fields of events, in Celery's order.

use std::borrow::Cow;

use apium_app::failure::Failure;
use apium_app::observe::event_sender::EventSender;
use apium_protocol::json::text::Json;
use apium_protocol::message::event::Event;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::value::repr::{args_repr, kwargs_repr, repr_value};
use jiff::Timestamp;
use serde::Serialize;

use crate::observe::fact::{HowRevoked, RefusedFact, RunChange, TaskFact};

/// An event under construction.
struct Fields(Event);

impl Fields {
    fn new(sender: &EventSender, kind: &'static str, at: Timestamp, clock: u64) -> Self {
        Self(sender.event(kind, at, clock))
    }

    fn with(mut self, name: &'static str, value: impl Serialize) -> Self {
        // Texts and numbers always have a JSON text.
        self.0.fields.push((name.into(), Json::from_serialize(&value).unwrap_or(Json::NULL)));
        self
    }
}

/// How many events a fact is made into, at most.
pub(crate) fn most_events(fact: &TaskFact) -> u64 {
    if matches!(fact.change, RunChange::Rejected { requeue: false, .. }) { 2 } else { 1 }
}

/// The events of a fact, each at a time of the logical clock, of which `clocks` gives as many as are needed. Celery
/// tells two of a task that rejects its message for good.
pub(crate) fn of_task(sender: &EventSender, fact: &TaskFact, mut clocks: impl FnMut() -> u64) -> Vec<Event> {
    let request = &*fact.request;
    let Some(id) = request.id() else { return Vec::new() };
    let mut event = |kind: &'static str| Fields::new(sender, kind, fact.at, clocks()).with("uuid", id.as_str());
    let failed = |event: Fields, exception: &str, failure: Option<&Failure>| {
        let event = event.with("exception", exception);
        let traceback = failure.map(Failure::traceback_text).unwrap_or(Cow::Borrowed(""));
        event.with("traceback", &*traceback).0
    };
    let one = match &fact.change {
        RunChange::Received => received(event("task-received"), fact),
        RunChange::Started => event("task-started").0,
        RunChange::Succeeded { value, took } => {
            let result = shortened(repr_value(value), fact.task.effective.resultrepr_maxsize);
            event("task-succeeded").with("result", result).with("runtime", took.as_secs_f64()).0
        }
        RunChange::Failed { failure, .. } => {
            failed(event("task-failed"), &failure.exception().python_repr(), Some(failure))
        }
        RunChange::Retried { cause, .. } => {
            let exception = cause.as_ref().map_or_else(|| "None".to_owned(), |cause| cause.exception().python_repr());
            failed(event("task-retried"), &exception, cause.as_ref())
        }
        RunChange::Rejected { reason, requeue: false, .. } => {
            let text = format!("reject requeue=False: {reason}");
            let failure = Failure::from_exception(ExceptionInfo::reject(Some(reason), false));
            let failed = failed(event("task-failed"), &text, Some(&failure));
            return vec![failed, event("task-rejected").with("requeue", false).0];
        }
        RunChange::Rejected { requeue: true, .. } | RunChange::Unavailable { .. } => {
            event("task-rejected").with("requeue", true).0
        }
        RunChange::Revoked(how) => revoked(event("task-revoked"), *how),
        // It does not run, and nothing else says so.
        RunChange::Aborted => revoked(event("task-revoked"), HowRevoked::default()),
        RunChange::Cancelled { .. } => event("task-cancelled").0,
        RunChange::Panicked(text) => {
            let exception = ExceptionInfo::new("apium", "Panic", &**text);
            failed(event("task-failed"), &exception.python_repr(), Some(&Failure::from_exception(exception.clone())))
        }
        // As in Celery nothing is told of these.
        RunChange::Ignored { .. } | RunChange::Replaced { .. } => return Vec::new(),
    };
    vec![one]
}

fn received(event: Fields, fact: &TaskFact) -> Event {
    let headers = &fact.request.headers;
    let args = headers.argsrepr.clone().unwrap_or_else(|| args_repr(fact.request.args()));
    let kwargs = headers.kwargsrepr.clone().unwrap_or_else(|| kwargs_repr(fact.request.kwargs()));
    let id = |id: &Option<apium_protocol::message::task_id::TaskId>| id.as_ref().map(|id| id.as_str().to_owned());
    event
        .with("name", headers.task.as_deref().unwrap_or(&fact.task.name))
        .with("args", args)
        .with("kwargs", kwargs)
        .with("root_id", id(&headers.root_id))
        .with("parent_id", id(&headers.parent_id))
        .with("retries", headers.retries)
        .with("eta", &headers.eta)
        .with("expires", &headers.expires)
        .0
}

fn revoked(event: Fields, how: HowRevoked) -> Event {
    event.with("terminated", how.terminated).with("signum", how.signum).with("expired", how.expired).0
}

/// The event of a delivery that was not accepted: of an unknown task, and of one whose follow-ups cannot be made. Of
/// what cannot be read Celery tells nothing either.
pub(crate) fn of_refused(sender: &EventSender, fact: &RefusedFact, clock: impl FnOnce() -> u64) -> Option<Event> {
    let (id, exception) = (fact.label.id.as_ref()?, fact.exception()?);
    let event = Fields::new(sender, "task-failed", fact.at, clock());
    Some(event.with("uuid", id.as_str()).with("exception", exception.python_repr()).0)
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
) -> Event {
    let event = Fields::new(sender, kind, at, clock);
    let event = match figures {
        Some(WorkerFigures { active, processed, load }) => {
            event.with("freq", freq).with("active", active).with("processed", processed).with("loadavg", load)
        }
        None => event.with("freq", freq as u64),
    };
    let event = event.with("sw_ident", "apium").with("sw_ver", env!("CARGO_PKG_VERSION")).with("sw_sys", SYSTEM);
    event.0
}

/// The answer to `worker-elect`.
pub(crate) fn elect_ack(sender: &EventSender, at: Timestamp, clock: u64, id: &Json) -> Event {
    let mut event = sender.event("worker-elect-ack", at, clock);
    event.fields.push(("id".into(), id.clone()));
    event
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
