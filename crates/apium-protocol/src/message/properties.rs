//! Message properties.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{ErrorKind, Result};
use crate::json::lenient;
use crate::json::map_writer::MapWriter;
use crate::json::reader::{JsonReader, utf8};
use crate::json::text::Json;
use crate::value::serialize::serde_by_json;

/// What `content_type` usually is.
const CONTENT_TYPES: [&str; 3] = ["application/json", "application/x-msgpack", "application/x-yaml"];

/// What `content_encoding` usually is.
const CONTENT_ENCODINGS: [&str; 2] = ["utf-8", "binary"];

/// Message properties. What belongs to one transport's envelope (delivery tag, delivery info, body encoding) is not here.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Properties {
    /// MIME type of the serializer.
    pub content_type: Option<Cow<'static, str>>,
    /// `utf-8` or `binary`.
    pub content_encoding: Option<Cow<'static, str>>,
    /// Equals the task id when Celery sends it.
    pub correlation_id: Option<Arc<str>>,
    /// Where an RPC reply goes.
    pub reply_to: Option<Arc<str>>,
    /// 2 persistent, 1 transient.
    pub delivery_mode: Option<u8>,
    /// The priority.
    pub priority: Option<u8>,
    /// Milliseconds as a decimal text, when the message expires.
    pub expiration: Option<String>,
    /// Whatever else was given (`message_id`, `app_id`, `type`, …).
    pub extra: BTreeMap<String, Json>,
}

impl Properties {
    /// The properties that are set as a JSON map, by their names here, `extra` last.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let mut map = MapWriter::new(&mut out, &self.extra);
        map.text_if("content_type", self.content_type.as_deref());
        map.text_if("content_encoding", self.content_encoding.as_deref());
        map.text_if("correlation_id", self.correlation_id.as_deref());
        map.text_if("reply_to", self.reply_to.as_deref());
        if let Some(mode) = self.delivery_mode {
            map.int("delivery_mode", Some(mode.into()));
        }
        if let Some(priority) = self.priority {
            map.int("priority", Some(priority.into()));
        }
        map.text_if("expiration", self.expiration.as_deref());
        map.extra();
        map.end();
        out
    }

    /// Reads a JSON map of properties. Null reads as missing, numbers may come as floats or texts; unknown ones go to `extra`.
    ///
    /// # Errors
    /// When the bytes are not a JSON map, or the priority or delivery mode is not a number.
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
            "content_type" => self.content_type = known_content_type(reader)?,
            "content_encoding" => self.content_encoding = known_content_encoding(reader)?,
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

/// Reads a content type, wherever it stands.
pub(crate) fn known_content_type(reader: &mut JsonReader<'_>) -> Result<Option<Cow<'static, str>>> {
    lenient::known(reader, &CONTENT_TYPES)
}

/// Reads a content encoding, wherever it stands.
pub(crate) fn known_content_encoding(reader: &mut JsonReader<'_>) -> Result<Option<Cow<'static, str>>> {
    lenient::known(reader, &CONTENT_ENCODINGS)
}

serde_by_json! { Properties }
