//! A deserializer that reads types from a `Value`.
//!
//! Serde reads by recursion, and some types are recursive themselves (`serde_json::Value`). So a value that nests
//! deeper than `MAX_DEPTH` is refused by those that read list by list. `Value` and `Json` take it whole.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::value::serialize::RAW;
use crate::value::value::Value;

/// How deep lists and maps may nest for a type that reads them one inside the other. A thread's stack has room for it.
const MAX_DEPTH: usize = 256;

/// Why a type cannot be read from a value.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueError(String);

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}

impl de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type Result<T, E = ValueError> = std::result::Result<T, E>;

impl<'de> IntoDeserializer<'de, ValueError> for Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// A value, and how many levels may nest in it.
struct Level {
    value: Value,
    left: usize,
}

impl Level {
    fn outermost(value: Value) -> Self {
        Self { value, left: MAX_DEPTH }
    }

    /// How many levels may nest in an element of this list or map.
    fn left_inside(&self) -> Result<usize> {
        self.left.checked_sub(1).ok_or_else(|| {
            de::Error::custom(format_args!(
                "it nests deeper than {MAX_DEPTH} levels; a parameter of the type `Json` or `Value` takes it whole"
            ))
        })
    }
}

impl<'de> IntoDeserializer<'de, ValueError> for Level {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl Value {
    /// Visits an integer beyond 64 bits signed; fails if it does not fit 128 bits.
    fn visit_big<'de, V: Visitor<'de>>(digits: &str, visitor: V) -> Result<V::Value> {
        if let Ok(value) = digits.parse() {
            visitor.visit_u64(value)
        } else if let Ok(value) = digits.parse() {
            visitor.visit_i128(value)
        } else if let Ok(value) = digits.parse() {
            visitor.visit_u128(value)
        } else {
            Err(de::Error::custom(format_args!("the integer {digits} does not fit 128 bits")))
        }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Null => Unexpected::Unit,
            Self::Bool(value) => Unexpected::Bool(*value),
            Self::Int(value) => Unexpected::Signed(*value),
            Self::Float(value) => Unexpected::Float(*value),
            Self::Str(text) => Unexpected::Str(text),
            Self::Bytes(bytes) => Unexpected::Bytes(bytes),
            Self::List(_) => Unexpected::Seq,
            Self::Map(_) => Unexpected::Map,
            other => Unexpected::Other(other.kind()),
        }
    }
}

/// A `BigInt` is parsed as the 128-bit type that is asked for, since `deserialize_any` cannot know which one that is.
macro_rules! wide_integer {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            match &self.value {
                Value::BigInt(digits) => match digits.parse::<$type>() {
                    Ok(value) => visitor.$visit(value),
                    Err(_) => Err(de::Error::custom(format_args!("the integer {digits} does not fit {}", stringify!($type)))),
                },
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

macro_rules! float {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            match (&self.value, self.value.as_f64()) {
                (Value::BigInt(_), Some(value)) => visitor.visit_f64(value),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Level {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Int(value) => visitor.visit_i64(value),
            Value::BigInt(digits) => Value::visit_big(&digits, visitor),
            Value::Float(value) => visitor.visit_f64(value),
            Value::Str(text) | Value::DateTime(text) | Value::Date(text) | Value::Time(text) | Value::Decimal(text) => {
                visitor.visit_string(text)
            }
            Value::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            Value::List(_) | Value::Map(_) => self.deserialize_nested(visitor),
            Value::Uuid(uuid) => visitor.visit_string(uuid.to_string()),
        }
    }

    wide_integer! {
        deserialize_i128 visit_i128 i128;
        deserialize_u128 visit_u128 u128;
    }

    float! { deserialize_f32 deserialize_f64 }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value {
            Value::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.into_iter())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        if name == RAW {
            let entry = std::iter::once((RAW.to_owned(), self.value.to_string()));
            return visitor.visit_map(MapDeserializer::new(entry));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let left = self.left;
        match self.value {
            Value::Str(variant) => visitor.visit_enum(Variant { variant, content: None }),
            Value::Map(mut entries) if entries.len() == 1 => match entries.pop() {
                Some((variant, value)) => visitor.visit_enum(Variant { variant, content: Some(Level { value, left }) }),
                None => Err(de::Error::invalid_value(Unexpected::Map, &"a map with one key")),
            },
            other => Err(de::Error::invalid_type(other.unexpected(), &"a text or a map with one key")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier
        ignored_any
    }
}

impl Level {
    /// Reads a list or a map, each element one level deeper.
    fn deserialize_nested<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let left = self.left_inside()?;
        let inside = move |value| Level { value, left };
        match self.value {
            Value::List(list) => {
                let mut seq = SeqDeserializer::new(list.into_iter().map(inside));
                let value = visitor.visit_seq(&mut seq)?;
                seq.end()?;
                Ok(value)
            }
            Value::Map(entries) => {
                let mut map = MapDeserializer::new(entries.into_iter().map(|(key, value)| (Key(key), inside(value))));
                let value = visitor.visit_map(&mut map)?;
                map.end()?;
                Ok(value)
            }
            other => Err(de::Error::invalid_type(other.unexpected(), &visitor)),
        }
    }
}

/// Each method begins at the outermost level.
macro_rules! from_outermost {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value> {
            Level::outermost(self).$method($($name,)* visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Value {
    type Error = ValueError;

    from_outermost! {
        deserialize_any();
        deserialize_i128();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_option();
        deserialize_seq();
        deserialize_newtype_struct(name: &'static str);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier
        ignored_any
    }
}

/// The key of a map. As in `serde_json`, it can be read as a number or a boolean too.
struct Key(String);

impl<'de> IntoDeserializer<'de, ValueError> for Key {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! key_from_text {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            match self.0.parse::<$type>() {
                Ok(value) => visitor.$visit(value),
                Err(_) => visitor.visit_string(self.0),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Key {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_string(self.0)
    }

    key_from_text! {
        deserialize_bool visit_bool bool;
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_i128 visit_i128 i128;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
        deserialize_f32 visit_f32 f32;
        deserialize_f64 visit_f64 f64;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        StringDeserializer::<ValueError>::new(self.0).deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The variant of an enum, with its content.
struct Variant {
    variant: String,
    content: Option<Level>,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = ValueError;
    type Variant = Content;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content)> {
        let variant = seed.deserialize(StringDeserializer::<ValueError>::new(self.variant))?;
        Ok((variant, Content(self.content)))
    }
}

struct Content(Option<Level>);

impl Content {
    fn required(self) -> Result<Level> {
        self.0.ok_or_else(|| de::Error::invalid_type(Unexpected::UnitVariant, &"a variant with content"))
    }
}

impl<'de> VariantAccess<'de> for Content {
    type Error = ValueError;

    fn unit_variant(self) -> Result<()> {
        match self.0.map(|content| content.value) {
            None | Some(Value::Null) => Ok(()),
            Some(other) => Err(de::Error::invalid_type(other.unexpected(), &"a variant without content")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self.required()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        self.required()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.required()?.deserialize_any(visitor)
    }
}
