//! A message as a broker carries it: properties, headers and a body that is still encoded.

use bytes::Bytes;

use crate::message::headers::Headers;
use crate::message::properties::Properties;

/// A message as a broker carries it.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Message {
    /// The properties (AMQP Basic properties).
    pub properties: Properties,
    /// The headers.
    pub headers: Headers,
    /// The body: serialized, then compressed when the header `compression` says so.
    pub body: Bytes,
}

impl Message {
    /// A message of these parts.
    pub fn new(properties: Properties, headers: Headers, body: Bytes) -> Self {
        Self { properties, headers, body }
    }
}
