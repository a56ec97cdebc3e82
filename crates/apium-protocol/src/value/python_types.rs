//! Wrappers that send a value as a type of Python, in kombu's typed envelopes. They are read from envelopes and from
//! plain text.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::timestamp;
use crate::value::value::Value;

macro_rules! typed {
    ($(#[$doc:meta])* $name:ident($inner:ty), |$this:ident| $value:expr, |$read:ident| $back:expr, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name(pub $inner);

        impl From<$inner> for $name {
            fn from(inner: $inner) -> Self {
                Self(inner)
            }
        }

        impl From<$name> for $inner {
            fn from(typed: $name) -> Self {
                typed.0
            }
        }

        impl From<$name> for Value {
            fn from($this: $name) -> Self {
                $value
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Value::from(self.clone()).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let $read = Value::deserialize(deserializer)?;
                let kind = $read.kind();
                $back.map($name).ok_or_else(|| D::Error::custom(format_args!(concat!("{} is not ", $what), kind)))
            }
        }
    };
}

typed! {
    /// An instant: Python's `datetime`. It is written in UTC; without an offset it is read as UTC.
    DateTime(jiff::Timestamp),
    |this| Value::DateTime(timestamp::format(this.0)),
    |value| value.as_str().and_then(|text| timestamp::parse(text).ok()),
    "an instant in ISO 8601"
}

typed! {
    /// A calendar day: Python's `date`.
    Date(jiff::civil::Date),
    |this| Value::Date(this.0.to_string()),
    |value| value.as_str().and_then(|text| Some(timestamp::split(text)?.0.date())),
    "a date `YYYY-MM-DD`"
}

typed! {
    /// A time of day without an offset: Python's `time`, to the microsecond.
    Time(jiff::civil::Time),
    |this| Value::Time(time_text(this.0)),
    |value| value.as_str().and_then(timestamp::read_time),
    "a time `HH:MM:SS`"
}

typed! {
    /// A decimal number whose digits are kept: Python's `Decimal`. It is also read from a number.
    Decimal(String),
    |this| Value::Decimal(this.0),
    |value| match value {
        Value::Decimal(text) | Value::Str(text) | Value::BigInt(text) => Some(text),
        Value::Int(_) | Value::Float(_) => Some(value.to_string()),
        _ => None,
    },
    "a decimal"
}

typed! {
    /// A UUID: Python's `UUID`.
    Uuid(uuid::Uuid),
    |this| Value::Uuid(this.0),
    |value| value.as_uuid().or_else(|| uuid::Uuid::try_parse(value.as_str()?).ok()),
    "a UUID"
}

typed! {
    /// Bytes: Python's `bytes`. They are also read from a text, as UTF-8, and from a list of numbers.
    Bytes(Vec<u8>),
    |this| Value::Bytes(this.0),
    |value| match value {
        Value::Bytes(bytes) => Some(bytes),
        Value::Str(text) => Some(text.into_bytes()),
        Value::List(list) => list.iter().map(|byte| u8::try_from(byte.as_i64()?).ok()).collect(),
        _ => None,
    },
    "bytes"
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `HH:MM:SS[.ffffff]`.
fn time_text(time: jiff::civil::Time) -> String {
    let micros = time.subsec_nanosecond() / 1000;
    let whole = format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
    if micros == 0 { whole } else { format!("{whole}.{micros:06}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::text::Json;

    fn assert_round_trip<T: Serialize + for<'de> Deserialize<'de> + PartialEq + fmt::Debug>(value: T, text: &str) {
        let json = Json::from_serialize(&value).unwrap();
        assert_eq!(json.as_str(), text);
        assert_eq!(json.decode::<T>().unwrap(), value);
        assert_eq!(serde_json::from_str::<T>(text).unwrap(), value);
    }

    #[test]
    fn envelopes_round_trip() {
        assert_round_trip(
            DateTime("2020-01-02T03:04:05.000006Z".parse().unwrap()),
            r#"{"__type__": "datetime", "__value__": "2020-01-02T03:04:05.000006+00:00"}"#,
        );
        assert_round_trip(Date(jiff::civil::date(2021, 12, 31)), r#"{"__type__": "date", "__value__": "2021-12-31"}"#);
        assert_round_trip(
            Time(jiff::civil::time(23, 59, 58, 7000)),
            r#"{"__type__": "time", "__value__": "23:59:58.000007"}"#,
        );
        assert_round_trip(Decimal("3.1400".into()), r#"{"__type__": "decimal", "__value__": "3.1400"}"#);
        assert_round_trip(
            Uuid(uuid::Uuid::from_u128(0x12345678_1234_5678_1234_567812345678)),
            r#"{"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678"}}"#,
        );
        assert_round_trip(Bytes(b"hello".to_vec()), r#"{"__type__": "bytes", "__value__": "hello"}"#);
        assert_round_trip(Bytes(vec![0xff, 0xfe, 0]), r#"{"__type__": "base64", "__value__": "//4A"}"#);
    }

    #[test]
    fn plain_text_is_read_too() {
        let json = |text: &str| Json::from_text(text).unwrap();
        assert_eq!(
            json(r#""2020-01-02T03:04:05+01:00""#).decode::<DateTime>().unwrap().0.to_string(),
            "2020-01-02T02:04:05Z"
        );
        assert_eq!(json("\"2021-12-31\"").decode::<Date>().unwrap().0, jiff::civil::date(2021, 12, 31));
        assert_eq!(json("12.50").decode::<Decimal>().unwrap().0, "12.5");
        assert_eq!(json("123456789012345678901").decode::<Decimal>().unwrap().0, "123456789012345678901");
        assert_eq!(json("\"hi\"").decode::<Bytes>().unwrap().0, b"hi");
        assert_eq!(json("[1, 255]").decode::<Bytes>().unwrap().0, [1, 255]);
        assert!(json("[256]").decode::<Bytes>().is_err());
        assert!(json("\"x\"").decode::<Uuid>().is_err());
        assert!(json("null").decode::<DateTime>().is_err());
    }
}
