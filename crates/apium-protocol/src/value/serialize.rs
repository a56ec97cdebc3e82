//! Values and JSON texts as serde data: into any serializer, and out of any deserializer.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, SerializeStruct, Serializer};

use crate::value::parse::{from_entries, key_text};
use crate::value::value::Value;

/// The name under which `serde_json` passes text through untouched (its `RawValue`); a test holds it to that.
pub(crate) const RAW: &str = "$serde_json::private::RawValue";

/// Serializes JSON text as itself.
pub(crate) fn serialize_raw<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let mut raw = serializer.serialize_struct(RAW, 1)?;
    raw.serialize_field(RAW, text)?;
    raw.end()
}

/// serde for a type that has a wire form: it passes as one JSON text.
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
                Self::from_json(json.as_bytes()).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

pub(crate) use serde_by_json;

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
        match take(deserializer)? {
            TakenRaw::Text(text) => Self::parse(&text).map_err(de::Error::custom),
            TakenRaw::Value(value) => Ok(value),
        }
    }
}

/// What a deserializer gave.
pub(crate) enum TakenRaw {
    /// JSON text.
    Text(String),
    /// A value built from what it visited.
    Value(Value),
}

impl From<Value> for TakenRaw {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

/// Takes JSON text as it is where the deserializer has it, so that every digit is kept, and else builds the value.
pub(crate) fn take<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TakenRaw, D::Error> {
    deserializer.deserialize_newtype_struct(RAW, AnyVisitor)
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = TakenRaw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<TakenRaw, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<TakenRaw, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_none<E: de::Error>(self) -> Result<TakenRaw, E> {
        Ok(Value::Null.into())
    }

    fn visit_unit<E: de::Error>(self) -> Result<TakenRaw, E> {
        Ok(Value::Null.into())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<TakenRaw, E> {
        Ok(Value::Bool(value).into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<TakenRaw, E> {
        Ok(Value::Int(value).into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<TakenRaw, E> {
        Ok(Value::from(value).into())
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<TakenRaw, E> {
        Ok(Value::from(value).into())
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<TakenRaw, E> {
        Ok(Value::from(value).into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<TakenRaw, E> {
        Ok(Value::Float(value).into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TakenRaw, E> {
        Ok(Value::Str(text.into()).into())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<TakenRaw, E> {
        Ok(Value::Str(text).into())
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<TakenRaw, E> {
        Ok(Value::Bytes(bytes.into()).into())
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<TakenRaw, E> {
        Ok(Value::Bytes(bytes).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TakenRaw, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list).into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TakenRaw, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Key>()? {
            if entries.is_empty() && key.0 == RAW {
                return map.next_value().map(TakenRaw::Text);
            }
            entries.push((key.0, map.next_value()?));
        }
        from_entries(entries).map(TakenRaw::Value).map_err(de::Error::custom)
    }
}

/// A map's key as text. Identifiers, so that `serde_json`'s raw text is announced as one.
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
