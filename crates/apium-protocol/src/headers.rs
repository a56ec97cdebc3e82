//! Headers of a protocol 2 message.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::TaskId;
use crate::json::Json;

/// Headers of a protocol 2 message. A missing header and one that is null read the same. Empty for protocol 1.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Headers {
    /// The producer's language: Celery writes `py`, Apium `rust`; informational.
    pub lang: Option<Cow<'static, str>>,
    /// The registered task name; its presence marks protocol 2.
    pub task: Option<Arc<str>>,
    /// The task id.
    pub id: Option<TaskId>,
    /// Another name for logs and events.
    pub shadow: Option<String>,
    /// Earliest run time as written (see `timestamp`).
    pub eta: Option<String>,
    /// Latest start time as written.
    pub expires: Option<String>,
    /// Group id.
    pub group: Option<String>,
    /// Position in the group.
    pub group_index: Option<i64>,
    /// Retries so far.
    pub retries: u32,
    /// Time limits; hard first on the wire.
    pub timelimit: TimeLimit,
    /// First task of the workflow.
    pub root_id: Option<TaskId>,
    /// The task that sent this one.
    pub parent_id: Option<TaskId>,
    /// Python-like repr of the positional arguments, for logs and events only.
    pub argsrepr: Option<String>,
    /// Python-like repr of the keyword arguments.
    pub kwargsrepr: Option<String>,
    /// `gen<pid>@<host>` of the publisher.
    pub origin: Option<Arc<str>>,
    /// Whether the result is to be ignored; `None` leaves it to the task.
    pub ignore_result: Option<bool>,
    /// How many times `replace()` made this message.
    pub replaced_task_nesting: u32,
    /// Names of the stamps.
    pub stamped_headers: Option<Vec<String>>,
    /// Stamp values.
    pub stamps: BTreeMap<String, Json>,
    /// MIME type of the compression of the body.
    pub compression: Option<Cow<'static, str>>,
    /// Every other header, kept and echoed: a caller's own.
    pub extra: BTreeMap<String, Json>,
}

/// Time limits in seconds. On the wire `[hard, soft]`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TimeLimit {
    /// The hard limit.
    pub hard: Option<f64>,
    /// The soft limit.
    pub soft: Option<f64>,
}
