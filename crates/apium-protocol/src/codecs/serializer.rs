//! The traits of serializers and compressions.

use crate::error::Result;
use crate::value::value::Value;

/// Writes values as bytes and reads them back, like a serializer of kombu. It is registered with
/// [`Codecs::with_serializer`](crate::codecs::codecs::Codecs::with_serializer). `Codecs` reads and writes JSON itself.
pub trait Serializer: Send + Sync {
    /// The name in settings and calls: `msgpack`.
    fn name(&self) -> &str;

    /// The MIME type in messages: `application/x-msgpack`.
    fn content_type(&self) -> &str;

    /// The content encoding in messages: `utf-8` if the bytes are text, else `binary`.
    fn content_encoding(&self) -> &str {
        "binary"
    }

    /// Writes a value.
    ///
    /// # Errors
    /// If the format cannot express it.
    fn encode(&self, value: &Value) -> Result<Vec<u8>>;

    /// Reads a value. The bytes may come from anybody: it must neither panic nor allocate without bound.
    ///
    /// # Errors
    /// If the bytes are not of this format.
    fn decode(&self, bytes: &[u8]) -> Result<Value>;
}

/// Compresses and decompresses bodies, like a compression of kombu. It is registered with
/// [`Codecs::with_compression`](crate::codecs::codecs::Codecs::with_compression).
pub trait Compression: Send + Sync {
    /// The names in settings and calls, the usual one first: `gzip`, `zlib`. There is at least one.
    fn names(&self) -> &[&str];

    /// The MIME type in the header `compression`.
    fn mime(&self) -> &str;

    /// Compresses.
    ///
    /// # Errors
    /// If the compression fails.
    fn compress(&self, bytes: &[u8]) -> Result<Vec<u8>>;

    /// Decompresses to no more than `limit` bytes.
    ///
    /// # Errors
    /// If the bytes are damaged, or become more than `limit`.
    fn decompress(&self, bytes: &[u8], limit: usize) -> Result<Vec<u8>>;
}
