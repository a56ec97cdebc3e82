//! The request: what a task can know about its own execution (Celery's `Task.request`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apium_protocol::body::Body;
use apium_protocol::headers::Headers;
use apium_protocol::id::TaskId;
use apium_protocol::json::Json;
use apium_protocol::properties::Properties;
use jiff::Timestamp;

use crate::failure::Failure;

/// What a task can know about its own execution. Fields follow Celery's names; the guide's differences are in the docs of each.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// The headers of the message: id, retries, group, root and parent id, time limits, origin, stamps, and the caller's own
    /// headers in `extra`.
    pub headers: Headers,
    /// The properties of the message: correlation id, reply_to, priority, …
    pub properties: Properties,
    /// Arguments and follow-ups, as they came (they are echoed by a retry).
    pub body: Body,
    /// Where the message came from.
    pub delivery_info: DeliveryInfo,
    /// The node name of the executing worker; the plain host when eager.
    pub hostname: Arc<str>,
    /// Whether it runs in the caller's process on purpose (`task_always_eager`, `apply`).
    pub is_eager: bool,
    /// Whether the function was called without a message; then there is no id.
    pub called_directly: bool,
    /// Whether UTC is used (`enable_utc`; the value of the message for protocol 1).
    pub utc: bool,
}

/// Where a message came from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeliveryInfo {
    /// The exchange; empty for the default one.
    pub exchange: Arc<str>,
    /// The routing key: the queue's name on the default exchange.
    pub routing_key: Arc<str>,
    /// The priority.
    pub priority: Option<u8>,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// The queue it was taken from (Apium's own; not on the wire).
    pub queue: Arc<str>,
}

/// What a task asks for when it wants to be run again. Everything that is `None` is taken from the request and the task.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RetryRequest {
    /// The error behind it, for the RETRY state and for the FAILURE when no retry is left.
    pub cause: Option<Failure>,
    /// Seconds from now; zero means at once.
    pub countdown: Option<Duration>,
    /// An instant, instead of `countdown`.
    pub eta: Option<Timestamp>,
    /// Another limit for this task: `Some(None)` is without limit.
    pub max_retries: Option<Option<u32>>,
    /// Other positional arguments.
    pub args: Option<Vec<Json>>,
    /// Other keyword arguments.
    pub kwargs: Option<Vec<(String, Json)>>,
    /// Another queue.
    pub queue: Option<String>,
    /// Another priority.
    pub priority: Option<u8>,
    /// Another expiry.
    pub expires: Option<Timestamp>,
    /// Other time limits in seconds.
    pub time_limit: Option<f64>,
    /// Another soft limit in seconds.
    pub soft_time_limit: Option<f64>,
    /// Further headers.
    pub headers: BTreeMap<String, Json>,
    /// Whether it comes from `autoretry_for` rather than from the task's own code.
    pub automatic: bool,
}

impl Request {
    /// The task's id; `None` when called directly.
    pub fn id(&self) -> Option<&TaskId> {
        self.headers.id.as_ref()
    }

    /// Retries so far, 0 for the first run.
    pub fn retries(&self) -> u32 {
        self.headers.retries
    }
}
