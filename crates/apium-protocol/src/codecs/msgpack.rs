//! msgpack as kombu writes it: text as str, bytes as bin, without extension types.

use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize};

use crate::codecs::serializer::Serializer;
use crate::error::{Error, ErrorKind, Result};
use crate::value::value::Value;

/// How deep lists and maps may nest in a value that is decoded.
const MAX_DEPTH: usize = 256;

/// The serializer `msgpack`. Times, decimals and UUIDs are written as text, since msgpack has no types for them.
pub(crate) struct Msgpack;

impl Serializer for Msgpack {
    fn name(&self) -> &str {
        "msgpack"
    }

    fn content_type(&self) -> &str {
        "application/x-msgpack"
    }

    fn encode(&self, value: &Value) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(128);
        Native(value).serialize(&mut rmp_serde::Serializer::new(&mut out)).map_err(Error::encode)?;
        Ok(out)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Value> {
        let mut rest = bytes;
        let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
        deserializer.set_max_depth(MAX_DEPTH);
        let value = Value::deserialize(&mut deserializer)
            .map_err(|e| Error::new(ErrorKind::Decode, "read msgpack").with_source(e))?;
        drop(deserializer);
        if !rest.is_empty() {
            return Err(Error::new(ErrorKind::Decode, format!("read msgpack: {} bytes follow the value", rest.len())));
        }
        Ok(value)
    }
}

/// Serializes a value with msgpack's own types.
struct Native<'a>(&'a Value);

impl Serialize for Native<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::BigInt(digits) => match digits.parse() {
                Ok(value) => serializer.serialize_u64(value),
                Err(_) => Err(S::Error::custom(format_args!(
                    "the integer {digits} does not fit 64 bits, the most that msgpack has"
                ))),
            },
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Str(text) | Value::DateTime(text) | Value::Date(text) | Value::Time(text) | Value::Decimal(text) => {
                serializer.serialize_str(text)
            }
            Value::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Value::List(list) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                for value in list {
                    seq.serialize_element(&Native(value))?;
                }
                seq.end()
            }
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, &Native(value))?;
                }
                map.end()
            }
            Value::Uuid(uuid) => serializer.serialize_str(&uuid.to_string()),
        }
    }
}
