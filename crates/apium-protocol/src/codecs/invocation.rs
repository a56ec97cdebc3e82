//! A task message after decoding, of Celery's protocol 2 or 1.

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::json::lenient;
use crate::json::reader::JsonReader;
use crate::message::body::Body;
use crate::message::headers::{Headers, TimeLimit};
use crate::message::task_id::TaskId;
use crate::value::repr::{args_repr, kwargs_repr};

/// A task message after decoding. `headers.task` and `headers.id` are always set.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Invocation {
    /// The headers; those of protocol 1 come from the body.
    pub headers: Headers,
    /// The arguments and links.
    pub body: Body,
    /// The field `utc` of protocol 1, true if it is missing; `None` for protocol 2. A run gets it as `request.utc`.
    pub utc: Option<bool>,
    /// The protocol of the body: 2 or 1, whichever the headers have.
    pub protocol: u8,
}

impl Invocation {
    /// An invocation of protocol 2. The caller sets `headers.task` and `headers.id`.
    pub fn new(headers: Headers, body: Body) -> Self {
        Self { headers, body, utc: None, protocol: 2 }
    }

    /// The task's name.
    pub fn task(&self) -> &str {
        self.headers.task.as_deref().unwrap_or_default()
    }

    /// The task's id.
    pub fn id(&self) -> &str {
        self.headers.id.as_ref().map_or("", TaskId::as_str)
    }

    /// Reads a body as Celery's workers do. A body that is a list is of protocol 2, and its message has a header
    /// `task`. A body that is a map is of protocol 1. It has `task`, or where there is a header `task` it has `args`.
    pub(crate) fn read(headers: &Headers, body: &Bytes) -> Result<Self> {
        let is_map = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        let invocation = match (&headers.task, is_map) {
            (Some(_), false) => Self { headers: headers.clone(), body: Body::from_json(body)?, utc: None, protocol: 2 },
            (_, true) => Self::read_map(headers, body)?,
            (None, false) => {
                crate::json::text::Json::from_bytes(body.clone())?;
                return not_a_task("find a task in the message: no header `task`, and its body is not a map");
            }
        };
        if invocation.headers.id.is_none() {
            return not_a_task(format!("find the id of the task `{}`", invocation.task()));
        }
        Ok(invocation)
    }

    /// Reads a body of protocol 1.
    fn read_map(headers: &Headers, bytes: &Bytes) -> Result<Self> {
        let mut map = Protocol1::default();
        let mut reader = JsonReader::of(bytes)?;
        let read = reader.object(|key, reader| map.read_field(&key, reader)).and_then(|()| reader.end());
        read.or_else(|e| {
            // Bytes that are not JSON fail with `Decode`, and JSON that is not a task with `NotATask`.
            crate::json::text::Json::from_bytes(bytes.clone())?;
            Err(e.within(ErrorKind::NotATask, "the body of protocol 1"))
        })?;
        let Protocol1 { headers: mut from_body, body, taskset, utc, has_args } = map;
        from_body.group = taskset.or(from_body.group);
        let headers = if headers.task.is_some() {
            if !has_args {
                return not_a_task("find `args` in the body, which is a map");
            }
            merged(headers.clone(), from_body)
        } else {
            if from_body.task.is_none() {
                return not_a_task("find a task in the message: no header `task`, and none in its body");
            }
            merged(from_body, headers.clone())
        };
        let headers = Headers {
            argsrepr: headers.argsrepr.or_else(|| Some(args_repr(&body.args))),
            kwargsrepr: headers.kwargsrepr.or_else(|| Some(kwargs_repr(&body.kwargs))),
            ..headers
        };
        Ok(Self { headers, body, utc: Some(utc.unwrap_or(true)), protocol: 1 })
    }
}

fn not_a_task<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::NotATask, what))
}

/// The body of protocol 1, a map.
#[derive(Default)]
struct Protocol1 {
    headers: Headers,
    body: Body,
    /// The group's id, under the name that older versions of Celery give it.
    taskset: Option<String>,
    utc: Option<bool>,
    has_args: bool,
}

impl Protocol1 {
    fn read_field(&mut self, key: &str, reader: &mut JsonReader<'_>) -> Result<()> {
        let in_field = |e: Error| e.within(ErrorKind::NotATask, &format!("`{key}`"));
        match key {
            "args" => {
                self.has_args = true;
                self.body.args = lenient::jsons(reader).map_err(in_field)?;
            }
            "kwargs" => self.body.kwargs = lenient::entries(reader).map_err(in_field)?,
            "utc" => self.utc = lenient::bool(reader).map_err(in_field)?,
            "taskset" => self.taskset = lenient::owned(reader).map_err(in_field)?,
            "lang" | "task" | "id" | "shadow" | "eta" | "expires" | "group" | "group_index" | "retries"
            | "timelimit" | "root_id" | "parent_id" | "argsrepr" | "kwargsrepr" | "origin" | "ignore_result"
            | "stamped_headers" | "stamps" => {
                self.headers.read_field(key, reader)?;
            }
            _ => self.body.embed.read_field(key, reader).map_err(in_field)?,
        }
        Ok(())
    }
}

/// Takes each header from `first` where it is set, else from `second`.
fn merged(first: Headers, second: Headers) -> Headers {
    let mut extra = second.extra;
    extra.extend(first.extra);
    let is_set = |limits: TimeLimit| limits != TimeLimit::default();
    Headers {
        lang: first.lang.or(second.lang),
        task: first.task.or(second.task),
        id: first.id.or(second.id),
        shadow: first.shadow.or(second.shadow),
        eta: first.eta.or(second.eta),
        expires: first.expires.or(second.expires),
        group: first.group.or(second.group),
        group_index: first.group_index.or(second.group_index),
        retries: if first.retries > 0 { first.retries } else { second.retries },
        timelimit: if is_set(first.timelimit) { first.timelimit } else { second.timelimit },
        root_id: first.root_id.or(second.root_id),
        parent_id: first.parent_id.or(second.parent_id),
        argsrepr: first.argsrepr.or(second.argsrepr),
        kwargsrepr: first.kwargsrepr.or(second.kwargsrepr),
        origin: first.origin.or(second.origin),
        ignore_result: first.ignore_result.or(second.ignore_result),
        replaced_task_nesting: first.replaced_task_nesting.max(second.replaced_task_nesting),
        stamped_headers: first.stamped_headers.or(second.stamped_headers),
        stamps: if first.stamps.is_empty() { second.stamps } else { first.stamps },
        compression: first.compression.or(second.compression),
        extra,
    }
}
