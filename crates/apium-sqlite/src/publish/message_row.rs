//! Messages as rows. The publisher encodes them and the consumer decodes them, so that the writer thread only copies
//! bytes.

use std::sync::Arc;

use apium_protocol::message::headers::Headers;
use apium_protocol::message::message::Message;
use apium_protocol::message::properties::Properties;
use apium_transport::broker::broker::BrokerCapabilities;
use apium_transport::broker::consumer::{Content, Delivery};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::{Receipt, Tag};
use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

/// A message to be written, with its headers and properties encoded.
#[derive(Debug)]
pub(crate) struct EncodedMessage {
    pub(crate) exchange: Arc<str>,
    pub(crate) routing_key: Arc<str>,
    pub(crate) priority: u8,
    /// In microseconds, rounded up, so that the message never runs before its eta.
    pub(crate) eta: Option<i64>,
    /// JSON.
    pub(crate) headers: Vec<u8>,
    /// JSON.
    pub(crate) properties: Vec<u8>,
    pub(crate) body: Bytes,
}

impl EncodedMessage {
    /// Encodes a batch.
    pub(crate) fn encode_all(batch: Vec<Outgoing>) -> Vec<Self> {
        batch.into_iter().map(Self::from).collect()
    }
}

impl From<Outgoing> for EncodedMessage {
    fn from(out: Outgoing) -> Self {
        let Outgoing { exchange, routing_key, message, eta, .. } = out;
        Self {
            priority: message.properties.priority.unwrap_or(BrokerCapabilities::MISSING_PRIORITY),
            headers: message.headers.to_json(),
            properties: message.properties.to_json(),
            body: message.body,
            eta: eta.map(micros_up),
            exchange,
            routing_key,
        }
    }
}

/// JSON bytes bound as text.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// The instant in microseconds, rounded up.
pub(crate) fn micros_up(at: Timestamp) -> i64 {
    let whole = at.as_microsecond();
    match Timestamp::from_microsecond(whole) {
        Ok(floor) if floor < at => whole + 1,
        _ => whole,
    }
}

/// The instant that a column holds in microseconds.
pub(crate) fn instant(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// The text of a column that may be null.
pub(crate) fn optional_text(column: ValueRef<'_>) -> Option<Arc<str>> {
    column.as_str().ok().map(Arc::from)
}

/// A message as read from its row, still encoded.
#[derive(Debug, Clone)]
pub(crate) struct StoredMessage {
    pub(crate) id: i64,
    pub(crate) fence: i64,
    pub(crate) redelivered: bool,
    pub(crate) crashes: u32,
    pub(crate) queue: Arc<str>,
    /// `None` is the default exchange.
    pub(crate) exchange: Option<Arc<str>>,
    /// `None` is the queue's name.
    pub(crate) routing_key: Option<Arc<str>>,
    /// Whether there are headers. Without them the body is bytes that are no message.
    pub(crate) is_message: bool,
    pub(crate) headers_len: usize,
    pub(crate) properties_len: usize,
    /// Headers, properties and body, in this order.
    pub(crate) bytes: Bytes,
}

impl StoredMessage {
    /// Copies headers, properties and body into one allocation; the other fields are empty.
    pub(crate) fn from_columns(headers: ValueRef<'_>, properties: ValueRef<'_>, body: ValueRef<'_>) -> Self {
        let raw = |value| match value {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
            _ => None,
        };
        let is_message = raw(headers).is_some();
        let columns = [raw(headers), raw(properties), raw(body)].map(Option::unwrap_or_default);
        let mut bytes = BytesMut::with_capacity(columns.iter().map(|column| column.len()).sum());
        for column in columns {
            bytes.put_slice(column);
        }
        Self {
            id: 0,
            fence: 0,
            redelivered: false,
            crashes: 0,
            queue: Arc::default(),
            exchange: None,
            routing_key: None,
            is_message,
            headers_len: columns[0].len(),
            properties_len: columns[1].len(),
            bytes: Bytes::from(bytes),
        }
    }

    /// Decodes headers and properties. The body is not copied.
    pub(crate) fn content(&self) -> Content {
        let body = self.bytes.slice(self.headers_len + self.properties_len..);
        if !self.is_message {
            let reason = &self.bytes[self.headers_len..][..self.properties_len];
            return Content::Unreadable { raw: body, reason: String::from_utf8_lossy(reason).into_owned() };
        }
        let headers = &self.bytes[..self.headers_len];
        let properties = &self.bytes[self.headers_len..][..self.properties_len];
        match (Headers::from_json(headers), Properties::from_json(properties)) {
            (Ok(headers), Ok(properties)) => Content::Message(Message::new(properties, headers, body)),
            (headers, properties) => {
                let reasons = [("headers", headers.err()), ("properties", properties.err())];
                let reason =
                    reasons.into_iter().find_map(|(what, error)| Some(format!("read the {what}: {:#}", error?)));
                Content::Unreadable { raw: self.bytes.clone(), reason: reason.unwrap_or_default() }
            }
        }
    }

    /// The delivery for a worker. `default_exchange` is an empty text that all deliveries share.
    pub(crate) fn into_delivery(self, default_exchange: &Arc<str>) -> Delivery {
        let content = self.content();
        let receipt = Receipt::new(Tag::Number(self.id.cast_unsigned()), self.fence.cast_unsigned());
        let exchange = self.exchange.unwrap_or_else(|| default_exchange.clone());
        let routing_key = self.routing_key.unwrap_or_else(|| self.queue.clone());
        let mut delivery = Delivery::new(receipt, self.queue, exchange, routing_key, content);
        delivery.redelivered = self.redelivered;
        delivery.crashes = self.crashes;
        delivery
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{instant, micros_up};

    #[test]
    fn an_eta_is_never_rounded_to_an_earlier_instant() {
        for nanos in [0_i128, 1, 999, 1000, 1001, 1_700_000_000_123_456_789, -1, -1000, -1001] {
            let at = Timestamp::from_nanosecond(nanos).unwrap();
            let stored = instant(micros_up(at));
            assert!(stored >= at, "{nanos}");
            assert!(stored.as_nanosecond() - nanos < 1000, "{nanos}");
        }
    }
}
