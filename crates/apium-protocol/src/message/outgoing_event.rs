//! Events that are to be sent: their text, and the messages that carry one of them or many.

use std::borrow::Cow;

use serde::Serialize;

use crate::json::map_writer::{MapWriter, key, write_text};
use crate::json::text::Json;
use crate::json::write::{write_f64, write_int, write_str};
use crate::message::control::json_message;
use crate::message::message::Message;

/// The routing key of a batch of events of tasks.
pub const BATCH_ROUTING_KEY: &str = "task.multi";

/// The room that most lists of events need, in bytes.
const USUAL_LIST: usize = 16 << 10;

/// The fields that events of one node have in common.
#[derive(Debug, Clone, Copy)]
pub struct EventHead<'a> {
    /// The node.
    pub hostname: &'a str,
    /// The offset of its zone in hours, positive to the west of UTC.
    pub utcoffset: f64,
    /// Its process.
    pub pid: u32,
    /// Its logical clock.
    pub clock: u64,
}

/// An event that is to be sent. Its fields are written once, as text: the common ones, then its own in the order in
/// which they are given, then time and type, as Celery writes them.
#[derive(Debug, Clone, PartialEq)]
pub struct OutgoingEvent {
    kind: Cow<'static, str>,
    timestamp: f64,
    /// The text as far as the fields go.
    text: Vec<u8>,
}

impl OutgoingEvent {
    /// An event without fields of its own.
    pub fn new(kind: impl Into<Cow<'static, str>>, head: &EventHead<'_>, timestamp: f64) -> Self {
        Self::behind(Vec::with_capacity(384), kind, head, timestamp)
    }

    /// The same, written behind other text.
    fn behind(mut text: Vec<u8>, kind: impl Into<Cow<'static, str>>, head: &EventHead<'_>, timestamp: f64) -> Self {
        let none = Default::default();
        let mut map = MapWriter::new(&mut text, &none);
        map.text(key!("hostname"), Some(head.hostname));
        map.with(key!("utcoffset"), |out| write_f64(out, head.utcoffset));
        map.int(key!("pid"), Some(head.pid.into()));
        map.int(key!("clock"), Some(i64::try_from(head.clock).unwrap_or(i64::MAX)));
        Self { kind: kind.into(), timestamp, text }
    }

    fn name(&mut self, name: &str) {
        self.text.extend_from_slice(b", ");
        write_str(&mut self.text, name);
        self.text.extend_from_slice(b": ");
    }

    /// With one more field: a text.
    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        write_str(&mut self.text, value);
        self
    }

    /// With one more field: a text, or null.
    #[must_use]
    pub fn text_or_null(mut self, name: &str, value: Option<&str>) -> Self {
        self.name(name);
        write_text(&mut self.text, value);
        self
    }

    /// With one more field: an integer.
    #[must_use]
    pub fn int(mut self, name: &str, value: i64) -> Self {
        self.name(name);
        write_int(&mut self.text, value);
        self
    }

    /// With one more field: a number.
    #[must_use]
    pub fn float(mut self, name: &str, value: f64) -> Self {
        self.name(name);
        write_f64(&mut self.text, value);
        self
    }

    /// With one more field of this JSON.
    #[must_use]
    pub fn json(mut self, name: &str, value: &Json) -> Self {
        self.name(name);
        self.text.extend_from_slice(value.as_bytes());
        self
    }

    /// With one more field. A value that has no JSON form is null.
    #[must_use]
    pub fn with(self, name: &str, value: impl Serialize) -> Self {
        let value = Json::from_serialize(&value).unwrap_or(Json::NULL);
        self.json(name, &value)
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its routing key: the type, with dots (`task.succeeded`).
    pub fn routing_key(&self) -> String {
        self.kind.replace('-', ".")
    }

    /// Whether it is of a task, and may be sent in a batch.
    pub fn is_of_task(&self) -> bool {
        self.kind.starts_with("task-")
    }

    /// About how many bytes it has.
    pub fn size(&self) -> usize {
        self.text.len() + self.kind.len() + 48
    }

    /// Writes all of it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text);
        write_end(out, self.timestamp, &self.kind);
    }

    /// The message of one event.
    pub fn to_message(&self, hostname: &str) -> Message {
        let mut body = Vec::with_capacity(self.size());
        self.write(&mut body);
        event_message(body, hostname)
    }
}

fn write_end(out: &mut Vec<u8>, timestamp: f64, kind: &str) {
    out.extend_from_slice(b", \"timestamp\": ");
    write_f64(out, timestamp);
    out.extend_from_slice(b", \"type\": ");
    write_str(out, kind);
    out.push(b'}');
}

/// A list of events, for the message of a batch ([`BATCH_ROUTING_KEY`]). Events are written into it one behind the
/// other, and not copied.
#[derive(Debug, Default)]
pub struct EventList {
    body: Vec<u8>,
    count: usize,
}

impl EventList {
    /// Begins an event, which [`end`](Self::end) must get.
    pub fn begin(&mut self, kind: impl Into<Cow<'static, str>>, head: &EventHead<'_>, timestamp: f64) -> OutgoingEvent {
        if self.body.capacity() == 0 {
            self.body.reserve(USUAL_LIST);
        }
        self.body.extend_from_slice(if self.count == 0 { b"[" } else { b", " });
        OutgoingEvent::behind(std::mem::take(&mut self.body), kind, head, timestamp)
    }

    /// Ends the event that was begun last.
    pub fn end(&mut self, event: OutgoingEvent) {
        self.body = event.text;
        write_end(&mut self.body, event.timestamp, &event.kind);
        self.count += 1;
    }

    /// Adds an event that was made before.
    pub fn add(&mut self, event: &OutgoingEvent) {
        self.body.extend_from_slice(if self.count == 0 { b"[" } else { b", " });
        event.write(&mut self.body);
        self.count += 1;
    }

    /// How many events are in it.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Its message. It is empty afterwards.
    pub fn take_message(&mut self, hostname: &str) -> Message {
        self.body.push(b']');
        self.count = 0;
        event_message(std::mem::take(&mut self.body), hostname)
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
    fn fields_of_every_type_are_written() {
        let head = EventHead { hostname: "w1@h", utcoffset: -2.0, pid: 1, clock: 2 };
        let text = OutgoingEvent::new("task-x", &head, 1.5).text("a", "\"\u{e9}").text_or_null("b", None);
        let text = text.int("c", -3).float("d", 0.25).json("e", &Json::NULL).with("f", [true]);
        let body = text.to_message("w1@h").body;
        assert_eq!(
            std::str::from_utf8(&body).expect("the body is not a text"),
            r#"{"hostname": "w1@h", "utcoffset": -2.0, "pid": 1, "clock": 2, "a": "\"\u00e9", "b": null, "c": -3, "d": 0.25, "e": null, "f": [true], "timestamp": 1.5, "type": "task-x"}"#
        );
        assert_eq!((text.kind(), &*text.routing_key(), text.is_of_task()), ("task-x", "task.x", true));
    }
}
