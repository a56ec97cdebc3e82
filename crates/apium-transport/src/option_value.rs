//! The value of one option of a driver, and how a driver reads it. What does not fit is an error without the value.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::value::value::Value;

use crate::address::Address;
use crate::error::{Error, ErrorKind};

/// The value of one option in `broker_transport_options` or `result_backend_transport_options`.
///
/// A file, the builder and JSON give values of every kind. The query of an address and the form `a=1,b=2` of a variable
/// give texts. The readers ([`seconds`](Self::seconds), [`flag`](Self::flag), …) take a text as well as the kind that
/// they return, so that a driver need not care where an option came from.
///
/// `Debug` shows the kind alone, since every value may be a secret.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum OptionValue {
    /// Nothing: Celery's `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<OptionValue>),
    /// Values by name.
    Table(BTreeMap<String, OptionValue>),
}

impl OptionValue {
    /// Reads a JSON text. `None` if it is not JSON.
    pub fn from_json(text: &str) -> Option<Self> {
        Json::from_text(text).ok()?.to_value().ok().map(Self::from_python)
    }

    fn from_python(value: Value) -> Self {
        match value {
            Value::Null => Self::None,
            Value::Bool(value) => Self::Bool(value),
            Value::Int(number) => Self::Integer(number),
            Value::Float(number) => Self::Float(number),
            Value::List(items) => Self::List(items.into_iter().map(Self::from_python).collect()),
            Value::Map(entries) => {
                Self::Table(entries.into_iter().map(|(name, value)| (name, Self::from_python(value))).collect())
            }
            Value::Str(text) => Self::Text(text),
            // What JSON has no word for is a text in the options too.
            other => Self::Text(other.to_string()),
        }
    }

    /// The kind of the value in words, for errors: "a text", "a list", ….
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bool(_) => "a truth value",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// Reads a text. A number or a truth value is written out: `2`, `0.5`, `true`.
    ///
    /// # Errors
    /// None, a list or a table.
    pub fn text(&self) -> Result<String, InvalidOption> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Bool(value) => Ok(value.to_string()),
            Self::Integer(number) => Ok(number.to_string()),
            Self::Float(number) => Ok(number.to_string()),
            Self::None | Self::List(_) | Self::Table(_) => Err(InvalidOption::new(self, "a text")),
        }
    }

    /// Reads a number of seconds, also from a text such as `"0.5"`.
    ///
    /// # Errors
    /// Anything else, a negative number, or one that is too large for a [`Duration`].
    pub fn seconds(&self) -> Result<Duration, InvalidOption> {
        let seconds = match self {
            // Whole numbers of more than 32 bits are more seconds than anyone waits; they need not be exact.
            #[expect(clippy::cast_precision_loss, reason = "a timeout of that size is not exact to a second")]
            Self::Integer(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let read = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        read.ok_or_else(|| InvalidOption::new(self, "a number of seconds, 0 or more"))
    }

    /// Reads a truth value, also from the texts and numbers that settings take: `true`, `1`, `yes`, `on`; `false`, `0`,
    /// `no`, `off`, `none`. None is false, as in Python.
    ///
    /// # Errors
    /// Anything else.
    pub fn flag(&self) -> Result<bool, InvalidOption> {
        let read = match self {
            Self::None => Some(false),
            Self::Bool(value) => Some(*value),
            Self::Integer(0) => Some(false),
            Self::Integer(1) => Some(true),
            Self::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" | "none" => Some(false),
                _ => None,
            },
            _ => None,
        };
        read.ok_or_else(|| InvalidOption::new(self, "true or false"))
    }

    /// Reads a whole number that is not negative, also from a text.
    ///
    /// # Errors
    /// Anything else.
    pub fn count(&self) -> Result<u64, InvalidOption> {
        let read = match self {
            Self::Integer(number) => u64::try_from(*number).ok(),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        read.ok_or_else(|| InvalidOption::new(self, "a whole number, 0 or more"))
    }

    /// Reads a list of whole numbers, also from a text: `0,3,6` or `[0, 3, 6]`.
    ///
    /// # Errors
    /// Anything else.
    pub fn integers(&self) -> Result<Vec<i64>, InvalidOption> {
        let read = match self {
            Self::List(items) => items.iter().map(Self::integer).collect(),
            Self::Text(text) => {
                let items = text.trim().trim_start_matches(['[', '(']).trim_end_matches([']', ')']);
                let items = items.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty());
                items.map(|item| item.parse().ok()).collect()
            }
            _ => None,
        };
        read.ok_or_else(|| InvalidOption::new(self, "a list of whole numbers"))
    }

    fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// Reads a table, also from a text: JSON, or what Python prints of a `dict`, with single quotes.
    ///
    /// # Errors
    /// Anything else.
    pub fn table(&self) -> Result<BTreeMap<String, OptionValue>, InvalidOption> {
        let read = match self {
            Self::Table(entries) => Some(Self::Table(entries.clone())),
            Self::Text(text) => Self::from_json(text).or_else(|| Self::from_json(&text.replace('\'', "\""))),
            _ => None,
        };
        match read {
            Some(Self::Table(entries)) => Ok(entries),
            _ => Err(InvalidOption::new(self, "a table of names with values, or its JSON text")),
        }
    }
}

impl fmt::Debug for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({})", self.kind())
    }
}

impl From<bool> for OptionValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for OptionValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for OptionValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i32> for OptionValue {
    fn from(number: i32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<i64> for OptionValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for OptionValue {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<f64> for OptionValue {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl<T: Into<OptionValue>> From<Vec<T>> for OptionValue {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<OptionValue>, const N: usize> From<[T; N]> for OptionValue {
    fn from(items: [T; N]) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl From<BTreeMap<String, OptionValue>> for OptionValue {
    fn from(entries: BTreeMap<String, OptionValue>) -> Self {
        Self::Table(entries)
    }
}

/// Why the value of an option does not fit: the kind that it has, and what it must be. It does not hold the value,
/// which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidOption {
    /// The kind that the value has: "a list", ….
    pub kind: &'static str,
    /// What the value must be: "a number of seconds, 0 or more", ….
    pub wanted: String,
}

impl InvalidOption {
    /// `value` does not fit; `wanted` says what does.
    pub fn new(value: &OptionValue, wanted: impl Into<String>) -> Self {
        Self { kind: value.kind(), wanted: wanted.into() }
    }

    /// The error of a driver that was opened at `address` with this value for the option `name`.
    pub fn error(&self, name: &str, address: &Address) -> Error {
        Error::new(ErrorKind::Address, format!("read the option {name} of {address}: {self}"))
    }
}

impl fmt::Display for InvalidOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is {} and must be {}", self.kind, self.wanted)
    }
}

impl StdError for InvalidOption {}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, OptionValue)]) -> OptionValue {
        OptionValue::Table(entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    #[test]
    fn a_reader_takes_its_own_kind_and_a_text() {
        for value in [OptionValue::Float(0.5), "0.5".into()] {
            assert_eq!(value.seconds().unwrap(), Duration::from_millis(500));
        }
        for value in [OptionValue::from(true), "Yes".into(), 1.into()] {
            assert!(value.flag().unwrap());
        }
        for value in [OptionValue::None, false.into(), "off".into(), 0.into()] {
            assert!(!value.flag().unwrap());
        }
        for value in [OptionValue::from(7), "7".into()] {
            assert_eq!((value.count().unwrap(), &*value.text().unwrap()), (7, "7"));
        }
        for value in [OptionValue::from([0, 3]), "0,3".into(), "[0, 3]".into(), "(0, 3)".into(), ["0", "3"].into()] {
            assert_eq!(value.integers().unwrap(), [0, 3]);
        }
        let password = table(&[("password", "it's".into())]);
        for value in [password.clone(), r#"{"password": "it's"}"#.into()] {
            assert_eq!(OptionValue::Table(value.table().unwrap()), password);
        }
        let of_python = OptionValue::from("{'username': 'u', 'port': 1}").table().unwrap();
        assert_eq!(OptionValue::Table(of_python), table(&[("username", "u".into()), ("port", 1.into())]));
    }

    #[test]
    fn a_value_of_another_kind_is_an_error_that_names_both_kinds_and_not_the_value() {
        let secret = OptionValue::from("hunter2");
        let list = OptionValue::from(["hunter2"]);
        let entries = table(&[("password", "hunter2".into())]);
        let address = Address::parse("redis://:hunter2@host").unwrap();
        for (read, kind, wanted) in [
            (secret.seconds().err(), "a text", "a number of seconds"),
            (OptionValue::Integer(-1).seconds().err(), "a whole number", "a number of seconds, 0 or more"),
            (
                OptionValue::Float(f64::NAN).seconds().err(),
                "a number with a fraction",
                "a number of seconds, 0 or more",
            ),
            (secret.flag().err(), "a text", "true or false"),
            (OptionValue::Integer(2).flag().err(), "a whole number", "true or false"),
            (OptionValue::Integer(-1).count().err(), "a whole number", "a whole number, 0 or more"),
            (secret.count().err(), "a text", "a whole number, 0 or more"),
            (list.integers().err(), "a list", "a list of whole numbers"),
            (secret.integers().err(), "a text", "a list of whole numbers"),
            (OptionValue::from("[1]").table().err(), "a text", "a table"),
            (secret.table().err(), "a text", "a table"),
            (list.table().err(), "a list", "a table"),
            (entries.text().err(), "a table", "a text"),
            (OptionValue::None.text().err(), "none", "a text"),
        ] {
            let text = read.unwrap().error("that", &address).to_string();
            let start = format!("read the option that of redis://:**@host: it is {kind} and must be {wanted}");
            assert!(text.starts_with(&start) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn no_value_is_shown() {
        for value in [
            OptionValue::from("hunter2"),
            ["hunter2"].into(),
            table(&[("password", "hunter2".into())]),
            OptionValue::from_json(r#"{"password": ["hunter2"]}"#).unwrap(),
        ] {
            assert!(!format!("{value:?} {value:#?}").contains("hunter2"), "{value:?}");
        }
    }

    #[test]
    fn json_becomes_values_of_the_same_kind() {
        let read = OptionValue::from_json(r#"{"a": [1, 0.5, "x", true, null], "b": {"c": 123456789012345678901}}"#);
        let list = vec![1.into(), 0.5.into(), "x".into(), true.into(), OptionValue::None];
        let inner = table(&[("c", "123456789012345678901".into())]);
        assert_eq!(read, Some(table(&[("a", OptionValue::List(list)), ("b", inner)])));
        assert_eq!(OptionValue::from_json("{'a': 1}"), None);
    }
}
