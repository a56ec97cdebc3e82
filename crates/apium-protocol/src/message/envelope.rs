//! kombu's envelope: a message as one JSON text, which is what Redis lists and channels contain.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::json::base64;
use crate::json::lenient;
use crate::json::map_writer::{MapWriter, key, write_text};
use crate::json::reader::JsonReader;
use crate::json::write::write_str;
use crate::message::headers::Headers;
use crate::message::message::Message;
use crate::message::properties::{Properties, read_content_encoding, read_content_type};

pub use crate::message::redelivered::{mark_redelivered, unmark_redelivered};

/// The properties that belong to the envelope and not to the message.
pub(crate) const OWN: [&str; 3] = ["delivery_info", "delivery_tag", "body_encoding"];

/// The mark of a message that a worker returned to its queue: a field in the headers and in the delivery info.
pub(crate) const REDELIVERED: &str = "redelivered";

/// A message, and what its envelope says about its delivery.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Envelope {
    /// The message.
    pub message: Message,
    /// The delivery tag: a UUID if kombu wrote it, otherwise any text, or the text of a number. Celery's workers need
    /// one.
    pub delivery_tag: Option<Box<str>>,
    /// The exchange that it was published to; empty for the default exchange.
    pub exchange: Option<Arc<str>>,
    /// The routing key that it was published with.
    pub routing_key: Option<Arc<str>>,
    /// Whether it was delivered before. The mark is not among the headers of the message.
    pub redelivered: bool,
}

/// The fields of an envelope. They come in any order, and are put together when all are read.
#[derive(Default)]
struct Parts<'a> {
    body: Option<Cow<'a, str>>,
    body_encoding: Option<Cow<'a, str>>,
    content_type: Option<Cow<'static, str>>,
    content_encoding: Option<Cow<'static, str>>,
    headers: Headers,
    properties: Properties,
    delivery_tag: Option<Box<str>>,
    exchange: Option<Arc<str>>,
    routing_key: Option<Arc<str>>,
    /// Whether the headers have the mark, and whether the delivery info has it.
    redelivered: [bool; 2],
}

impl Envelope {
    /// An envelope without a delivery tag, an exchange or a routing key.
    pub fn new(message: Message) -> Self {
        Self { message, ..Self::default() }
    }

    /// Reads an envelope. Headers, properties, delivery info and delivery tag may be missing or null. Without a body
    /// encoding the body is its text. Values that are not decoded are slices of `raw`. If a key comes twice, its last
    /// value counts.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the bytes are not a JSON map, if a value has the wrong type, or if the body is not in
    /// its encoding.
    pub fn decode(raw: &Bytes) -> Result<Self> {
        Self::read(raw).map_err(|e| e.within(ErrorKind::Decode, "the envelope"))
    }

    fn read(raw: &Bytes) -> Result<Self> {
        let mut reader = JsonReader::of(raw)?;
        let mut parts = Parts::default();
        reader.object(|key, reader| {
            parts.read_field(&key, reader).map_err(|e| e.within(ErrorKind::Decode, &format!("`{key}`")))
        })?;
        reader.end()?;
        let body = parts.body(raw)?;
        let mut properties = parts.properties;
        properties.content_type = parts.content_type.or(properties.content_type);
        properties.content_encoding = parts.content_encoding.or(properties.content_encoding);
        Ok(Self {
            message: Message { properties, headers: parts.headers, body },
            delivery_tag: parts.delivery_tag,
            exchange: parts.exchange,
            routing_key: parts.routing_key,
            redelivered: parts.redelivered.contains(&true),
        })
    }
}

impl<'a> Parts<'a> {
    fn read_field(&mut self, key: &str, reader: &mut JsonReader<'a>) -> Result<()> {
        match key {
            "body" => self.body = if reader.null() { None } else { Some(reader.string()?) },
            "content-type" => self.content_type = read_content_type(reader)?,
            "content-encoding" => self.content_encoding = read_content_encoding(reader)?,
            "headers" => self.read_headers(reader)?,
            "properties" => self.read_properties(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    }

    fn read_headers(&mut self, reader: &mut JsonReader<'a>) -> Result<()> {
        self.headers = Headers::default();
        self.redelivered[0] = false;
        if reader.null() {
            return Ok(());
        }
        reader.object(|key, reader| {
            if key == REDELIVERED {
                self.redelivered[0] = is_truthy(reader)?;
                return Ok(());
            }
            self.headers.read_field(&key, reader)
        })
    }

    fn read_properties(&mut self, reader: &mut JsonReader<'a>) -> Result<()> {
        self.properties = Properties::default();
        self.body_encoding = None;
        self.delivery_tag = None;
        self.forget_delivery_info();
        if reader.null() {
            return Ok(());
        }
        reader.object(|key, reader| {
            let read = match &*key {
                "delivery_info" => self.read_delivery_info(reader),
                "delivery_tag" => lenient::owned(reader).map(|tag| self.delivery_tag = tag),
                "body_encoding" => lenient::text(reader).map(|encoding| self.body_encoding = encoding),
                _ => self.properties.read_field(&key, reader),
            };
            read.map_err(|e| e.within(ErrorKind::Decode, &format!("the property `{key}`")))
        })
    }

    fn read_delivery_info(&mut self, reader: &mut JsonReader<'a>) -> Result<()> {
        self.forget_delivery_info();
        if reader.null() {
            return Ok(());
        }
        reader.object(|key, reader| {
            match &*key {
                "exchange" => self.exchange = lenient::owned(reader)?,
                "routing_key" => self.routing_key = lenient::owned(reader)?,
                REDELIVERED => self.redelivered[1] = is_truthy(reader)?,
                _ => reader.skip()?,
            }
            Ok(())
        })
    }

    fn forget_delivery_info(&mut self) {
        (self.exchange, self.routing_key) = (None, None);
        self.redelivered[1] = false;
    }

    /// The bytes of the body, after its body encoding is removed.
    fn body(&self, raw: &Bytes) -> Result<Bytes> {
        let Some(text) = &self.body else { return Ok(Bytes::new()) };
        match self.body_encoding.as_deref() {
            Some("base64") => match base64::decode(text) {
                Some(bytes) => Ok(bytes.into()),
                None => fail("read `body`, which is not base64 although `body_encoding` says so"),
            },
            // kombu's names for a body that is not encoded.
            None | Some("" | "utf-8" | "utf8") => Ok(match text {
                Cow::Borrowed(text) => raw.slice_ref(text.as_bytes()),
                Cow::Owned(text) => Bytes::copy_from_slice(text.as_bytes()),
            }),
            Some(other) => fail(format!("read `body`, whose encoding {other:?} is neither base64 nor utf-8")),
        }
    }
}

fn fail<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::Decode, what))
}

/// Whether the value is true in Python.
fn is_truthy(reader: &mut JsonReader<'_>) -> Result<bool> {
    Ok(!matches!(reader.raw()?, "false" | "null" | "0" | "0.0" | "\"\"" | "[]" | "{}"))
}

/// Appends a message in its envelope to `out`, byte for byte as kombu writes it for Celery: the same keys in the same
/// order.
///
/// What is not set is left out, but content type and content encoding are written as null. So [`Envelope::decode`]
/// returns the same message. (Celery's workers stop at a message without a content type; task messages have one.)
/// `properties.extra` is sorted by name. Delivery tag, delivery info and body encoding in it are left out, since the
/// envelope has its own.
pub fn encode(message: &Message, exchange: &str, routing_key: &str, delivery_tag: &str, out: &mut Vec<u8>) {
    let Message { properties, headers, body } = message;
    out.reserve(body.len().div_ceil(3) * 4 + 1024);
    out.extend_from_slice(b"{\"body\": \"");
    base64::encode_into(body, out);
    out.extend_from_slice(b"\", \"content-encoding\": ");
    write_text(out, properties.content_encoding.as_deref());
    out.extend_from_slice(b", \"content-type\": ");
    write_text(out, properties.content_type.as_deref());
    out.extend_from_slice(b", \"headers\": ");
    headers.write(out);
    out.extend_from_slice(b", \"properties\": ");

    let all = &properties.extra;
    let extra = if OWN.iter().any(|own| all.contains_key(*own)) {
        let mut extra = all.clone();
        extra.retain(|key, _| !OWN.contains(&key.as_str()));
        Cow::Owned(extra)
    } else {
        Cow::Borrowed(all)
    };
    let mut map = MapWriter::new(out, &extra);
    map.text_if(key!("correlation_id"), properties.correlation_id.as_deref());
    map.text_if(key!("reply_to"), properties.reply_to.as_deref());
    // In kombu these are keyword arguments, which come before what kombu adds.
    map.extra();
    if let Some(mode) = properties.delivery_mode {
        map.int(key!("delivery_mode"), Some(mode.into()));
    }
    map.text_if(key!("expiration"), properties.expiration.as_deref());
    map.with(key!("delivery_info"), |out| {
        out.extend_from_slice(b"{\"exchange\": ");
        write_str(out, exchange);
        out.extend_from_slice(b", \"routing_key\": ");
        write_str(out, routing_key);
        out.push(b'}');
    });
    if let Some(priority) = properties.priority {
        map.int(key!("priority"), Some(priority.into()));
    }
    map.text(key!("body_encoding"), Some("base64"));
    map.text(key!("delivery_tag"), Some(delivery_tag));
    map.end();
    out.push(b'}');
}
