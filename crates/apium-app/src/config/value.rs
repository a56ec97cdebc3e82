//! A setting's value as it was given, and where it came from.

use std::fmt;
use std::time::Duration;

/// A value as it was given: by the builder, by a TOML file, or as the text of a variable or flag.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing: Celery's `None`. Written `"none"` where a format has no such word.
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// Names with values, in the order given.
    Table(Vec<(String, Value)>),
}

impl Value {
    /// The value in few words, for errors.
    pub fn shown(&self) -> String {
        match self {
            Self::None => "none".into(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(text) => format!("\"{text}\""),
            Self::List(_) => "a list".into(),
            Self::Table(_) => "a table".into(),
        }
    }

    /// The kind of the value, for errors about a value that may be a secret.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// The entry of a table.
    pub fn entry(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Table(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }
}

impl From<&Value> for serde_json::Value {
    fn from(value: &Value) -> Self {
        match value {
            Value::None => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::from(*value),
            Value::Float(value) => Self::from(*value),
            Value::Text(text) => Self::String(text.clone()),
            Value::List(items) => Self::Array(items.iter().map(Self::from).collect()),
            Value::Table(entries) => {
                Self::Object(entries.iter().map(|(name, value)| (name.clone(), value.into())).collect())
            }
        }
    }
}

#[cfg(feature = "config-file")]
impl From<toml::Value> for Value {
    fn from(value: toml::Value) -> Self {
        match value {
            toml::Value::String(text) => Self::Text(text),
            toml::Value::Integer(number) => Self::Int(number),
            toml::Value::Float(number) => Self::Float(number),
            toml::Value::Boolean(value) => Self::Bool(value),
            toml::Value::Datetime(when) => Self::Text(when.to_string()),
            toml::Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            toml::Value::Table(table) => {
                Self::Table(table.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
        }
    }
}

impl From<serde_json::Value> for Value {
    /// A number that fits neither an `i64` nor an `f64` becomes its text.
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::None,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => Self::Int(number),
                (None, Some(number)) => Self::Float(number),
                (None, None) => Self::Text(number.to_string()),
            },
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            serde_json::Value::Object(entries) => {
                Self::Table(entries.into_iter().map(|(name, value)| (name, value.into())).collect())
            }
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<Duration> for Value {
    /// In seconds, as Celery writes them.
    fn from(span: Duration) -> Self {
        Self::Float(span.as_secs_f64())
    }
}

macro_rules! from_integers {
    ($($ty:ty),+) => {$(
        impl From<$ty> for Value {
            fn from(number: $ty) -> Self {
                i64::try_from(number).map_or(Self::Float(number as f64), Self::Int)
            }
        }
    )+};
}
from_integers!(i32, i64, u8, u16, u32, u64, usize);

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(items: [T; N]) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

/// Where a value came from. A later variant wins over an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A Celery app in Python, whose tasks a worker runs.
    CeleryApp,
    /// The builder of the app.
    Builder,
    /// A TOML file.
    File(String),
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(String),
}

impl Origin {
    /// Which origin wins: the larger.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::CeleryApp => 0,
            Self::Builder => 1,
            Self::File(_) => 2,
            Self::Variable(_) => 3,
            Self::Flag(_) => 4,
        }
    }

    /// Whether values come as plain text that is read by the setting's type.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self, Self::Variable(_) | Self::Flag(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CeleryApp => f.write_str("the Celery app"),
            Self::Builder => f.write_str("the app's builder"),
            Self::File(path) => write!(f, "the file {path}"),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::Flag(name) => write!(f, "the flag {name}"),
        }
    }
}
