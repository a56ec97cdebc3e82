//! Signatures on the wire: the name of a task with arguments and options.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{ErrorKind, Result};
use crate::json::lenient;
use crate::json::map_writer::{MapWriter, key, write_entries, write_jsons};
use crate::json::reader::{JsonReader, utf8};
use crate::json::text::{Json, serde_by_json};

/// A signature as Celery writes it into messages.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Signature {
    /// The task's name.
    pub task: Arc<str>,
    /// Positional arguments.
    pub args: Vec<Json>,
    /// Keyword arguments.
    pub kwargs: Vec<(String, Json)>,
    /// Options of `apply_async` by name; also `task_id`, once the id is fixed.
    pub options: BTreeMap<String, Json>,
    /// `chain`, `group`, `chord`, `xmap`, `xstarmap` or `chunks`; `None` for a task.
    pub subtask_type: Option<String>,
    /// Whether it ignores the result of the task before it (Celery's `si`).
    pub immutable: bool,
    /// Unknown keys, passed on as they are.
    pub extra: BTreeMap<String, Json>,
}

impl Signature {
    /// A signature without arguments and options.
    pub fn new(task: impl Into<Arc<str>>) -> Self {
        Self {
            task: task.into(),
            args: Vec::new(),
            kwargs: Vec::new(),
            options: BTreeMap::new(),
            subtask_type: None,
            immutable: false,
            extra: BTreeMap::new(),
        }
    }

    /// The signature as Celery's JSON map.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        self.write(&mut out);
        out
    }

    /// Reads Celery's JSON map. Null counts as no arguments and no options. Unknown keys go to `extra`.
    ///
    /// # Errors
    /// If the bytes are not a JSON map, if it names no task, or if a value has the wrong type.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let mut reader = JsonReader::new(utf8(bytes)?);
        let signature = Self::read(&mut reader)?;
        reader.end()?;
        Ok(signature)
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut map = MapWriter::new(out, &self.extra);
        map.text(key!("task"), Some(&self.task));
        map.with(key!("args"), |out| write_jsons(out, &self.args));
        map.with(key!("kwargs"), |out| write_entries(out, self.kwargs.iter().map(|(key, value)| (key, value))));
        map.with(key!("options"), |out| write_entries(out, &self.options));
        map.text(key!("subtask_type"), self.subtask_type.as_deref());
        map.bool(key!("immutable"), Some(self.immutable));
        map.extra();
        map.end();
    }

    pub(crate) fn read(reader: &mut JsonReader<'_>) -> Result<Self> {
        let mut task = None;
        let mut signature = Self::new("");
        reader.object(|key, reader| {
            signature
                .read_field(&key, reader, &mut task)
                .map_err(|e| e.within(ErrorKind::NotATask, &format!("`{key}` of a signature")))
        })?;
        match task {
            Some(task) => signature.task = task,
            None => return reader.fail("a signature names no task"),
        }
        Ok(signature)
    }

    fn read_field(&mut self, key: &str, reader: &mut JsonReader<'_>, task: &mut Option<Arc<str>>) -> Result<()> {
        match key {
            "task" => *task = lenient::owned(reader)?,
            "args" => self.args = lenient::jsons(reader)?,
            "kwargs" => self.kwargs = lenient::entries(reader)?,
            "options" => self.options = lenient::map(reader)?,
            "subtask_type" => self.subtask_type = lenient::owned(reader)?,
            "immutable" => self.immutable = lenient::bool(reader)?.unwrap_or_default(),
            _ => {
                self.extra.insert(key.to_owned(), reader.json()?);
            }
        }
        Ok(())
    }
}

serde_by_json! { Signature }
