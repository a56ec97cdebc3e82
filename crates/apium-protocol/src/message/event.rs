//! Events: what happens to workers and tasks, for monitors (`celeryev`).

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::json::lenient;
use crate::json::map_writer::{MapWriter, key, write_list};
use crate::json::reader::JsonReader;
use crate::json::text::Json;
use crate::json::write::{write_f64, write_str};
use crate::message::control::json_message;
use crate::message::message::Message;

/// The routing key of a batch of events of tasks.
pub const BATCH_ROUTING_KEY: &str = "task.multi";

/// The fields that every event has.
const COMMON: [&str; 6] = ["hostname", "utcoffset", "pid", "clock", "timestamp", "type"];

/// One event.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// Its type, such as `task-succeeded`.
    pub kind: Cow<'static, str>,
    /// The node that it comes from.
    pub hostname: Arc<str>,
    /// When it happened, in seconds since 1970.
    pub timestamp: f64,
    /// The offset of the sender's zone in hours, positive to the west of UTC.
    pub utcoffset: f64,
    /// The sender's process.
    pub pid: u32,
    /// The sender's logical clock; 0 where it has none.
    pub clock: u64,
    /// All other fields, in order.
    pub fields: Vec<(Cow<'static, str>, Json)>,
}

impl Event {
    /// An event without fields of its own.
    pub fn new(kind: impl Into<Cow<'static, str>>, hostname: Arc<str>, timestamp: f64) -> Self {
        Self { kind: kind.into(), hostname, timestamp, utcoffset: 0.0, pid: 0, clock: 0, fields: Vec::new() }
    }

    /// The field of this name, if it is there and not null.
    pub fn field(&self, name: &str) -> Option<&Json> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// Adds the entries of a JSON map as fields, in order.
    ///
    /// # Errors
    /// If it is no map, or has a field that every event has.
    pub fn add_fields(&mut self, map: &Json) -> Result<()> {
        let bytes = map.clone().into_bytes();
        let mut reader = JsonReader::of(&bytes)?;
        if reader.peek() != b'{' {
            return Err(Error::new(ErrorKind::Encode, "read the fields of an event: they are no map"));
        }
        reader.object(|key, reader| {
            if COMMON.contains(&&*key) || self.fields.iter().any(|(name, _)| *name == *key) {
                let text = format!("give an event the field `{key}`: every event has one of its own");
                return Err(Error::new(ErrorKind::Encode, text));
            }
            let value = reader.json()?;
            self.fields.push((key.into_owned().into(), value));
            Ok(())
        })
    }

    /// Its routing key: the type, with dots (`task.succeeded`).
    pub fn routing_key(&self) -> String {
        self.kind.replace('-', ".")
    }

    /// Whether it is of a task, and may be sent in a batch.
    pub fn is_of_task(&self) -> bool {
        self.kind.starts_with("task-")
    }

    /// Writes it as Celery does: the common fields, then its own, then time and type.
    pub fn write(&self, out: &mut Vec<u8>) {
        let none = Default::default();
        let mut map = MapWriter::new(out, &none);
        map.text(key!("hostname"), Some(&self.hostname));
        map.with(key!("utcoffset"), |out| write_f64(out, self.utcoffset));
        map.int(key!("pid"), Some(self.pid.into()));
        map.int(key!("clock"), Some(i64::try_from(self.clock).unwrap_or(i64::MAX)));
        map.end();
        out.pop();
        for (name, value) in &self.fields {
            out.extend_from_slice(b", ");
            write_str(out, name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(b", \"timestamp\": ");
        write_f64(out, self.timestamp);
        out.extend_from_slice(b", \"type\": ");
        write_str(out, &self.kind);
        out.push(b'}');
    }

    /// The message of one event.
    pub fn to_message(&self) -> Message {
        let mut body = Vec::with_capacity(256);
        self.write(&mut body);
        event_message(body, &self.hostname)
    }

    /// The message of a batch, for [`BATCH_ROUTING_KEY`].
    pub fn batch_message(events: &[Self], hostname: &str) -> Message {
        let mut body = Vec::with_capacity(256 * events.len());
        write_list(&mut body, events, |out, event| event.write(out));
        event_message(body, hostname)
    }

    /// Reads the body of a message: one event or a list of them. An event without a type is left out, since nothing can
    /// be made of it.
    ///
    /// # Errors
    /// If it is no JSON, neither a map nor a list of maps, or a common field has the wrong type.
    pub fn read_all(body: &Bytes) -> Result<Vec<Self>> {
        let mut events = Vec::new();
        let mut reader = JsonReader::of(body)?;
        match reader.peek() {
            b'[' => reader.array(|reader| {
                events.push(Self::read(reader)?);
                Ok(())
            })?,
            b'{' => events.push(Self::read(&mut reader)?),
            _ => return Err(Error::new(ErrorKind::Decode, "read an event: it is neither a map nor a list")),
        }
        reader.end()?;
        events.retain(|event| !event.kind.is_empty());
        Ok(events)
    }

    fn read(reader: &mut JsonReader<'_>) -> Result<Self> {
        let mut event = Self::new("", "".into(), 0.0);
        reader.object(|key, reader| {
            event
                .read_field(&key, reader)
                .map_err(|error| error.within(ErrorKind::Decode, &format!("`{key}` of an event")))
        })?;
        Ok(event)
    }

    fn read_field(&mut self, key: &str, reader: &mut JsonReader<'_>) -> Result<()> {
        match key {
            "type" => self.kind = lenient::text(reader)?.unwrap_or_default().into_owned().into(),
            "hostname" => self.hostname = lenient::owned(reader)?.unwrap_or_else(|| "".into()),
            "timestamp" => self.timestamp = lenient::float(reader)?.unwrap_or_default(),
            "utcoffset" => self.utcoffset = lenient::float(reader)?.unwrap_or_default(),
            "pid" => self.pid = lenient::count(reader)?,
            "clock" => self.clock = u64::try_from(lenient::int(reader)?.unwrap_or_default()).unwrap_or_default(),
            _ => {
                let value = reader.json()?;
                self.fields.push((key.to_owned().into(), value));
            }
        }
        Ok(())
    }
}

fn event_message(body: Vec<u8>, hostname: &str) -> Message {
    let mut message = json_message(body.into(), 1);
    let mut text = Vec::new();
    write_str(&mut text, hostname);
    message.headers.extra.insert("hostname".to_owned(), Json::from_checked(text.into()));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_as_celery_does_and_read_again() {
        let mut event = Event::new("task-rejected", "w1@h".into(), 1_795_361_239.643_641);
        (event.pid, event.clock) = (32_636, 17);
        event.fields.push(("uuid".into(), Json::from_text("\"t1\"").expect("this is JSON")));
        event.fields.push(("requeue".into(), Json::from_text("false").expect("this is JSON")));
        let message = Event::batch_message(std::slice::from_ref(&event), "w1@h");
        assert_eq!(
            std::str::from_utf8(&message.body).expect("the body is not a text"),
            r#"[{"hostname": "w1@h", "utcoffset": 0.0, "pid": 32636, "clock": 17, "uuid": "t1", "requeue": false, "timestamp": 1795361239.643641, "type": "task-rejected"}]"#
        );
        assert_eq!(Event::read_all(&message.body).expect("it cannot be read"), [event.clone()]);
        assert_eq!(Event::read_all(&event.to_message().body).expect("it cannot be read"), [event]);
    }

    #[test]
    fn what_is_no_event_is_an_error_or_left_out() {
        for text in ["", "7", "\"x\"", "[7]", r#"{"type": "a", "timestamp": []}"#, "[{]"] {
            assert!(Event::read_all(&Bytes::from_static(text.as_bytes())).is_err(), "{text}");
        }
        assert_eq!(Event::read_all(&Bytes::from_static(b"[{}, {\"hostname\": \"x\"}]")).expect("these are maps"), []);
    }
}
