//! What a compression is.

use crate::error::Result;

/// Compresses bodies. Registered by name in [`Codecs`](crate::codecs::codecs::Codecs).
pub trait Compression: Send + Sync {
    /// The names in settings and calls, the usual one first: `gzip`, `zlib`.
    fn names(&self) -> &[&str];

    /// The MIME type in the header `compression`.
    fn mime(&self) -> &str;

    /// Compresses.
    ///
    /// # Errors
    /// When it fails, which for memory is not to be expected.
    fn compress(&self, bytes: &[u8]) -> Result<Vec<u8>>;

    /// Decompresses to no more than `limit` bytes.
    ///
    /// # Errors
    /// When the bytes are broken, or become more than `limit`.
    fn decompress(&self, bytes: &[u8], limit: usize) -> Result<Vec<u8>>;
}
