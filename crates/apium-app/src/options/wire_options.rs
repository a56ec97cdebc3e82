//! The options of a call as a signature in a message has them, by Celery's names (the keywords of `apply_async`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::steps_behind::StepsBehind;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::timestamp;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::options::call_options::{CallOptions, Expires, RareOptions, When};
use crate::options::priority::{Priority, word_of};

/// An option that a signature carries.
trait WireOption: Sized {
    /// Its JSON; `None` if it is not set.
    fn write(&self) -> Result<Option<Json>>;

    /// Reads an option that is set. `name` is for the error.
    fn read(name: &str, value: &Json) -> Result<Self>;
}

/// The value of such an option.
trait WireValue: Sized {
    fn to_json(&self) -> Result<Json>;

    fn from_json(name: &str, value: &Json) -> Result<Self>;
}

impl<T: WireValue> WireOption for Option<T> {
    fn write(&self) -> Result<Option<Json>> {
        self.as_ref().map(WireValue::to_json).transpose()
    }

    fn read(name: &str, value: &Json) -> Result<Self> {
        T::from_json(name, value).map(Some)
    }
}

/// Links. Celery writes a single one without a list.
impl WireOption for Vec<WireSignature> {
    fn write(&self) -> Result<Option<Json>> {
        Ok((!self.is_empty()).then(|| Json::from_serialize(self)).transpose()?)
    }

    fn read(name: &str, value: &Json) -> Result<Self> {
        match value.as_str().starts_with('{') {
            true => Ok(vec![decode(name, value)?]),
            false => decode(name, value),
        }
    }
}

impl WireOption for BTreeMap<String, Json> {
    fn write(&self) -> Result<Option<Json>> {
        Ok((!self.is_empty()).then(|| Json::from_serialize(self)).transpose()?)
    }

    fn read(name: &str, value: &Json) -> Result<Self> {
        decode(name, value)
    }
}

macro_rules! serde_values {
    ($($type:ty),+) => {$(
        impl WireValue for $type {
            fn to_json(&self) -> Result<Json> {
                Ok(Json::from_serialize(self)?)
            }

            fn from_json(name: &str, value: &Json) -> Result<Self> {
                decode(name, value)
            }
        }
    )+};
}
serde_values!(bool, u8, u32, i64, f64, String);

/// Steps travel as the text that they came as.
impl WireValue for StepsBehind {
    fn to_json(&self) -> Result<Json> {
        Ok(Self::to_json(self))
    }

    fn from_json(name: &str, value: &Json) -> Result<Self> {
        Self::from_json(&value.clone().into_bytes()).map_err(|error| unreadable(name, error))
    }
}

macro_rules! text_values {
    ($($type:ty),+) => {$(
        impl WireValue for $type {
            fn to_json(&self) -> Result<Json> {
                Ok(Json::from_serialize(self)?)
            }

            fn from_json(name: &str, value: &Json) -> Result<Self> {
                decode::<String>(name, value).map(Self::from)
            }
        }
    )+};
}
text_values!(TaskId, Arc<str>, Cow<'static, str>);

/// A word stands in a signature only until its message is made, and Celery takes one for no priority.
impl WireValue for Priority {
    fn to_json(&self) -> Result<Json> {
        Ok(match self {
            Self::Number(number) => Json::from_serialize(number)?,
            word => Json::from_serialize(&word.to_string())?,
        })
    }

    fn from_json(name: &str, value: &Json) -> Result<Self> {
        word_of(value).map_or_else(|| decode(name, value).map(Self::Number), Ok)
    }
}

impl WireValue for Arc<WireSignature> {
    fn to_json(&self) -> Result<Json> {
        Ok(Json::from_serialize(&**self)?)
    }

    fn from_json(name: &str, value: &Json) -> Result<Self> {
        decode(name, value).map(Self::new)
    }
}

impl WireValue for Duration {
    fn to_json(&self) -> Result<Json> {
        Ok(Json::from_serialize(&self.as_secs_f64())?)
    }

    /// A negative time counts as zero.
    fn from_json(name: &str, value: &Json) -> Result<Self> {
        let seconds: f64 = decode(name, value)?;
        Ok(Self::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Self::MAX))
    }
}

impl WireValue for When {
    fn to_json(&self) -> Result<Json> {
        let zone = self.offset.map_or(TimeZone::UTC, TimeZone::fixed);
        Ok(Json::from_serialize(&timestamp::format_in(self.at, &zone))?)
    }

    fn from_json(name: &str, value: &Json) -> Result<Self> {
        let text: String = decode(name, value)?;
        let at = timestamp::parse_in(&text, &TimeZone::UTC).map_err(|error| unreadable(name, error))?;
        Ok(Self::from(at))
    }
}

impl WireValue for Expires {
    fn to_json(&self) -> Result<Json> {
        match self {
            Self::In(span) => span.to_json(),
            Self::At(when) => when.to_json(),
        }
    }

    fn from_json(name: &str, value: &Json) -> Result<Self> {
        match value.as_str().starts_with('"') {
            true => When::from_json(name, value).map(Self::At),
            false => Duration::from_json(name, value).map(Self::In),
        }
    }
}

macro_rules! writer {
    ($options:ident { $($name:ident $form:literal;)+ }) => {
        impl $options {
            fn write_to(&self, wire: &mut BTreeMap<String, Json>) -> Result<()> {
                $( wire.extend(self.$name.write()?.map(|json| (stringify!($name).to_owned(), json))); )+
                Ok(())
            }
        }
    };
}
apium_options::options! { call_wire => writer CallOptions }
apium_options::options! { rare_wire => writer RareOptions }

macro_rules! reader {
    ($read:ident $options:ident { $($name:ident $form:literal;)+ }) => {
        impl $options {
            /// Reads the option of that name. Returns false if there is none.
            fn $read(&mut self, name: &str, value: &Json) -> Result<bool> {
                match name {
                    $( stringify!($name) => self.$name = WireOption::read(name, value)?, )+
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    };
}
apium_options::options! { call_wire => reader read CallOptions }
apium_options::options! { call_read => reader read_only CallOptions }
apium_options::options! { rare_wire => reader read RareOptions }

/// The options that are set, by Celery's names.
pub(crate) fn wire_options(options: &CallOptions) -> Result<BTreeMap<String, Json>> {
    let mut wire = BTreeMap::new();
    options.write_to(&mut wire)?;
    if let Some(rare) = &options.rare {
        rare.write_to(&mut wire)?;
        if !rare.stamps.is_empty() {
            let names: Vec<_> = rare.stamps.keys().collect();
            wire.insert("stamped_headers".to_owned(), Json::from_serialize(&names)?);
            wire.extend(rare.stamps.clone());
        }
        wire.extend(rare.properties.clone());
    }
    Ok(wire)
}

/// Keywords of `apply_async` that no message carries and that mean nothing for another sender.
const IGNORED: &[&str] = &[
    "chord_size",
    "connection",
    "interval",
    "max_retries",
    "producer",
    "publisher",
    "retry_policy",
    "router",
    "route_name",
    "use_link",
];

/// Reads the options of a signature from a message. Null counts as not set. A name that is no option is a property of
/// the message, as in Celery.
///
/// # Errors
/// [`ErrorKind::Call`] for a value of the wrong type; the text names the option.
pub(crate) fn read_options(wire: &BTreeMap<String, Json>) -> Result<CallOptions> {
    let mut options = CallOptions::default();
    let stamps: Vec<String> = match wire.get("stamped_headers") {
        Some(names) if !names.is_null() => decode("stamped_headers", names)?,
        _ => Vec::new(),
    };
    for (name, value) in wire.iter().filter(|(name, value)| !value.is_null() && *name != "stamped_headers") {
        if stamps.contains(name) {
            options.rare_mut().stamps.insert(name.clone(), value.clone());
        } else if !options.read(name, value)? && !options.read_only(name, value)? && !IGNORED.contains(&&**name) {
            let rare = options.rare_mut();
            if !rare.read(name, value)? {
                rare.properties.insert(name.clone(), value.clone());
            }
        }
    }
    Ok(options)
}

fn decode<T: DeserializeOwned>(name: &str, value: &Json) -> Result<T> {
    value.decode().map_err(|error| unreadable(name, error))
}

fn unreadable(name: &str, error: apium_protocol::error::Error) -> Error {
    Error::new(ErrorKind::Call, format!("read the option `{name}` of a signature")).with_source(error)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn options_are_written_by_celerys_names() {
        let mut options = CallOptions::from("mail");
        options.countdown = Some(Duration::from_millis(1500));
        options.rare_mut().stamps.insert("tenant".into(), Json::from_serialize(&7).unwrap());
        let wire = wire_options(&options).unwrap();
        let shown: Vec<_> = wire.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["countdown=1.5", "queue=\"mail\"", "stamped_headers=[\"tenant\"]", "tenant=7"]);
    }
}
