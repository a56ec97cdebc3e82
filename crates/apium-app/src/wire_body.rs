//! The body of a message: arguments and follow-ups by the serializer and compression that were asked for.

use std::borrow::Cow;

use apium_protocol::body::Body;
use apium_protocol::message::Message;

use crate::error::{Error, ErrorKind, Result};
use crate::publisher::Publisher;

/// Serializers and compressions.
#[derive(Debug, Default)]
pub struct Codecs;

impl Publisher {
    /// Encodes `body` into `message`, with the content type, encoding and compression that tell how to read it.
    pub(crate) fn encode(
        &self,
        body: &Body,
        serializer: Option<&str>,
        compression: Option<&str>,
        message: &mut Message,
    ) -> Result<()> {
        let serializer = serializer.unwrap_or(&self.config().task_serializer);
        if serializer != "json" || compression.is_some_and(|name| !name.is_empty()) {
            return Err(Error::new(ErrorKind::Codec, format!("use the serializer {serializer}: only json is there")));
        }
        message.body = body.to_json().into();
        message.properties.content_type = Some(Cow::Borrowed("application/json"));
        message.properties.content_encoding = Some(Cow::Borrowed("utf-8"));
        Ok(())
    }
}
