//! A value of the table `[app]` as serde reads it. Its errors name the entry and what is expected, and never the value.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use crate::config::read::{FromValue, nearest};
use crate::config::value::{Origin, Value};

/// A value with the place that it came from.
#[derive(Clone)]
pub(crate) struct AppValue {
    pub(crate) content: AppContent,
    pub(crate) origin: Option<Origin>,
}

/// What a value is.
#[derive(Clone)]
pub(crate) enum AppContent {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// The text of a variable or a flag, which is read as the type that is wanted.
    Unread(String),
    List(Vec<AppValue>),
    Table(Vec<(String, AppValue)>),
}

impl AppValue {
    pub(crate) fn new(value: &Value, origin: &Origin) -> Self {
        let content = match value {
            Value::None => AppContent::None,
            Value::Bool(value) => AppContent::Bool(*value),
            Value::Int(number) => AppContent::Int(*number),
            Value::Float(number) => AppContent::Float(*number),
            Value::Text(text) => AppContent::Text(text.clone()),
            Value::List(items) => AppContent::List(items.iter().map(|item| Self::new(item, origin)).collect()),
            Value::Table(entries) => AppContent::Table(
                entries.iter().map(|(name, value)| (name.clone(), Self::new(value, origin))).collect(),
            ),
        };
        Self { content, origin: Some(origin.clone()) }
    }

    /// Puts an entry where its names lead. What is no table on the way becomes one.
    pub(crate) fn put(&mut self, path: &[String], entry: AppValue) {
        let Some((name, deeper)) = path.split_first() else {
            *self = entry;
            return;
        };
        if !matches!(self.content, AppContent::Table(_)) {
            *self = Self { content: AppContent::Table(Vec::new()), origin: entry.origin.clone() };
        }
        let AppContent::Table(entries) = &mut self.content else { return };
        if let Some((_, present)) = entries.iter_mut().find(|(present, _)| present == name) {
            present.put(deeper, entry);
        } else {
            let mut value = Self { content: AppContent::None, origin: None };
            value.put(deeper, entry);
            entries.push((name.clone(), value));
        }
    }

    /// The values of a list in a variable: JSON, or texts with commas between.
    fn list_of(text: &str, origin: Option<&Origin>) -> AppContent {
        if let Some(content @ AppContent::List(_)) = json(text, origin) {
            return content;
        }
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        AppContent::List(
            items.map(|item| Self { content: AppContent::Unread(item.to_owned()), origin: origin.cloned() }).collect(),
        )
    }

    /// Reads with serde; an error that names no place of its own gets the one of this value.
    fn visit<T>(self, read: impl FnOnce(AppContent) -> Result<T, AppError>) -> Result<T, AppError> {
        let origin = self.origin;
        read(self.content).map_err(|mut wrong| {
            wrong.origin = wrong.origin.or(origin);
            wrong
        })
    }
}

fn json(text: &str, origin: Option<&Origin>) -> Option<AppContent> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let origin = origin.cloned().unwrap_or(Origin::Builder);
    Some(AppValue::new(&value.into(), &origin).content)
}

fn visit_plain<'de, V: Visitor<'de>>(content: AppContent, visitor: V) -> Result<V::Value, AppError> {
    match content {
        AppContent::None => visitor.visit_unit(),
        AppContent::Bool(value) => visitor.visit_bool(value),
        AppContent::Int(number) => visitor.visit_i64(number),
        AppContent::Float(number) => visitor.visit_f64(number),
        AppContent::Text(text) | AppContent::Unread(text) => visitor.visit_string(text),
        AppContent::List(items) => visitor.visit_seq(Items { items: items.into_iter(), at: 0 }),
        AppContent::Table(entries) => visitor.visit_map(Entries { entries: entries.into_iter(), next: None }),
    }
}

macro_rules! parsed {
    ($($method:ident => $visit:ident, $ty:ty;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AppError> {
            self.visit(|content| match content {
                AppContent::Unread(text) => match text.trim().parse::<$ty>() {
                    Ok(number) => visitor.$visit(number),
                    Err(_) => Err(de::Error::invalid_type(Unexpected::Str(""), &visitor)),
                },
                other => visit_plain(other, visitor),
            })
        }
    )+};
}

impl<'de> Deserializer<'de> for AppValue {
    type Error = AppError;

    parsed! {
        deserialize_i8 => visit_i64, i64;
        deserialize_i16 => visit_i64, i64;
        deserialize_i32 => visit_i64, i64;
        deserialize_i64 => visit_i64, i64;
        deserialize_i128 => visit_i128, i128;
        deserialize_u8 => visit_u64, u64;
        deserialize_u16 => visit_u64, u64;
        deserialize_u32 => visit_u64, u64;
        deserialize_u64 => visit_u64, u64;
        deserialize_u128 => visit_u128, u128;
        deserialize_f32 => visit_f64, f64;
        deserialize_f64 => visit_f64, f64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AppError> {
        self.visit(|content| visit_plain(content, visitor))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AppError> {
        self.visit(|content| match content {
            AppContent::Unread(text) => match bool::from_text(text.trim()) {
                Ok(value) => visitor.visit_bool(value),
                Err(_) => Err(de::Error::invalid_type(Unexpected::Str(""), &visitor)),
            },
            other => visit_plain(other, visitor),
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AppError> {
        match &self.content {
            AppContent::None => visitor.visit_none(),
            AppContent::Unread(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, AppError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AppError> {
        let origin = self.origin.clone();
        self.visit(|content| match content {
            AppContent::Unread(text) => visit_plain(Self::list_of(&text, origin.as_ref()), visitor),
            other => visit_plain(other, visitor),
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, AppError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, AppError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AppError> {
        let origin = self.origin.clone();
        self.visit(|content| match content {
            // Without a table, the type says whether an empty one will do.
            AppContent::None => visit_plain(AppContent::Table(Vec::new()), visitor),
            AppContent::Unread(text) => match json(&text, origin.as_ref()) {
                Some(content @ AppContent::Table(_)) => visit_plain(content, visitor),
                _ => Err(de::Error::invalid_type(Unexpected::Str(""), &visitor)),
            },
            other => visit_plain(other, visitor),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, AppError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, AppError> {
        self.visit(|content| match content {
            AppContent::Text(variant) | AppContent::Unread(variant) => {
                visitor.visit_enum(Variant { variant, value: None })
            }
            AppContent::Table(mut entries) if entries.len() == 1 => match entries.pop() {
                Some((variant, value)) => visitor.visit_enum(Variant { variant, value: Some(value) }),
                None => visit_plain(AppContent::None, visitor),
            },
            other => visit_plain(other, visitor),
        })
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, AppError> for AppValue {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The items of a list.
struct Items {
    items: std::vec::IntoIter<AppValue>,
    at: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = AppError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, AppError> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let at = self.at;
        self.at += 1;
        seed.deserialize(item).map(Some).map_err(|wrong| wrong.inside(&at.to_string()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The entries of a table.
struct Entries {
    entries: std::vec::IntoIter<(String, AppValue)>,
    next: Option<(String, AppValue)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = AppError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, AppError> {
        let Some((name, value)) = self.entries.next() else { return Ok(None) };
        let read = seed.deserialize(name.as_str().into_deserializer());
        self.next = Some((name, value));
        read.map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, AppError> {
        let (name, value) = self.next.take().ok_or_else(|| <AppError as de::Error>::custom("it has no value"))?;
        seed.deserialize(value).map_err(|wrong| wrong.inside(&name))
    }
}

/// A variant of an enum: its name alone, or a table with the name and the content.
struct Variant {
    variant: String,
    value: Option<AppValue>,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = AppError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), AppError> {
        let name = seed.deserialize(self.variant.as_str().into_deserializer())?;
        Ok((name, self))
    }
}

impl Variant {
    fn content(self) -> Result<(String, AppValue), AppError> {
        let missing =
            || <AppError as de::Error>::custom("it is a text, allowed is a table with the name and its content");
        Ok((self.variant, self.value.ok_or_else(missing)?))
    }
}

impl<'de> VariantAccess<'de> for Variant {
    type Error = AppError;

    fn unit_variant(self) -> Result<(), AppError> {
        match self.value {
            None => Ok(()),
            Some(value) => de::Deserialize::deserialize(value).map_err(|wrong: AppError| wrong.inside(&self.variant)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, AppError> {
        let (name, value) = self.content()?;
        seed.deserialize(value).map_err(|wrong| wrong.inside(&name))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, AppError> {
        let (name, value) = self.content()?;
        value.deserialize_seq(visitor).map_err(|wrong| wrong.inside(&name))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, AppError> {
        let (name, value) = self.content()?;
        value.deserialize_map(visitor).map_err(|wrong| wrong.inside(&name))
    }
}

/// What is wrong with an entry, without its value.
#[derive(Debug)]
pub(crate) struct AppError {
    /// The names that lead to the entry.
    pub(crate) path: Vec<String>,
    pub(crate) origin: Option<Origin>,
    pub(crate) text: String,
    /// Whether the entry is not there and must be.
    pub(crate) is_missing: bool,
}

impl AppError {
    fn new(text: String) -> Self {
        Self { path: Vec::new(), origin: None, text, is_missing: false }
    }

    /// The same error, seen from one level up.
    fn inside(mut self, name: &str) -> Self {
        self.path.insert(0, name.to_owned());
        self
    }
}

/// What was found, without the value itself.
fn kind(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a truth value",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number with a fraction",
        Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "a text",
        Unexpected::Unit | Unexpected::Option => "none",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a table",
        _ => "something else",
    }
}

impl de::Error for AppError {
    /// An error of the program's own `Deserialize`, whose words are its own.
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(text.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("it is {}, allowed is {expected}", kind(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("it is {} that does not fit, allowed is {expected}", kind(&found)))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("it is a text, allowed is one of {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let hint = match nearest(field, expected.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}", expected.join(", ")),
        };
        Self::new(format!("there is none of that name; {hint}")).inside(field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self { is_missing: true, ..Self::new("it is missing".into()).inside(field) }
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for AppError {}
