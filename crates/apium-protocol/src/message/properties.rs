//! The properties of a message.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{ErrorKind, Result};
use crate::json::lenient;
use crate::json::map_writer::{MapWriter, key};
use crate::json::reader::{JsonReader, utf8};
use crate::json::text::{Json, serde_by_json};

/// The usual values of `content_type`, which are read without an allocation.
const CONTENT_TYPES: [&str; 3] = ["application/json", "application/x-msgpack", "application/x-yaml"];

/// The usual values of `content_encoding`.
const CONTENT_ENCODINGS: [&str; 2] = ["utf-8", "binary"];

/// The properties of a message: those of AMQP, under the names that kombu gives them. Those that belong to an envelope
/// (delivery tag, delivery info, body encoding) are in [`Envelope`](crate::message::envelope::Envelope).
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Properties {
    /// The MIME type of the serializer.
    pub content_type: Option<Cow<'static, str>>,
    /// `utf-8` or `binary`.
    pub content_encoding: Option<Cow<'static, str>>,
    /// The task id, if Celery or Apium sent the message.
    pub correlation_id: Option<Arc<str>>,
    /// The queue to which replies and delivered results go.
    pub reply_to: Option<Arc<str>>,
    /// 2 is persistent, 1 is transient.
    pub delivery_mode: Option<u8>,
    /// The priority. The broker says whether larger or smaller ones come first.
    pub priority: Option<u8>,
    /// After how many milliseconds the message expires, as decimal text.
    pub expiration: Option<String>,
    /// All other properties (`message_id`, `app_id`, `type`, …).
    pub extra: BTreeMap<String, Json>,
}

impl Properties {
    /// The properties that are set, as a JSON map by the names of this type's fields; `extra` comes last.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let mut map = MapWriter::new(&mut out, &self.extra);
        map.text_if(key!("content_type"), self.content_type.as_deref());
        map.text_if(key!("content_encoding"), self.content_encoding.as_deref());
        map.text_if(key!("correlation_id"), self.correlation_id.as_deref());
        map.text_if(key!("reply_to"), self.reply_to.as_deref());
        if let Some(mode) = self.delivery_mode {
            map.int(key!("delivery_mode"), Some(mode.into()));
        }
        if let Some(priority) = self.priority {
            map.int(key!("priority"), Some(priority.into()));
        }
        map.text_if(key!("expiration"), self.expiration.as_deref());
        map.extra();
        map.end();
        out
    }

    /// Reads a JSON map of properties. Null counts as missing, numbers may come as floats or texts. Unknown properties
    /// go to `extra`.
    ///
    /// # Errors
    /// If the bytes are not a JSON map, or if priority or delivery mode is not a number.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let mut properties = Self::default();
        let mut reader = JsonReader::new(utf8(bytes)?);
        reader.object(|key, reader| {
            properties
                .read_field(&key, reader)
                .map_err(|e| e.within(ErrorKind::Decode, &format!("the property `{key}`")))
        })?;
        reader.end()?;
        Ok(properties)
    }

    /// Reads one property's value.
    pub(crate) fn read_field(&mut self, key: &str, reader: &mut JsonReader<'_>) -> Result<()> {
        match key {
            "content_type" => self.content_type = read_content_type(reader)?,
            "content_encoding" => self.content_encoding = read_content_encoding(reader)?,
            "correlation_id" => self.correlation_id = lenient::owned(reader)?,
            "reply_to" => self.reply_to = lenient::owned(reader)?,
            "delivery_mode" => self.delivery_mode = lenient::octet(reader)?,
            "priority" => self.priority = lenient::octet(reader)?,
            "expiration" => self.expiration = lenient::owned(reader)?,
            _ => {
                self.extra.insert(key.to_owned(), reader.json()?);
            }
        }
        Ok(())
    }
}

/// Reads a content type.
pub(crate) fn read_content_type(reader: &mut JsonReader<'_>) -> Result<Option<Cow<'static, str>>> {
    lenient::shared(reader, &CONTENT_TYPES)
}

/// Reads a content encoding.
pub(crate) fn read_content_encoding(reader: &mut JsonReader<'_>) -> Result<Option<Cow<'static, str>>> {
    lenient::shared(reader, &CONTENT_ENCODINGS)
}

serde_by_json! { Properties }
