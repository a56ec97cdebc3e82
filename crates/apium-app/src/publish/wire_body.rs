//! The body of a message: arguments and follow-ups by the serializer and compression that were asked for.

use apium_protocol::message::body::Body;
use apium_protocol::message::message::Message;

use crate::error::Result;
use crate::publish::publisher::Publisher;

impl Publisher {
    /// Encodes `body` into `message`, with the content type, encoding and compression that tell how to read it. What is
    /// `None` is taken from the settings; an empty compression is none.
    pub(crate) fn encode(
        &self,
        body: &Body,
        serializer: Option<&str>,
        compression: Option<&str>,
        message: &mut Message,
    ) -> Result<()> {
        let config = self.config();
        let serializer = serializer.unwrap_or(&config.task_serializer);
        let compression = compression.or(config.task_compression.as_deref()).filter(|name| !name.is_empty());
        let encoded = self.codecs().encode_body(body, serializer, compression)?;
        message.body = encoded.bytes;
        message.properties.content_type = Some(encoded.content_type);
        message.properties.content_encoding = Some(encoded.content_encoding);
        message.headers.compression = encoded.compression;
        Ok(())
    }
}
