//! Serde for values and JSON texts, with any serializer and deserializer.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, SerializeStruct, Serializer};

use crate::value::parse::{from_entries, key_text};
use crate::value::value::Value;

/// The name by which `serde_json` passes JSON text on unchanged (its `RawValue`). A test checks that it still does.
pub(crate) const RAW: &str = "$serde_json::private::RawValue";

/// Serializes JSON text so that `serde_json`, and this crate, write it unchanged.
pub(crate) fn serialize_raw<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let mut raw = serializer.serialize_struct(RAW, 1)?;
    raw.serialize_field(RAW, text)?;
    raw.end()
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Str(text) => serializer.serialize_str(text),
            Self::List(list) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                for value in list {
                    seq.serialize_element(value)?;
                }
                seq.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            typed => serialize_raw(&typed.to_string(), serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match raw_or_value(deserializer)? {
            RawOrValue::Text(text) => Self::parse(&text).map_err(|error| de::Error::custom(format_args!("{error:#}"))),
            RawOrValue::Value(value) => Ok(value),
        }
    }
}

/// What [`raw_or_value`] gets from a deserializer.
pub(crate) enum RawOrValue {
    /// JSON text.
    Text(String),
    /// A value, built from what the deserializer visited.
    Value(Value),
}

impl From<Value> for RawOrValue {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

/// Gets the JSON text if the deserializer can give it, since the text keeps every digit; otherwise the value.
pub(crate) fn raw_or_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RawOrValue, D::Error> {
    deserializer.deserialize_newtype_struct(RAW, AnyVisitor)
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = RawOrValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawOrValue, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawOrValue, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_none<E: de::Error>(self) -> Result<RawOrValue, E> {
        Ok(Value::Null.into())
    }

    fn visit_unit<E: de::Error>(self) -> Result<RawOrValue, E> {
        Ok(Value::Null.into())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<RawOrValue, E> {
        Ok(Value::Bool(value).into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<RawOrValue, E> {
        Ok(Value::Int(value).into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<RawOrValue, E> {
        Ok(Value::from(value).into())
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<RawOrValue, E> {
        Ok(Value::from(value).into())
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<RawOrValue, E> {
        Ok(Value::from(value).into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<RawOrValue, E> {
        Ok(Value::Float(value).into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RawOrValue, E> {
        Ok(Value::Str(text.into()).into())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<RawOrValue, E> {
        Ok(Value::Str(text).into())
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<RawOrValue, E> {
        Ok(Value::Bytes(bytes.into()).into())
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<RawOrValue, E> {
        Ok(Value::Bytes(bytes).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawOrValue, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list).into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawOrValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Key>()? {
            if entries.is_empty() && key.0 == RAW {
                return map.next_value().map(RawOrValue::Text);
            }
            entries.push((key.0, map.next_value()?));
        }
        Ok(from_entries(entries).into())
    }
}

/// The key of a map as text. It is deserialized like any value, so that [`RAW`], the key of raw text, is seen too.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map key")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Key, E> {
                key(Value::Bool(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Key, E> {
                key(Value::Int(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Key, E> {
                key(value.into())
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Key, E> {
                key(Value::Float(value))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Key, E> {
                key(Value::Null)
            }

            fn visit_none<E: de::Error>(self) -> Result<Key, E> {
                key(Value::Null)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Key, E> {
                Ok(Key(text.into()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Key, E> {
                Ok(Key(text))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Key, E> {
                key(Value::Bytes(bytes.into()))
            }
        }
        fn key<E: de::Error>(value: Value) -> Result<Key, E> {
            let kind = value.kind();
            key_text(value).map(Key).ok_or_else(|| E::custom(format_args!("{kind} cannot be a map's key")))
        }
        deserializer.deserialize_any(KeyVisitor)
    }
}
