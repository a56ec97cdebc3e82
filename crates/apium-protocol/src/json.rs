//! JSON text that is passed on without being taken apart.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// One JSON value as text (Python's JSON: `NaN` and `Infinity` are allowed, integers have any size, kombu's typed envelopes
/// stand for datetime, date, time, Decimal, UUID and bytes). Cheap to clone; usually a slice of a message's body.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Bytes);

impl Json {
    /// `null`.
    pub const NULL: Self = Self(Bytes::from_static(b"null"));

    /// Encodes a value.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        Ok(Self(serde_json::to_vec(value).map_err(Error::encode)?.into()))
    }

    /// Decodes to a type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.0).map_err(Error::decode)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("null")
    }

    /// The text's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        &*self.0 == b"null"
    }
}

impl std::fmt::Debug for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
