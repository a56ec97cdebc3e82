//! The headers of a message of Celery's protocol 2.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{ErrorKind, Result};
use crate::json::lenient;
use crate::json::map_writer::{MapWriter, key, write_entries, write_list, write_seconds, write_text};
use crate::json::reader::{JsonReader, utf8};
use crate::json::text::{Json, serde_by_json};
use crate::json::write::write_str;
use crate::message::task_id::TaskId;

/// The usual values of `lang`, which are read without an allocation.
const LANGUAGES: [&str; 2] = ["py", "rust"];

/// The usual values of `compression`.
const COMPRESSIONS: [&str; 5] =
    ["application/x-gzip", "application/x-bz2", "application/x-lzma", "application/x-brotli", "application/zstd"];

/// The headers of a message of Celery's protocol 2. A header that is null counts as missing. Messages of protocol 1
/// have no headers; [`Codecs::decode`](crate::codecs::codecs::Codecs::decode) fills them from the body.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Headers {
    /// The language of the producer, for information: Celery writes `py`, Apium `rust`.
    pub lang: Option<Cow<'static, str>>,
    /// The name of the task. A message that has it is of protocol 2.
    pub task: Option<Arc<str>>,
    /// The task id.
    pub id: Option<TaskId>,
    /// A name for logs and events instead of the task's.
    pub shadow: Option<String>,
    /// The task does not run before this time. The text as it was written; [`timestamp`](crate::timestamp) reads it.
    pub eta: Option<String>,
    /// The task does not start after this time. The text as it was written.
    pub expires: Option<String>,
    /// The id of the group that the task is a member of.
    pub group: Option<String>,
    /// The task's index in the group, from 0.
    pub group_index: Option<i64>,
    /// How many retries there were so far.
    pub retries: u32,
    /// The time limits.
    pub timelimit: TimeLimit,
    /// The id of the first task of the workflow.
    pub root_id: Option<TaskId>,
    /// The id of the task that sent this one.
    pub parent_id: Option<TaskId>,
    /// The positional arguments as Python shows them, for logs and events.
    pub argsrepr: Option<String>,
    /// The keyword arguments as Python shows them, for logs and events.
    pub kwargsrepr: Option<String>,
    /// The process that published the message, as `gen<pid>@<host>`.
    pub origin: Option<Arc<str>>,
    /// Whether the result is to be ignored; `None` leaves it to the task.
    pub ignore_result: Option<bool>,
    /// How many times a task was replaced (`replace`) on the way to this message.
    pub replaced_task_nesting: u32,
    /// The names of the stamps.
    pub stamped_headers: Option<Vec<String>>,
    /// The values of the stamps by name.
    pub stamps: BTreeMap<String, Json>,
    /// The MIME type of the compression of the body.
    pub compression: Option<Cow<'static, str>>,
    /// All other headers, such as a caller's own, passed on as they are.
    pub extra: BTreeMap<String, Json>,
}

/// The time limits of a run in seconds; `[hard, soft]` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TimeLimit {
    /// The hard limit.
    pub hard: Option<f64>,
    /// The soft limit.
    pub soft: Option<f64>,
}

impl Headers {
    /// The headers as a JSON map.
    ///
    /// With a task: every header that Celery always writes, in Celery's order, as null if it is not set; also `lang`
    /// and `compression` if they are set, and `extra`, which replaces headers of the same names. Without a task
    /// (protocol 1): only the headers that are set.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(640);
        self.write(&mut out);
        out
    }

    /// Appends what `to_json` returns.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut map = MapWriter::new(out, &self.extra);
        map.text_if(key!("lang"), self.lang.as_deref());
        match &self.task {
            Some(task) => self.write_all(&mut map, task),
            None => self.write_set(&mut map),
        }
        map.extra();
        map.text_if(key!("compression"), self.compression.as_deref());
        map.end();
    }

    fn write_all(&self, map: &mut MapWriter<'_>, task: &str) {
        map.text(key!("task"), Some(task));
        map.text(key!("id"), self.id.as_ref().map(TaskId::as_str));
        map.text(key!("shadow"), self.shadow.as_deref());
        map.text(key!("eta"), self.eta.as_deref());
        map.text(key!("expires"), self.expires.as_deref());
        map.text(key!("group"), self.group.as_deref());
        map.int(key!("group_index"), self.group_index);
        map.int(key!("retries"), Some(self.retries.into()));
        map.with(key!("timelimit"), |out| self.timelimit.write(out));
        map.text(key!("root_id"), self.root_id.as_ref().map(TaskId::as_str));
        map.text(key!("parent_id"), self.parent_id.as_ref().map(TaskId::as_str));
        map.text(key!("argsrepr"), self.argsrepr.as_deref());
        map.text(key!("kwargsrepr"), self.kwargsrepr.as_deref());
        map.text(key!("origin"), self.origin.as_deref());
        map.bool(key!("ignore_result"), self.ignore_result);
        map.int(key!("replaced_task_nesting"), Some(self.replaced_task_nesting.into()));
        map.with(key!("stamped_headers"), |out| match &self.stamped_headers {
            Some(names) => write_list(out, names, |out, name| write_str(out, name)),
            None => write_text(out, None),
        });
        map.with(key!("stamps"), |out| write_entries(out, &self.stamps));
    }

    fn write_set(&self, map: &mut MapWriter<'_>) {
        let unset = Self::default();
        map.text_if(key!("id"), self.id.as_ref().map(TaskId::as_str));
        map.text_if(key!("shadow"), self.shadow.as_deref());
        map.text_if(key!("eta"), self.eta.as_deref());
        map.text_if(key!("expires"), self.expires.as_deref());
        map.text_if(key!("group"), self.group.as_deref());
        if self.group_index.is_some() {
            map.int(key!("group_index"), self.group_index);
        }
        if self.retries != 0 {
            map.int(key!("retries"), Some(self.retries.into()));
        }
        if self.timelimit != unset.timelimit {
            map.with(key!("timelimit"), |out| self.timelimit.write(out));
        }
        map.text_if(key!("root_id"), self.root_id.as_ref().map(TaskId::as_str));
        map.text_if(key!("parent_id"), self.parent_id.as_ref().map(TaskId::as_str));
        map.text_if(key!("argsrepr"), self.argsrepr.as_deref());
        map.text_if(key!("kwargsrepr"), self.kwargsrepr.as_deref());
        map.text_if(key!("origin"), self.origin.as_deref());
        if self.ignore_result.is_some() {
            map.bool(key!("ignore_result"), self.ignore_result);
        }
        if self.replaced_task_nesting != 0 {
            map.int(key!("replaced_task_nesting"), Some(self.replaced_task_nesting.into()));
        }
        if let Some(names) = &self.stamped_headers {
            map.with(key!("stamped_headers"), |out| write_list(out, names, |out, name| write_str(out, name)));
        }
        if !self.stamps.is_empty() {
            map.with(key!("stamps"), |out| write_entries(out, &self.stamps));
        }
    }

    /// Reads a JSON map of headers. Null counts as missing, an integer may come as a float, a text as any value.
    /// Unknown headers go to `extra`.
    ///
    /// # Errors
    /// If the bytes are not a JSON map, or if a header has the wrong type (it should be a number, a list or a map).
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let mut headers = Self::default();
        let mut reader = JsonReader::new(utf8(bytes)?);
        reader.object(|key, reader| headers.read_field(&key, reader))?;
        reader.end()?;
        Ok(headers)
    }

    /// Reads one header's value.
    pub(crate) fn read_field(&mut self, key: &str, reader: &mut JsonReader<'_>) -> Result<()> {
        self.try_read_field(key, reader).map_err(|e| e.within(ErrorKind::NotATask, &format!("the header `{key}`")))
    }

    fn try_read_field(&mut self, key: &str, reader: &mut JsonReader<'_>) -> Result<()> {
        match key {
            "lang" => self.lang = lenient::shared(reader, &LANGUAGES)?,
            "task" => self.task = lenient::owned(reader)?,
            "id" => self.id = lenient::owned(reader)?,
            "shadow" => self.shadow = lenient::owned(reader)?,
            "eta" => self.eta = lenient::owned(reader)?,
            "expires" => self.expires = lenient::owned(reader)?,
            "group" => self.group = lenient::owned(reader)?,
            "group_index" => self.group_index = lenient::int(reader)?,
            "retries" => self.retries = lenient::count(reader)?,
            "timelimit" => self.timelimit = TimeLimit::read(reader)?,
            // Usually it is the id of the task itself; then both share one text.
            "root_id" => {
                self.root_id = lenient::text(reader)?.map(|root| match &self.id {
                    Some(id) if id.as_str() == root => id.clone(),
                    _ => TaskId::from(&*root),
                });
            }
            "parent_id" => self.parent_id = lenient::owned(reader)?,
            "argsrepr" => self.argsrepr = lenient::owned(reader)?,
            "kwargsrepr" => self.kwargsrepr = lenient::owned(reader)?,
            "origin" => self.origin = lenient::owned(reader)?,
            "ignore_result" => self.ignore_result = lenient::bool(reader)?,
            "replaced_task_nesting" => self.replaced_task_nesting = lenient::count(reader)?,
            "stamped_headers" => {
                self.stamped_headers = lenient::list(reader, |reader| Ok(lenient::owned(reader)?.unwrap_or_default()))?;
            }
            "stamps" => self.stamps = lenient::map(reader)?,
            "compression" => self.compression = lenient::shared(reader, &COMPRESSIONS)?,
            _ => {
                self.extra.insert(key.to_owned(), reader.json()?);
            }
        }
        Ok(())
    }
}

impl TimeLimit {
    /// `[hard, soft]`.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        write_list(out, &[self.hard, self.soft], |out, seconds| write_seconds(out, *seconds));
    }

    /// Reads `[hard, soft]`. Null and missing limits are not set.
    pub(crate) fn read(reader: &mut JsonReader<'_>) -> Result<Self> {
        let mut limits = lenient::list(reader, lenient::float)?.unwrap_or_default().into_iter();
        Ok(Self { hard: limits.next().flatten(), soft: limits.next().flatten() })
    }
}

serde_by_json! { Headers }
