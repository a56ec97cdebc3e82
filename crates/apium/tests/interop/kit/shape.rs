//! The shape of a JSON value, by which the answers of two workers are compared.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

/// Which keys a JSON value has, and of what type everything is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    Null,
    Bool,
    Number,
    Text,
    /// The shapes of its elements.
    List(BTreeSet<Shape>),
    Map(Vec<(String, Shape)>),
}

impl Shape {
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::Text,
            Value::Array(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().map(|(key, value)| (key.clone(), Self::of(value))).collect();
                fields.sort();
                Self::Map(fields)
            }
        }
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Number => f.write_str("number"),
            Self::Text => f.write_str("text"),
            Self::List(items) => f.debug_list().entries(items).finish(),
            Self::Map(fields) => f.debug_map().entries(fields.iter().map(|(key, shape)| (key, shape))).finish(),
        }
    }
}
