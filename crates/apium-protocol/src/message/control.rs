//! Remote control: the requests that every worker of a broker gets, and the replies (kombu: pidbox).

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::json::lenient;
use crate::json::map_writer::{MapWriter, key, write_entries, write_list, write_text};
use crate::json::reader::{JsonReader, utf8};
use crate::json::text::Json;
use crate::json::write::write_str;
use crate::message::message::Message;
use crate::message::properties::Properties;

/// A request for workers, as the body of its message has it.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ControlRequest {
    /// The name of the command, such as `ping`.
    pub method: String,
    /// Its arguments by name, in the order in which they were given.
    pub arguments: Vec<(String, Json)>,
    /// The nodes that are meant; `None` is all of them. Others ignore the request.
    pub destination: Option<Vec<String>>,
    /// A pattern of node names. It counts only together with `matcher`, and without a destination.
    pub pattern: Option<String>,
    /// How the pattern is read: `glob` or `pcre`.
    pub matcher: Option<String>,
    /// What replies carry, so that the caller knows them.
    pub ticket: Option<String>,
    /// Where replies go. A worker replies only if it is there.
    pub reply_to: Option<ReplyAddress>,
    /// Whether the caller has written what it changes to the records that all workers share, so that no worker need do
    /// it. Written only where it is so. Celery does not have it.
    pub recorded: bool,
}

/// Where the replies to a request go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplyAddress {
    /// The exchange, such as `reply.celery.pidbox`.
    pub exchange: String,
    /// The routing key: the id of the caller.
    pub routing_key: String,
}

impl ReplyAddress {
    /// An exchange, and the id of the caller as the routing key.
    pub fn new(exchange: impl Into<String>, routing_key: impl Into<String>) -> Self {
        Self { exchange: exchange.into(), routing_key: routing_key.into() }
    }
}

impl ControlRequest {
    /// A request to all workers, without a reply.
    pub fn new(method: impl Into<String>, arguments: Vec<(String, Json)>) -> Self {
        Self { method: method.into(), arguments, ..Self::default() }
    }

    /// The argument of this name, if it is there and not null.
    pub fn argument(&self, name: &str) -> Option<&Json> {
        self.arguments.iter().find(|(key, _)| key == name).map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// The body, with Celery's keys in Celery's order.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let none = Default::default();
        let mut map = MapWriter::new(&mut out, &none);
        map.text(key!("method"), Some(&self.method));
        map.with(key!("arguments"), |out| write_entries(out, self.arguments.iter().map(|(key, value)| (key, value))));
        map.with(key!("destination"), |out| match &self.destination {
            Some(nodes) => write_list(out, nodes, |out, node| write_str(out, node)),
            None => write_text(out, None),
        });
        map.text(key!("pattern"), self.pattern.as_deref());
        map.text(key!("matcher"), self.matcher.as_deref());
        map.text_if(key!("ticket"), self.ticket.as_deref());
        if let Some(reply_to) = &self.reply_to {
            map.with(key!("reply_to"), |out| reply_to.write(out));
        }
        if self.recorded {
            map.with(key!("recorded"), |out| out.extend_from_slice(b"true"));
        }
        map.end();
        out
    }

    /// Reads a body. Unknown keys are ignored.
    ///
    /// # Errors
    /// If it is no JSON map, names no method, or a key has the wrong type.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let mut request = Self::default();
        let mut reader = JsonReader::new(utf8(bytes)?);
        reader.object(|key, reader| {
            request
                .read_field(&key, reader)
                .map_err(|error| error.within(ErrorKind::Decode, &format!("`{key}` of a control request")))
        })?;
        reader.end()?;
        match request.method.is_empty() {
            true => Err(Error::new(ErrorKind::Decode, "read a control request: it names no `method`")),
            false => Ok(request),
        }
    }

    fn read_field(&mut self, key: &str, reader: &mut JsonReader<'_>) -> Result<()> {
        match key {
            "method" => self.method = string(reader)?.unwrap_or_default(),
            "arguments" => self.arguments = lenient::entries(reader)?,
            // A single name is a list of one.
            "destination" if reader.peek() == b'"' => self.destination = Some(vec![reader.string()?.into_owned()]),
            "destination" => {
                self.destination = lenient::list(reader, |reader| Ok(lenient::owned(reader)?.unwrap_or_default()))?;
            }
            "pattern" => self.pattern = string(reader)?,
            "matcher" => self.matcher = string(reader)?,
            "ticket" => self.ticket = lenient::owned(reader)?,
            "reply_to" => self.reply_to = ReplyAddress::read(reader)?,
            "recorded" => self.recorded = reader.json()?.as_str() == "true",
            _ => reader.skip()?,
        }
        Ok(())
    }

    /// The message of a request. `clock` is the caller's logical clock, `expires` the time in seconds since 1970 until
    /// which it waits for replies.
    pub fn to_message(&self, clock: u64, expires: f64) -> Message {
        let mut message = json_message(self.to_json().into(), 2);
        message.headers.extra.insert("clock".to_owned(), number(clock));
        message.headers.extra.insert("expires".to_owned(), Json::from_serialize(&expires).unwrap_or(Json::NULL));
        message
    }
}

impl ReplyAddress {
    fn write(&self, out: &mut Vec<u8>) {
        let none = Default::default();
        let mut map = MapWriter::new(out, &none);
        map.text(key!("exchange"), Some(&self.exchange));
        map.text(key!("routing_key"), Some(&self.routing_key));
        map.end();
    }

    fn read(reader: &mut JsonReader<'_>) -> Result<Option<Self>> {
        if reader.null() {
            return Ok(None);
        }
        let (mut exchange, mut routing_key) = (None, None);
        reader.object(|key, reader| {
            match &*key {
                "exchange" => exchange = string(reader)?,
                "routing_key" => routing_key = string(reader)?,
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        match (exchange, routing_key) {
            (Some(exchange), Some(routing_key)) => Ok(Some(Self { exchange, routing_key })),
            _ => reader.fail("`exchange` and `routing_key` are missing"),
        }
    }
}

/// The reply of one worker.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ControlReply {
    /// The name of the node.
    pub node: String,
    /// What it answered: `{"ok": …}`, `{"error": …}` or the data of an inspection.
    pub answer: Json,
    /// The ticket of the request; a reply without one belongs to any.
    pub ticket: Option<String>,
    /// The logical clock of the worker.
    pub clock: Option<u64>,
}

impl ControlReply {
    /// The message of a reply.
    pub fn message(node: &str, answer: &Json, ticket: Option<&str>, clock: u64) -> Message {
        let mut body = Vec::with_capacity(answer.as_bytes().len() + node.len() + 8);
        write_entries(&mut body, [(&node.to_owned(), answer)]);
        let mut message = json_message(body.into(), 1);
        if let Some(ticket) = ticket {
            let mut text = Vec::new();
            write_str(&mut text, ticket);
            message.headers.extra.insert("ticket".to_owned(), Json::from_checked(text.into()));
        }
        message.headers.extra.insert("clock".to_owned(), number(clock));
        message
    }

    /// Reads a reply: the headers of its message, and its body as JSON.
    ///
    /// # Errors
    /// If the body is no JSON map of one node.
    pub fn read(message: &Message, body: &Json) -> Result<Self> {
        let body = body.clone().into_bytes();
        let mut reader = JsonReader::of(&body)?;
        let mut entries = lenient::entries(&mut reader)?;
        let (Some((node, answer)), true) = (entries.pop(), entries.is_empty()) else {
            return Err(Error::new(ErrorKind::Decode, "read the reply to a control request: it is not of one node"));
        };
        let header = |name: &str| message.headers.extra.get(name);
        let ticket = header("ticket").and_then(|ticket| ticket.decode().ok());
        let clock = header("clock").and_then(|clock| clock.decode().ok());
        Ok(Self { node, answer, ticket, clock })
    }
}

/// A text; null is none. What is no text is an error, since a number is no name.
fn string(reader: &mut JsonReader<'_>) -> Result<Option<String>> {
    match reader.null() {
        true => Ok(None),
        false => reader.string().map(|text| Some(text.into_owned())),
    }
}

fn number(number: u64) -> Json {
    Json::from_serialize(&number).unwrap_or(Json::NULL)
}

/// A message with a JSON body, without the headers of a task.
pub(crate) fn json_message(body: Bytes, delivery_mode: u8) -> Message {
    let properties = Properties {
        content_type: Some("application/json".into()),
        content_encoding: Some("utf-8".into()),
        delivery_mode: Some(delivery_mode),
        priority: Some(0),
        ..Properties::default()
    };
    Message { properties, body, ..Message::default() }
}

/// The names of the exchanges of remote control (`control_exchange`, which is `celery` by default).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ControlNames {
    /// The fanout exchange of requests: `celery.pidbox`.
    pub requests: Arc<str>,
    /// The direct exchange of replies: `reply.celery.pidbox`.
    pub replies: Arc<str>,
}

impl ControlNames {
    /// The names that belong to this `control_exchange`.
    pub fn new(exchange: &str) -> Self {
        Self { requests: format!("{exchange}.pidbox").into(), replies: format!("reply.{exchange}.pidbox").into() }
    }

    /// The queue of a node's requests.
    pub fn node_queue(&self, node: &str) -> String {
        format!("{node}.{}", self.requests)
    }

    /// The queue of a caller's replies.
    pub fn reply_queue(&self, caller: &str) -> String {
        format!("{caller}.{}", self.replies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_celery_does() {
        let mut request = ControlRequest::new("ping", Vec::new());
        request.ticket = Some("t1".to_owned());
        request.reply_to = Some(ReplyAddress::new("reply.celery.pidbox", "o1"));
        let text = String::from_utf8(request.to_json()).expect("the body is not a text");
        assert_eq!(
            text,
            r#"{"method": "ping", "arguments": {}, "destination": null, "pattern": null, "matcher": null, "ticket": "t1", "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "o1"}}"#
        );
        assert_eq!(ControlRequest::from_json(text.as_bytes()).expect("it cannot be read"), request);
        request.recorded = true;
        assert_eq!(ControlRequest::from_json(&request.to_json()).expect("it cannot be read"), request);
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        let bad = [
            "",
            "[]",
            "7",
            "{}",
            r#"{"method": 7}"#,
            r#"{"method": null}"#,
            r#"{"method": "ping", "arguments": 7}"#,
            r#"{"method": "ping", "reply_to": {}}"#,
            r#"{"method": "ping", "reply_to": "x"}"#,
            r#"{"method": "ping"} x"#,
        ];
        for text in bad {
            assert!(ControlRequest::from_json(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_reply_is_read_as_it_was_written() {
        let answer = Json::from_text(r#"{"ok": "pong"}"#).expect("this is JSON");
        let message = ControlReply::message("w1@h", &answer, Some("t1"), 3);
        assert_eq!(&*message.body, br#"{"w1@h": {"ok": "pong"}}"#);
        let reply = ControlReply::read(&message, &Json::from_bytes(message.body.clone()).expect("this is JSON"));
        let expected = ControlReply { node: "w1@h".into(), answer, ticket: Some("t1".into()), clock: Some(3) };
        assert_eq!(reply.expect("it cannot be read"), expected);
    }
}
