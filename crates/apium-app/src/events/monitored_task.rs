//! A task as its events show it (Celery: `celery.events.state.Task`).

use std::sync::Arc;

use apium_protocol::message::event::Event;
use apium_protocol::result::state::State;

use crate::events::monitored_worker::text_of;

/// A task. Times are seconds since 1970 by the clocks of the senders. What no event has said is `None`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MonitoredTask {
    /// Its id.
    pub uuid: Arc<str>,
    /// Its name; only `task-sent` and `task-received` tell it.
    pub name: Option<Arc<str>>,
    /// Its state. Events may come out of order: a state that comes before another replaces it only where a task is
    /// retried.
    pub state: State,
    /// When its call was published.
    pub sent: Option<f64>,
    /// When a worker received it.
    pub received: Option<f64>,
    /// When its run began.
    pub started: Option<f64>,
    /// When it succeeded.
    pub succeeded: Option<f64>,
    /// When it failed.
    pub failed: Option<f64>,
    /// When it was to be retried.
    pub retried: Option<f64>,
    /// When it was revoked.
    pub revoked: Option<f64>,
    /// When it was rejected.
    pub rejected: Option<f64>,
    /// When its last event happened.
    pub timestamp: Option<f64>,
    /// Its positional arguments as Python writes them.
    pub args: Option<String>,
    /// Its keyword arguments as Python writes them.
    pub kwargs: Option<String>,
    /// Not before this.
    pub eta: Option<String>,
    /// Not after this.
    pub expires: Option<String>,
    /// How often it was retried.
    pub retries: Option<u64>,
    /// The node that has it.
    pub worker: Option<Arc<str>>,
    /// Who called it.
    pub client: Option<Arc<str>>,
    /// Its result as Python writes it.
    pub result: Option<String>,
    /// Its exception as Python writes it.
    pub exception: Option<String>,
    /// The traceback of its exception.
    pub traceback: Option<String>,
    /// How many seconds its run took.
    pub runtime: Option<f64>,
    /// The exchange of its message.
    pub exchange: Option<String>,
    /// The routing key of its message.
    pub routing_key: Option<String>,
    /// The id of the first task of its workflow.
    pub root_id: Option<Arc<str>>,
    /// The id of the task that sent it.
    pub parent_id: Option<Arc<str>>,
    /// The logical clock of its last event.
    pub clock: u64,
}

impl MonitoredTask {
    pub(crate) fn new(uuid: Arc<str>) -> Self {
        Self {
            uuid,
            name: None,
            state: State::Pending,
            sent: None,
            received: None,
            started: None,
            succeeded: None,
            failed: None,
            retried: None,
            revoked: None,
            rejected: None,
            timestamp: None,
            args: None,
            kwargs: None,
            eta: None,
            expires: None,
            retries: None,
            worker: None,
            client: None,
            result: None,
            exception: None,
            traceback: None,
            runtime: None,
            exchange: None,
            routing_key: None,
            root_id: None,
            parent_id: None,
            clock: 0,
        }
    }

    /// Whether it is ready: SUCCESS, FAILURE or REVOKED.
    pub fn is_ready(&self) -> bool {
        self.state.is_ready()
    }

    /// Takes one of its events; `subject` is the type without `task-`.
    pub(crate) fn event(&mut self, subject: &str, event: &Event) {
        let state = self.stamp(subject, event.timestamp);
        // An event that comes late: it says more about the past, and nothing about the present.
        let is_past =
            state != State::Retry && self.state != State::Retry && state.precedence() < self.state.precedence();
        self.take_call(event, is_past && state != State::Received);
        if is_past && state == State::Received {
            return;
        }
        self.take_end(event);
        self.clock = event.clock;
        self.timestamp = Some(event.timestamp);
        if !is_past {
            self.state = state;
        }
    }

    /// Notes when it happened, and says which state it means.
    fn stamp(&mut self, subject: &str, timestamp: f64) -> State {
        let (time, state) = match subject {
            "sent" => (&mut self.sent, State::Pending),
            "received" => (&mut self.received, State::Received),
            "started" => (&mut self.started, State::Started),
            "succeeded" => (&mut self.succeeded, State::Success),
            "failed" => (&mut self.failed, State::Failure),
            "retried" => (&mut self.retried, State::Retry),
            "revoked" => (&mut self.revoked, State::Revoked),
            "rejected" => (&mut self.rejected, State::Rejected),
            other => return State::from(other.to_uppercase().as_str()),
        };
        *time = Some(timestamp);
        state
    }

    /// What `task-sent` and `task-received` say of the call. The exchange and the routing key are in the first alone.
    fn take_call(&mut self, event: &Event, only_missing: bool) {
        let text = |field: &mut Option<String>, name: &str| {
            if let Some(text) = text_of(event, name).filter(|_| !only_missing || field.is_none()) {
                *field = Some(text);
            }
        };
        text(&mut self.args, "args");
        text(&mut self.kwargs, "kwargs");
        text(&mut self.eta, "eta");
        text(&mut self.expires, "expires");
        text(&mut self.exchange, "exchange");
        text(&mut self.routing_key, "routing_key");
        let shared = |field: &mut Option<Arc<str>>, name: &str| {
            if let Some(text) = text_of(event, name).filter(|_| !only_missing || field.is_none()) {
                *field = Some(text.into());
            }
        };
        shared(&mut self.name, "name");
        shared(&mut self.root_id, "root_id");
        shared(&mut self.parent_id, "parent_id");
        if let Some(retries) = event.field("retries").and_then(|retries| retries.decode().ok()) {
            self.retries = Some(retries);
        }
    }

    /// What the events of an end say.
    fn take_end(&mut self, event: &Event) {
        for (field, name) in
            [(&mut self.result, "result"), (&mut self.exception, "exception"), (&mut self.traceback, "traceback")]
        {
            if let Some(text) = text_of(event, name) {
                *field = Some(text);
            }
        }
        if let Some(runtime) = event.field("runtime").and_then(|runtime| runtime.decode().ok()) {
            self.runtime = Some(runtime);
        }
    }
}
