//! Result documents, as Celery stores them.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::json::lenient;
use crate::json::map_writer::{MapWriter, key, write_list, write_text};
use crate::json::reader::{JsonReader, utf8};
use crate::json::text::{Json, serde_by_json};
use crate::json::write::write_str;
use crate::message::task_id::TaskId;
use crate::result::exception::ExceptionInfo;
use crate::result::state::State;

/// The result document of a task: its state, with the result, the traceback and what else Celery stores. A result
/// backend stores it, `watch` returns it and `on_message` is called with it.
///
/// For serde it is Celery's JSON map (`task_id`, `status`, `result`, `traceback`, `children`, `date_done`; `group_id`
/// and `parent_id` if there are any), so that a web handler can pass it on.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ResultDocument {
    /// The task's id.
    pub task_id: TaskId,
    /// Its state.
    pub state: State,
    /// The return value, the map of the exception ([`ExceptionInfo`]), or the meta of a custom state.
    pub result: Json,
    /// The traceback's text.
    pub traceback: Option<String>,
    /// The results of the tasks that the run sent; `None` if the writer of the document did not know them.
    pub children: Option<Vec<ResultTuple>>,
    /// When it became ready, in ISO 8601 as Celery writes it.
    pub date_done: Option<String>,
    /// The id of its group.
    pub group_id: Option<String>,
    /// The id of the task that sent it.
    pub parent_id: Option<TaskId>,
    /// The fields that are stored only with the setting `result_extended`.
    pub extended: Option<Box<Extended>>,
    /// All other keys, such as stamps.
    pub extra: BTreeMap<String, Json>,
}

/// The fields that the setting `result_extended` adds to a result document.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Extended {
    /// The task's name.
    pub name: Option<String>,
    /// Positional arguments.
    pub args: Option<Json>,
    /// Keyword arguments.
    pub kwargs: Option<Json>,
    /// The worker's node name.
    pub worker: Option<String>,
    /// How many retries there were.
    pub retries: Option<u32>,
    /// The routing key of the message, as in Celery.
    pub queue: Option<String>,
}

/// Names the result of a task with its parent, or of a group with its members: Celery's `as_tuple()`. On the wire it is
/// `[[id, parent], children]`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ResultTuple {
    /// The id of the task or group.
    pub id: TaskId,
    /// The result of the step before it.
    pub parent: Option<Box<ResultTuple>>,
    /// The members, for a group.
    pub children: Option<Vec<ResultTuple>>,
}

/// A saved group, which Celery's `GroupResult.save` stores under `celery-taskset-meta-<id>`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GroupDocument {
    /// The group with its members.
    pub result: ResultTuple,
}

impl GroupDocument {
    /// A saved group of this result.
    pub fn new(result: ResultTuple) -> Self {
        Self { result }
    }
}

impl ResultDocument {
    /// A document with only a task id, a state and a result.
    pub fn new(task_id: impl Into<TaskId>, state: State, result: Json) -> Self {
        Self {
            task_id: task_id.into(),
            state,
            result,
            traceback: None,
            children: None,
            date_done: None,
            group_id: None,
            parent_id: None,
            extended: None,
            extra: BTreeMap::new(),
        }
    }

    /// The document of an unknown id: PENDING, without a result.
    pub fn pending(task_id: impl Into<TaskId>) -> Self {
        Self::new(task_id, State::Pending, Json::NULL)
    }

    /// The return value; `None` unless the state is SUCCESS.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the value does not fit the type.
    pub fn value<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        (self.state == State::Success).then(|| self.result.decode()).transpose()
    }

    /// The exception; `None` unless the state is FAILURE, REVOKED or RETRY.
    pub fn exception(&self) -> Option<ExceptionInfo> {
        self.state.is_exception().then(|| ExceptionInfo::from_json(&self.result))
    }

    /// What the task says about itself before it is ready: the meta of a custom state (`update_state`), or with STARTED
    /// the pid and the host name. `None` in other states, and if there is no meta.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the meta does not fit the type.
    pub fn meta<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let has_meta = matches!(self.state, State::Started | State::Custom(_)) && !self.result.is_null();
        has_meta.then(|| self.result.decode()).transpose()
    }

    /// The document as Celery stores it, `task_id` last.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.result.as_bytes().len());
        let mut map = MapWriter::new(&mut out, &self.extra);
        map.text(key!("status"), Some(self.state.as_str()));
        map.with(key!("result"), |out| out.extend_from_slice(self.result.as_bytes()));
        map.text(key!("traceback"), self.traceback.as_deref());
        map.with(key!("children"), |out| write_tuples(out, self.children.as_deref()));
        map.text(key!("date_done"), self.date_done.as_deref());
        map.text_if(key!("group_id"), self.group_id.as_deref());
        map.text_if(key!("parent_id"), self.parent_id.as_ref().map(TaskId::as_str));
        if let Some(extended) = &self.extended {
            extended.write(&mut map);
        }
        map.extra();
        map.text(key!("task_id"), Some(self.task_id.as_str()));
        map.end();
        out
    }

    /// Reads a document. Unknown keys (stamps) go to `extra`.
    ///
    /// # Errors
    /// If the bytes are not a JSON map, if `status` or `task_id` is missing, or if a field has the wrong type.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let mut reader = JsonReader::new(utf8(bytes)?);
        let (mut status, mut task_id) = (None, None);
        let mut document = Self::pending("");
        reader.object(|key, reader| {
            match &*key {
                "status" => status = lenient::text(reader)?.map(|name| State::from(&*name)),
                "task_id" => task_id = lenient::owned::<TaskId>(reader)?,
                _ => document
                    .read_field(&key, reader)
                    .map_err(|e| e.within(ErrorKind::Decode, &format!("`{key}` of a result")))?,
            }
            Ok(())
        })?;
        reader.end()?;
        let missing = |what: &str| Error::new(ErrorKind::Decode, format!("find `{what}` in a result document"));
        document.state = status.ok_or_else(|| missing("status"))?;
        document.task_id = task_id.ok_or_else(|| missing("task_id"))?;
        Ok(document)
    }

    fn read_field(&mut self, key: &str, reader: &mut JsonReader<'_>) -> Result<()> {
        match key {
            "result" => self.result = reader.json()?,
            "traceback" => self.traceback = lenient::owned(reader)?,
            "children" => self.children = lenient::list(reader, ResultTuple::read)?,
            "date_done" => self.date_done = lenient::owned(reader)?,
            "group_id" => self.group_id = lenient::owned(reader)?,
            "parent_id" => self.parent_id = lenient::owned(reader)?,
            "name" | "args" | "kwargs" | "worker" | "retries" | "queue" => {
                self.extended.get_or_insert_default().read_field(key, reader)?;
            }
            _ => {
                self.extra.insert(key.to_owned(), reader.json()?);
            }
        }
        Ok(())
    }
}

impl Extended {
    fn write(&self, map: &mut MapWriter<'_>) {
        let json = |out: &mut Vec<u8>, json: &Option<Json>| {
            out.extend_from_slice(json.as_ref().map_or(b"null", Json::as_bytes));
        };
        map.text(key!("name"), self.name.as_deref());
        map.with(key!("args"), |out| json(out, &self.args));
        map.with(key!("kwargs"), |out| json(out, &self.kwargs));
        map.text(key!("worker"), self.worker.as_deref());
        map.int(key!("retries"), self.retries.map(Into::into));
        map.text(key!("queue"), self.queue.as_deref());
    }

    fn read_field(&mut self, key: &str, reader: &mut JsonReader<'_>) -> Result<()> {
        match key {
            "name" => self.name = lenient::owned(reader)?,
            "args" => self.args = Some(reader.json()?).filter(|json| !json.is_null()),
            "kwargs" => self.kwargs = Some(reader.json()?).filter(|json| !json.is_null()),
            "worker" => self.worker = lenient::owned(reader)?,
            "retries" => {
                self.retries = lenient::int(reader)?.map(|retries| retries.clamp(0, u32::MAX.into()) as u32);
            }
            _ => self.queue = lenient::owned(reader)?,
        }
        Ok(())
    }
}

impl ResultTuple {
    /// A task without a parent.
    pub fn task(id: impl Into<TaskId>) -> Self {
        Self { id: id.into(), parent: None, children: None }
    }

    /// A group of these members.
    pub fn group(id: impl Into<TaskId>, members: Vec<ResultTuple>) -> Self {
        Self { id: id.into(), parent: None, children: Some(members) }
    }

    /// Sets the result of the step before it.
    #[must_use]
    pub fn with_parent(mut self, parent: ResultTuple) -> Self {
        self.parent = Some(Box::new(parent));
        self
    }

    /// `[[id, parent], children]`.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(56);
        self.write(&mut out);
        out
    }

    /// Reads `[[id, parent], children]`. Instead of `[id, parent]`, or of all, there may be only an id.
    ///
    /// # Errors
    /// If the bytes are not such a list, or if more than 256 results nest.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let mut reader = JsonReader::new(utf8(bytes)?);
        let tuple = Self::read(&mut reader)?;
        reader.end()?;
        Ok(tuple)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"[[");
        write_str(out, self.id.as_str());
        out.extend_from_slice(b", ");
        match &self.parent {
            Some(parent) => parent.write(out),
            None => write_text(out, None),
        }
        out.extend_from_slice(b"], ");
        write_tuples(out, self.children.as_deref());
        out.push(b']');
    }

    fn read(reader: &mut JsonReader<'_>) -> Result<Self> {
        Self::read_nested(reader, MAX_NESTED_RESULTS)
    }

    fn read_nested(reader: &mut JsonReader<'_>, depth: usize) -> Result<Self> {
        if depth == 0 {
            return reader.fail("results nest too deep");
        }
        if reader.peek() == b'"' {
            return Ok(Self::task(&*reader.string()?));
        }
        let (mut id, mut parent, mut children) = (None, None, None);
        let mut index = 0;
        reader.array(|reader| {
            index += 1;
            match index {
                1 if reader.peek() == b'[' => {
                    let mut inner = 0;
                    reader.array(|reader| {
                        inner += 1;
                        match inner {
                            1 => id = lenient::owned::<TaskId>(reader)?,
                            2 if reader.null() => {}
                            2 => parent = Some(Box::new(Self::read_nested(reader, depth - 1)?)),
                            _ => reader.skip()?,
                        }
                        Ok(())
                    })?;
                }
                1 => id = lenient::owned(reader)?,
                2 => children = lenient::list(reader, |reader| Self::read_nested(reader, depth - 1))?,
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        match id {
            Some(id) => Ok(Self { id, parent, children }),
            None => reader.fail("a result has no id"),
        }
    }
}

/// How deep result tuples may nest when they are read.
pub const MAX_NESTED_RESULTS: usize = 256;

fn write_tuples(out: &mut Vec<u8>, tuples: Option<&[ResultTuple]>) {
    match tuples {
        Some(tuples) => write_list(out, tuples, |out, tuple| tuple.write(out)),
        None => write_text(out, None),
    }
}

impl GroupDocument {
    /// The document as Celery stores it.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = b"{\"result\": ".to_vec();
        self.result.write(&mut out);
        out.push(b'}');
        out
    }

    /// Reads a saved group. Other keys are ignored.
    ///
    /// # Errors
    /// If the bytes are not a JSON map whose `result` is a result tuple.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let mut reader = JsonReader::new(utf8(bytes)?);
        let mut result = None;
        reader.object(|key, reader| {
            match &*key {
                "result" => result = Some(ResultTuple::read(reader)?),
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        reader.end()?;
        match result {
            Some(result) => Ok(Self { result }),
            None => Err(Error::new(ErrorKind::Decode, "find `result` in a saved group")),
        }
    }
}

serde_by_json! { ResultDocument ResultTuple GroupDocument }

#[cfg(test)]
mod tests {
    use super::ResultDocument;
    use crate::json::text::Json;
    use crate::result::exception::ExceptionInfo;
    use crate::result::state::State;

    fn document(state: &str, result: &str) -> ResultDocument {
        ResultDocument::new("i", State::from(state), Json::from_text(result).unwrap())
    }

    #[test]
    fn a_result_is_a_value_an_exception_or_meta() {
        let returned = document("SUCCESS", "4");
        assert_eq!((returned.value().unwrap(), returned.meta().unwrap()), (Some(4), None::<u8>));
        assert_eq!(returned.exception(), None);
        assert!(returned.value::<String>().is_err());

        let boom = ExceptionInfo::new("builtins", "ValueError", "boom");
        for state in ["FAILURE", "REVOKED", "RETRY"] {
            let failed = document(state, boom.to_json().as_str());
            assert_eq!(failed.exception().as_ref(), Some(&boom), "{state}");
            assert_eq!((failed.value::<u8>().unwrap(), failed.meta::<u8>().unwrap()), (None, None));
        }

        let runs = document("PROGRESS", "50");
        assert_eq!((runs.meta().unwrap(), runs.value().unwrap()), (Some(50), None::<u8>));
        assert_eq!(runs.exception(), None);
        assert_eq!(document("STARTED", "null").meta::<u8>().unwrap(), None);
        assert_eq!(document("PENDING", "1").meta::<u8>().unwrap(), None);
    }

    #[test]
    fn a_document_passes_through_serde_as_celerys_map() {
        let mut failed = document("FAILURE", ExceptionInfo::new("builtins", "ValueError", "boom").to_json().as_str());
        failed.traceback = Some("Traceback".into());
        let map = serde_json::to_value(&failed).unwrap();
        assert_eq!(
            (&map["status"], &map["task_id"], &map["traceback"]),
            (&"FAILURE".into(), &"i".into(), &"Traceback".into())
        );
        assert_eq!(map["result"]["exc_type"], "ValueError");
        assert_eq!(
            serde_json::from_value::<ExceptionInfo>(map["result"].clone()).unwrap(),
            failed.exception().unwrap()
        );
        let read: ResultDocument = serde_json::from_value(map).unwrap();
        assert_eq!((&read.task_id, &read.state, &read.traceback), (&failed.task_id, &failed.state, &failed.traceback));
        assert_eq!(read.exception(), failed.exception());
        let text = serde_json::to_string(&failed).unwrap();
        assert_eq!(text.as_bytes(), failed.to_json());
        assert_eq!(serde_json::from_str::<ResultDocument>(&text).unwrap(), failed);
    }
}
