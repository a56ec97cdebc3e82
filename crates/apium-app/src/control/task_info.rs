//! What a worker says of a task that it runs, holds or has scheduled (Celery: `TASK_INFO`).

use std::collections::BTreeMap;
use std::fmt;

use apium_protocol::error::{Error, ErrorKind, Result};
use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::timestamp;
use jiff::Timestamp;

use crate::control::fields::Fields;

/// A task that a worker has.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its id.
    pub id: TaskId,
    /// What it is called in logs: its name, or the name that its call gave it (`shadow`).
    pub name: String,
    /// The name under which it is registered (Celery: `type`).
    pub task: String,
    /// Its positional arguments: a list, or their text where the inspection asked for texts (`safe`).
    pub args: Json,
    /// Its keyword arguments: a map, or their text.
    pub kwargs: Json,
    /// The node that has it.
    pub hostname: String,
    /// When its run began; `None` while it waits. `None` too for a worker that measures from its own start.
    pub time_start: Option<Timestamp>,
    /// Whether its message is acknowledged.
    pub acknowledged: bool,
    /// The routing key of its message: the name of the queue, unless it came through an exchange of its own.
    pub routing_key: String,
    /// The exchange of its message; empty for the default exchange.
    pub exchange: String,
    /// The priority of its message.
    pub priority: Option<i64>,
    /// Whether its message was delivered before.
    pub redelivered: bool,
    /// The process or thread that runs it, where the worker's pool has such.
    pub worker_pid: Option<u64>,
    /// All other fields.
    pub others: BTreeMap<String, Json>,
}

impl TaskInfo {
    /// Reads one.
    pub(crate) fn read(answer: &Json) -> Result<Self> {
        let mut fields = Fields::of("a task of a worker", answer)?;
        let mut delivery = match fields.take::<Json>("delivery_info")? {
            Some(map) => Some(Fields::of("`delivery_info`", &map)?),
            None => None,
        };
        let delivery_text = |name: &str, from: &mut Option<Fields>| match from {
            Some(fields) => fields.take_or_default::<String>(name),
            None => Ok(String::new()),
        };
        let id: String = fields.take_or_default("id")?;
        if id.is_empty() {
            return Err(Error::new(ErrorKind::Decode, "read a task of a worker: it has no `id`"));
        }
        let task: String = fields.take_or_default("type")?;
        let name = fields.take("name")?.unwrap_or_else(|| task.clone());
        Ok(Self {
            id: id.as_str().into(),
            task: if task.is_empty() { name.clone() } else { task },
            name,
            args: fields.take_or_default("args")?,
            kwargs: fields.take_or_default("kwargs")?,
            hostname: fields.take_or_default("hostname")?,
            time_start: fields.take::<f64>("time_start")?.and_then(instant),
            acknowledged: fields.take_or_default("acknowledged")?,
            routing_key: delivery_text("routing_key", &mut delivery)?,
            exchange: delivery_text("exchange", &mut delivery)?,
            priority: delivery.as_mut().map_or(Ok(None), |fields| fields.take("priority"))?,
            redelivered: delivery.as_mut().map_or(Ok(None), |fields| fields.take("redelivered"))?.unwrap_or(false),
            worker_pid: fields.take_count("worker_pid")?,
            others: fields.others(),
        })
    }

    /// Reads a list of them.
    pub(crate) fn read_list(answer: &Json) -> Result<Vec<Self>> {
        answer.decode::<Vec<Json>>()?.iter().map(Self::read).collect()
    }
}

/// An instant of seconds since 1970. Small numbers are of a clock that began with the process, and no instant.
fn instant(seconds: f64) -> Option<Timestamp> {
    let is_epoch = seconds > 1e9;
    is_epoch.then(|| Timestamp::from_microsecond((seconds * 1e6) as i64).ok()).flatten()
}

/// A task that waits for its eta in a worker (Celery: `TASK_SCHEDULED_INFO`).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ScheduledTask {
    /// Not before this; `None` where the worker does not say.
    pub eta: Option<Timestamp>,
    /// The priority of the timer that waits.
    pub priority: Option<i64>,
    /// The task.
    pub task: TaskInfo,
}

impl ScheduledTask {
    fn read(answer: &Json) -> Result<Self> {
        let mut fields = Fields::of("a scheduled task", answer)?;
        let eta: Option<String> = fields.take("eta")?;
        let request: Json = fields.take_or_default("request")?;
        Ok(Self {
            eta: eta.map(|text| timestamp::parse(&text)).transpose()?,
            priority: fields.take("priority")?,
            task: TaskInfo::read(&request)?,
        })
    }

    /// Reads a list of them.
    pub(crate) fn read_list(answer: &Json) -> Result<Vec<Self>> {
        answer.decode::<Vec<Json>>()?.iter().map(Self::read).collect()
    }
}

/// Where a task is in a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskPhase {
    /// It runs.
    Active,
    /// The worker has it, and waits for a free slot.
    Reserved,
    /// It waits for its eta.
    Scheduled,
    /// The worker has run it.
    Ready,
    /// Another word of the worker.
    Other(String),
}

impl From<String> for TaskPhase {
    fn from(word: String) -> Self {
        match word.as_str() {
            "active" => Self::Active,
            "reserved" => Self::Reserved,
            "scheduled" => Self::Scheduled,
            "ready" => Self::Ready,
            _ => Self::Other(word),
        }
    }
}

impl fmt::Display for TaskPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Reserved => "reserved",
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Other(word) => word,
        })
    }
}

/// Reads the answer to `query_task`: the tasks that the worker knows, by id.
pub(crate) fn read_queried(answer: &Json) -> Result<BTreeMap<TaskId, (TaskPhase, TaskInfo)>> {
    let found: BTreeMap<String, (String, Json)> = answer.decode()?;
    found
        .into_iter()
        .map(|(id, (word, info))| Ok((id.as_str().into(), (word.into(), TaskInfo::read(&info)?))))
        .collect()
}
