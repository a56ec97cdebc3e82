//! How a setting's value is read by its type. What does not fit is an error that says what is allowed.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use apium_transport::address::Address;
use jiff::tz::TimeZone;

use crate::config::value::Value;
use crate::options::priority::Priority;
use crate::options::rate_limit::RateLimit;

/// What is wrong with a value: what is allowed, and where inside a table it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidValue {
    /// The path inside the value, such as `mail.priority`; empty for the value itself.
    pub path: String,
    /// What is allowed there.
    pub allowed: String,
    /// The value found there, in few words; `None` when it must not be printed, or says no more than `allowed`.
    pub found: Option<String>,
    /// What is said in place of the value and of what is allowed, where the kind of the value is not what is wrong.
    pub instead: Option<String>,
}

impl InvalidValue {
    /// The value itself is wrong.
    pub fn new(value: &Value, allowed: impl Into<String>) -> Self {
        Self { path: String::new(), allowed: allowed.into(), found: Some(value.shown()), instead: None }
    }

    /// What is wrong, as a sentence of its own.
    pub fn because(why: impl Into<String>) -> Self {
        Self { path: String::new(), allowed: String::new(), found: None, instead: Some(why.into()) }
    }

    /// An entry of a table has a name that is not known there.
    pub fn unknown_entry(name: &str, known: &[&str]) -> Self {
        let nearest = nearest(name, known.iter().copied());
        let hint = nearest.map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"));
        Self {
            path: name.into(),
            allowed: format!("one of {}{hint}", known.join(", ")),
            found: None,
            instead: Some(format!("there is none of that name; there are {}{hint}", known.join(", "))),
        }
    }

    /// A value that must not be printed is wrong.
    pub fn secret(value: &Value, allowed: impl Into<String>) -> Self {
        Self { path: String::new(), allowed: allowed.into(), found: Some(value.kind().into()), instead: None }
    }

    /// The same error, seen from one level up.
    #[must_use]
    pub fn inside(mut self, name: &str) -> Self {
        self.path = if self.path.is_empty() { name.into() } else { format!("{name}.{}", self.path) };
        self
    }
}

/// The name of `known` that is most like `name`, if one is near enough to have been meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|candidate| (strsim::jaro_winkler(name, candidate), candidate));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

/// What may have been meant by a setting that there is not: its name without Celery's prefix and in lower case, as in a
/// Django project; one name for a table and its entry; one that is spelled alike. `known` are all there are.
pub(crate) fn hint(name: &str, value: &Value, known: &[&str]) -> String {
    let lower = name.to_ascii_lowercase();
    let bare = lower.strip_prefix("celery_").unwrap_or(&lower);
    if known.contains(&bare) {
        return format!("; here it is written {bare}");
    }
    let entries = if let Value::Table(entries) = value { entries.as_slice() } else { &[] };
    let whole = entries.iter().map(|(entry, _)| format!("{bare}_{entry}")).find(|whole| known.contains(&&**whole));
    if let Some(whole) = whole {
        return format!("; a setting is one name, so write {whole} = …, in no table");
    }
    let near = nearest(bare, known.iter().copied());
    match near {
        Some(near) => format!("; did you mean {near}?"),
        None => "; settings of the program's own stand in the table [app]".to_owned(),
    }
}

/// A type that a setting can have.
pub trait FromValue: Sized {
    /// The type in words, for the reference page and for errors.
    const KIND: &'static str;

    /// Reads a value of a file or of the builder.
    fn from_value(value: &Value) -> Result<Self, InvalidValue>;

    /// Reads the text of a variable or flag.
    fn from_text(text: &str) -> Result<Self, InvalidValue> {
        Self::from_value(&Value::Text(text.to_owned()))
    }
}

impl FromValue for bool {
    const KIND: &'static str = "true or false";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        match value {
            Value::Bool(value) => Ok(*value),
            other => Err(InvalidValue::new(other, Self::KIND)),
        }
    }

    fn from_text(text: &str) -> Result<Self, InvalidValue> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(InvalidValue::new(&Value::from(text), "true or false (also 1, 0, yes, no, on, off)")),
        }
    }
}

macro_rules! integers {
    ($($ty:ty => $kind:literal),+) => {$(
        impl FromValue for $ty {
            const KIND: &'static str = $kind;

            fn from_value(value: &Value) -> Result<Self, InvalidValue> {
                match value {
                    Value::Int(number) => Self::try_from(*number).map_err(|_| InvalidValue::new(value, Self::KIND)),
                    other => Err(InvalidValue::new(other, Self::KIND)),
                }
            }

            fn from_text(text: &str) -> Result<Self, InvalidValue> {
                text.parse().map_err(|_| InvalidValue::new(&Value::from(text), Self::KIND))
            }
        }
    )+};
}
integers!(
    u8 => "a whole number from 0 to 255",
    u32 => "a whole number, 0 or more",
    usize => "a whole number, 0 or more"
);

impl FromValue for NonZeroUsize {
    const KIND: &'static str = "a whole number, 1 or more";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        usize::from_value(value).ok().and_then(Self::new).ok_or_else(|| InvalidValue::new(value, Self::KIND))
    }

    fn from_text(text: &str) -> Result<Self, InvalidValue> {
        text.parse().map_err(|_| InvalidValue::new(&Value::from(text), Self::KIND))
    }
}

impl FromValue for Priority {
    const KIND: &'static str = "a whole number from 0 to 255, \"urgent\" or \"background\"";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        let read = match value {
            Value::Text(word) => Self::of_word(word),
            other => u8::from_value(other).ok().map(Self::Number),
        };
        read.ok_or_else(|| InvalidValue::new(value, Self::KIND))
    }

    fn from_text(text: &str) -> Result<Self, InvalidValue> {
        let read = Self::of_word(text).or_else(|| text.parse().ok().map(Self::Number));
        read.ok_or_else(|| InvalidValue::new(&Value::from(text), Self::KIND))
    }
}

impl FromValue for String {
    const KIND: &'static str = "a text";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        match value {
            Value::Text(text) => Ok(text.clone()),
            other => Err(InvalidValue::new(other, Self::KIND)),
        }
    }
}

impl FromValue for Duration {
    const KIND: &'static str = "seconds (10, 0.5) or a text such as \"500ms\", \"30s\", \"10m\", \"2h\", \"1d\"";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        let seconds = match value {
            Value::Int(seconds) => u32::try_from(*seconds).map(f64::from).ok(),
            Value::Float(seconds) => Some(*seconds),
            Value::Text(text) => seconds_of(text),
            _ => None,
        };
        let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        span.ok_or_else(|| InvalidValue::new(value, Self::KIND))
    }
}

fn seconds_of(text: &str) -> Option<f64> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    number.trim().parse::<f64>().ok().map(|number| number * factor)
}

impl FromValue for RateLimit {
    const KIND: &'static str =
        "a number per second (2.5) or a text such as \"10/s\", \"100/m\", \"5/h\"; 0 is no limit";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        let text = rate_text(value)?;
        Self::parse(&text).ok().flatten().ok_or_else(|| InvalidValue::new(value, Self::KIND))
    }
}

/// A rate limit as a task would write it, checked.
pub fn rate_text(value: &Value) -> Result<String, InvalidValue> {
    let text = match value {
        Value::Text(text) if text.eq_ignore_ascii_case("none") => "0".to_owned(),
        Value::Text(text) => text.clone(),
        Value::Int(_) | Value::Float(_) => value.shown(),
        other => return Err(InvalidValue::new(other, RateLimit::KIND)),
    };
    RateLimit::parse(&text).map_err(|_| InvalidValue::new(value, RateLimit::KIND))?;
    Ok(text)
}

impl<T: FromValue> FromValue for Option<T> {
    const KIND: &'static str = T::KIND;

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        match value {
            Value::None => Ok(None),
            Value::Text(text) if text.is_empty() || text.eq_ignore_ascii_case("none") => Ok(None),
            other => T::from_value(other).map(Some),
        }
    }

    fn from_text(text: &str) -> Result<Self, InvalidValue> {
        if text.is_empty() || text.eq_ignore_ascii_case("none") { Ok(None) } else { T::from_text(text).map(Some) }
    }
}

impl FromValue for Vec<String> {
    const KIND: &'static str = "a list of texts (a comma list in a variable)";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        match value {
            Value::List(items) => items.iter().map(String::from_value).collect(),
            other => Err(InvalidValue::new(other, Self::KIND)),
        }
    }

    fn from_text(text: &str) -> Result<Self, InvalidValue> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Ok(items.map(str::to_owned).collect())
    }
}

impl FromValue for Address {
    const KIND: &'static str = "a URL such as sqlite:///var/lib/app/queue.db or memory://";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        let Value::Text(text) = value else { return Err(InvalidValue::secret(value, Self::KIND)) };
        // The text of the error does not show the address, which may contain a password.
        Self::parse(text)
            .map_err(|error| InvalidValue::because(error.to_string().trim_start_matches("read the address: ")))
    }
}

impl FromValue for SocketAddr {
    const KIND: &'static str = "an IP address with a port, such as 127.0.0.1:8081 or [::1]:8081";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        let Value::Text(text) = value else { return Err(InvalidValue::new(value, Self::KIND)) };
        text.parse().map_err(|_| InvalidValue::new(value, Self::KIND))
    }
}

impl FromValue for TimeZone {
    const KIND: &'static str = "a time zone of the IANA database, such as Europe/Paris";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        let name = String::from_value(value)?;
        if name.eq_ignore_ascii_case("utc") {
            return Ok(Self::UTC);
        }
        Self::get(&name).map_err(|_| InvalidValue::new(value, Self::KIND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_seconds_or_have_a_unit() {
        let read = |value: Value| Duration::from_value(&value).ok();
        assert_eq!(read(Value::Int(3)), Some(Duration::from_secs(3)));
        assert_eq!(read(Value::Float(0.5)), Some(Duration::from_millis(500)));
        assert_eq!(read("500ms".into()), Some(Duration::from_millis(500)));
        assert_eq!(read("1.5h".into()), Some(Duration::from_secs(5400)));
        assert_eq!(read("2 d".into()), Some(Duration::from_secs(172_800)));
        assert_eq!(read("soon".into()), None);
        assert_eq!(read(Value::Int(-1)), None);
    }

    #[test]
    fn a_priority_is_a_number_or_a_word() {
        assert_eq!(Priority::from_text("9"), Ok(Priority::Number(9)));
        assert_eq!(Priority::from_value(&Value::Text("background".into())), Ok(Priority::Background));
        for wrong in [Value::Int(256), Value::Int(-1), Value::Text("high".into()), Value::Bool(true)] {
            assert_eq!(Priority::from_value(&wrong).unwrap_err().allowed, Priority::KIND);
        }
    }

    #[test]
    fn rate_limits_are_numbers_or_texts() {
        assert_eq!(RateLimit::from_value(&"120/m".into()).unwrap(), RateLimit { per_second: 2.0 });
        assert_eq!(RateLimit::from_value(&Value::Float(2.5)).unwrap(), RateLimit { per_second: 2.5 });
        let wrong = RateLimit::from_value(&"10/x".into()).unwrap_err();
        assert_eq!(wrong.found.as_deref(), Some("\"10/x\""));
        assert!(wrong.allowed.contains("\"100/m\""), "{}", wrong.allowed);
        assert_eq!(rate_text(&"none".into()).unwrap(), "0");
    }

    #[test]
    fn a_bad_address_is_never_shown() {
        let wrong = Address::from_value(&"user:secret@host".into()).unwrap_err();
        assert_eq!(wrong.found, None);
    }

    #[test]
    fn texts_of_variables_are_read_by_type() {
        assert!(bool::from_text("on").unwrap());
        assert_eq!(Vec::<String>::from_text("json, yaml").unwrap(), ["json", "yaml"]);
        assert_eq!(Option::<u32>::from_text("none").unwrap(), None);
        assert!(u8::from_text("256").is_err());
        assert_eq!(SocketAddr::from_text("[::1]:80").unwrap().port(), 80);
        assert!(SocketAddr::from_text("localhost").is_err());
    }

    #[test]
    fn a_setting_that_is_written_as_elsewhere_is_named_as_it_is_here() {
        let known = ["broker_url", "task_acks_late"];
        let table = || Value::Table(vec![("acks_late".into(), true.into())]);
        for (name, value, wanted) in [
            ("CELERY_BROKER_URL", Value::None, "; here it is written broker_url"),
            ("TASK_ACKS_LATE", Value::None, "; here it is written task_acks_late"),
            ("task", table(), "; a setting is one name, so write task_acks_late = …, in no table"),
            ("celery_broker_ur", Value::None, "; did you mean broker_url?"),
            ("folder", Value::None, "; settings of the program's own stand in the table [app]"),
        ] {
            assert_eq!(hint(name, &value, &known), wanted);
        }
    }
}
