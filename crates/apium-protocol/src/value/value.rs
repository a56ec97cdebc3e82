//! The type of Python's values: those of JSON, integers of any size, bytes, and the types of kombu's typed envelopes.

use std::fmt;

/// A value of Python.
///
/// In JSON, datetimes, dates, times, decimals, UUIDs and bytes are kombu's typed envelopes: maps with exactly
/// `__type__` and `__value__`. In msgpack bytes are bytes, and the others are text.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Value {
    /// `None`.
    #[default]
    Null,
    /// `True` or `False`.
    Bool(bool),
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer that does not fit `i64`, as decimal digits, perhaps with a `-`.
    BigInt(String),
    /// A float. `3.0` stays a float, `-0.0` keeps its sign; NaN and infinities are possible.
    Float(f64),
    /// Text.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list. Python's tuples become lists.
    List(Vec<Value>),
    /// A map in its order.
    Map(Vec<(String, Value)>),
    /// A `datetime` in ISO 8601, as written (see [`timestamp`](crate::timestamp)).
    DateTime(String),
    /// A `date`, `YYYY-MM-DD`.
    Date(String),
    /// A `time`, `HH:MM:SS[.ffffff]`, perhaps with an offset.
    Time(String),
    /// A `Decimal` as Python's `str` writes it: `3.1400`, `NaN`, `1E+3`.
    Decimal(String),
    /// A `UUID`.
    Uuid(uuid::Uuid),
}

impl Value {
    /// The value of a key, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map()?.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The element at an index, if this is a list that has it.
    pub fn at(&self, index: usize) -> Option<&Value> {
        self.as_list()?.get(index)
    }

    /// Whether it is `Null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer, if it fits `i64`.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer, if it fits `u64`.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Int(value) => u64::try_from(*value).ok(),
            Self::BigInt(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// The number as a float. An integer is rounded to the nearest float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Int(value) => Some(*value as f64),
            Self::BigInt(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// The text, if it is a text, a datetime, a date, a time or a decimal.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) | Self::DateTime(text) | Self::Date(text) | Self::Time(text) | Self::Decimal(text) => {
                Some(text)
            }
            _ => None,
        }
    }

    /// The bytes, if it is `Bytes`.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The elements, if it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// The entries, if it is a map.
    pub fn as_map(&self) -> Option<&[(String, Value)]> {
        match self {
            Self::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The UUID, if it is one.
    pub fn as_uuid(&self) -> Option<uuid::Uuid> {
        match self {
            Self::Uuid(uuid) => Some(*uuid),
            _ => None,
        }
    }

    /// What kind of value it is, with its article, for errors: `an integer`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::BigInt(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Str(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::DateTime(_) => "a datetime",
            Self::Date(_) => "a date",
            Self::Time(_) => "a time",
            Self::Decimal(_) => "a decimal",
            Self::Uuid(_) => "a UUID",
        }
    }
}

/// The JSON text, as Python's `json.dumps` writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_json_bytes()))
    }
}

macro_rules! from {
    ($($from:ty => |$value:ident| $make:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $make
            }
        }
    )*};
}

from! {
    () => |_unit| Self::Null;
    bool => |value| Self::Bool(value);
    i8 => |value| Self::Int(value.into());
    i16 => |value| Self::Int(value.into());
    i32 => |value| Self::Int(value.into());
    i64 => |value| Self::Int(value);
    u8 => |value| Self::Int(value.into());
    u16 => |value| Self::Int(value.into());
    u32 => |value| Self::Int(value.into());
    u64 => |value| i64::try_from(value).map_or_else(|_| Self::BigInt(value.to_string()), Self::Int);
    i128 => |value| i64::try_from(value).map_or_else(|_| Self::BigInt(value.to_string()), Self::Int);
    u128 => |value| i64::try_from(value).map_or_else(|_| Self::BigInt(value.to_string()), Self::Int);
    usize => |value| i64::try_from(value).map_or_else(|_| Self::BigInt(value.to_string()), Self::Int);
    f32 => |value| Self::Float(value.into());
    f64 => |value| Self::Float(value);
    &str => |value| Self::Str(value.into());
    String => |value| Self::Str(value);
    &[u8] => |value| Self::Bytes(value.into());
    bytes::Bytes => |value| Self::Bytes(value.into());
    uuid::Uuid => |value| Self::Uuid(value);
    jiff::Timestamp => |value| Self::DateTime(crate::timestamp::format(value));
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Value {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}
