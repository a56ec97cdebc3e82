//! Events: what happens to workers and tasks, for monitors (`celeryev`).

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::json::lenient;
use crate::json::reader::JsonReader;
use crate::json::text::Json;
use crate::message::message::Message;
use crate::message::outgoing_event::{EventHead, EventList, OutgoingEvent};

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

    /// With one more field. A value that has no JSON form is null.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Serialize) -> Self {
        self.fields.push((name.into(), Json::from_serialize(&value).unwrap_or(Json::NULL)));
        self
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

    /// The same as it is sent.
    pub fn to_text(&self) -> OutgoingEvent {
        self.with_fields(OutgoingEvent::new(self.kind.clone(), &self.head(), self.timestamp))
    }

    fn head(&self) -> EventHead<'_> {
        EventHead { hostname: &self.hostname, utcoffset: self.utcoffset, pid: self.pid, clock: self.clock }
    }

    fn with_fields(&self, text: OutgoingEvent) -> OutgoingEvent {
        self.fields.iter().fold(text, |text, (name, value)| text.json(name, value))
    }

    /// The message of these events, for [`BATCH_ROUTING_KEY`](crate::message::outgoing_event::BATCH_ROUTING_KEY).
    pub fn batch_message(events: &[Self], hostname: &str) -> Message {
        let mut list = EventList::default();
        for event in events {
            let text = list.begin(event.kind.clone(), &event.head(), event.timestamp);
            list.end(event.with_fields(text));
        }
        list.take_message(hostname)
    }

    /// The message of this event alone.
    pub fn to_message(&self) -> Message {
        self.to_text().to_message(&self.hostname)
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
