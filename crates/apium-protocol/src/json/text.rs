//! JSON text that is passed on without being decoded.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::json::reader::JsonReader;
use crate::value::serialize::{RawOrValue, raw_or_value, serialize_raw};
use crate::value::value::Value;

pub use crate::json::list::JsonList;

/// One JSON value as text. It is Python's JSON: `NaN` and `Infinity` are allowed, integers have any size, and datetime,
/// date, time, Decimal, UUID and bytes are kombu's typed envelopes. Cheap to clone; usually a slice of a message's
/// body.
///
/// Two values are equal if their texts are; `1.0` and `1` differ. Serde sees the value, not a string that contains it.
/// `serde_json`, and the decoding and encoding of this type, pass the text on unchanged.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Bytes);

impl Json {
    /// `null`.
    pub const NULL: Self = Self(Bytes::from_static(b"null"));

    /// `null`.
    pub const fn null() -> Self {
        Self::NULL
    }

    /// Encodes a value as Python's `json.dumps` does: in ASCII, with `", "` and `": "` as separators, with `NaN` and
    /// `Infinity` for floats that are not finite. Bytes (`serialize_bytes`) become kombu's envelope.
    ///
    /// # Errors
    /// If the value's `Serialize` fails, or if a map's key is not a text, a number, a boolean or null.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        let mut out = Vec::with_capacity(64);
        value.serialize(crate::json::serialize::PythonSerializer::new(&mut out)).map_err(Error::encode)?;
        Ok(Self(out.into()))
    }

    /// Encodes a [`Value`] as Python's `json.dumps` does.
    pub fn from_value(value: &Value) -> Self {
        Self(value.to_json_bytes().into())
    }

    /// Checks and copies a JSON text. Blanks around it are removed.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn from_text(text: &str) -> Result<Self> {
        Self::from_bytes(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// Checks a JSON text and keeps it without copying. Blanks around it are removed.
    ///
    /// # Errors
    /// If it is not UTF-8, or not JSON.
    pub fn from_bytes(bytes: Bytes) -> Result<Self> {
        let mut reader = JsonReader::of(&bytes)?;
        let value = reader.json()?;
        reader.end()?;
        Ok(value)
    }

    /// Keeps bytes that are known to be one JSON value in UTF-8.
    pub(crate) fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Decodes to a type. Integers are exact. A typed envelope can be read as text or bytes (a Python datetime as a
    /// `String`), and also as the map that it is.
    ///
    /// In a text, half a surrogate pair becomes U+FFFD, since no text of Rust can contain it. Python has such texts:
    /// the name of a file whose bytes are not UTF-8 is `'\udce9.txt'`. A value of the type `Json` has it unchanged.
    ///
    /// A value may nest 1,024 levels deep for the types [`Value`] and `Json`, and 256 for others.
    ///
    /// # Errors
    /// If the value does not fit the type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        // `serde_json` would round integers beyond 64 bits, and it refuses typed envelopes and `NaN`.
        if !has_long_number(&self.0)
            && let Ok(value) = serde_json::from_slice(&self.0)
        {
            return Ok(value);
        }
        T::deserialize(self.to_value()?).map_err(Error::decode)
    }

    /// Decodes to a [`Value`], without loss.
    ///
    /// # Errors
    /// See [`Value::parse`].
    pub fn to_value(&self) -> Result<Value> {
        Value::parse(self.as_str())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("null")
    }

    /// The text's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text's bytes, shared.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        &*self.0 == b"null"
    }

    /// The JSON for people to read: in UTF-8, with characters instead of `\uXXXX`.
    pub fn to_utf8(&self) -> String {
        crate::json::utf8::unescaped(self.as_str())
    }
}

/// The fewest digits of an integer that may not fit 64 bits.
const LONG: usize = 19;

/// Whether the text contains an integer that does not fit 64 bits. It looks only at every `LONG`th byte, since a run of
/// `LONG` digits contains one of them.
pub(crate) fn has_long_number(text: &[u8]) -> bool {
    let mut at = LONG - 1;
    while at < text.len() {
        if text[at].is_ascii_digit() {
            let before = text[..at].iter().rev().take_while(|b| b.is_ascii_digit()).count();
            let end = at + text[at..].iter().take_while(|b| b.is_ascii_digit()).count();
            let digits = std::str::from_utf8(&text[at - before..end]).unwrap_or_default();
            let negative = text[..at - before].ends_with(b"-");
            let fits =
                digits.len() < LONG || digits.parse::<u64>().is_ok_and(|n| !negative || n <= i64::MIN.unsigned_abs());
            if !fits {
                return true;
            }
            at = end;
        }
        at += LONG;
    }
    false
}

impl Default for Json {
    fn default() -> Self {
        Self::NULL
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Json {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::from_text(text)
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        Self::from_value(value)
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self::from_value(&value)
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        // A tree of `serde_json` can always be written as JSON.
        Self::from_serialize(&value).unwrap_or_default()
    }
}

impl TryFrom<&Json> for Value {
    type Error = Error;

    fn try_from(json: &Json) -> Result<Self> {
        json.to_value()
    }
}

impl JsonReader<'_> {
    /// The next value.
    pub(crate) fn json(&mut self) -> Result<Json> {
        self.raw_bytes().map(Json::from_checked)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_raw(self.as_str(), serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match raw_or_value(deserializer)? {
            RawOrValue::Text(text) => {
                Self::from_bytes(text.into()).map_err(|error| serde::de::Error::custom(format_args!("{error:#}")))
            }
            RawOrValue::Value(value) => Ok(value.into()),
        }
    }
}

/// Implements serde's traits for types that have `to_json` and `from_json`, so that serde passes on their JSON.
macro_rules! serde_by_json {
    ($($type:ty)*) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let text = String::from_utf8(self.to_json()).map_err(serde::ser::Error::custom)?;
                crate::value::serialize::serialize_raw(&text, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let json = crate::json::text::Json::deserialize(deserializer)?;
                Self::from_json(json.as_bytes()).map_err(|error| serde::de::Error::custom(format_args!("{error:#}")))
            }
        }
    )*};
}

pub(crate) use serde_by_json;
