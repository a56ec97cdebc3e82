//! Options of a call as they stand in a signature on the wire: `apply_async`'s names.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::timestamp;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::options::call_options::{CallOptions, Expires, RareOptions, When};

/// An option that travels.
trait OnWire: Sized {
    /// How it is written; `None` where it is not given.
    fn written(&self) -> Result<Option<Json>>;

    /// Reads one that is given.
    fn read(name: &str, value: &Json) -> Result<Self>;
}

/// The value of such an option.
trait WireForm: Sized {
    fn form(&self) -> Result<Json>;

    fn of_form(name: &str, value: &Json) -> Result<Self>;
}

impl<T: WireForm> OnWire for Option<T> {
    fn written(&self) -> Result<Option<Json>> {
        self.as_ref().map(WireForm::form).transpose()
    }

    fn read(name: &str, value: &Json) -> Result<Self> {
        T::of_form(name, value).map(Some)
    }
}

/// Links: Celery writes one alone without a list.
impl OnWire for Vec<WireSignature> {
    fn written(&self) -> Result<Option<Json>> {
        Ok((!self.is_empty()).then(|| Json::from_serialize(self)).transpose()?)
    }

    fn read(name: &str, value: &Json) -> Result<Self> {
        match value.as_str().starts_with('{') {
            true => Ok(vec![decode(name, value)?]),
            false => decode(name, value),
        }
    }
}

impl OnWire for BTreeMap<String, Json> {
    fn written(&self) -> Result<Option<Json>> {
        Ok((!self.is_empty()).then(|| Json::from_serialize(self)).transpose()?)
    }

    fn read(name: &str, value: &Json) -> Result<Self> {
        decode(name, value)
    }
}

macro_rules! as_serde_writes_them {
    ($($type:ty),+) => {$(
        impl WireForm for $type {
            fn form(&self) -> Result<Json> {
                Ok(Json::from_serialize(self)?)
            }

            fn of_form(name: &str, value: &Json) -> Result<Self> {
                decode(name, value)
            }
        }
    )+};
}
as_serde_writes_them!(bool, u8, u32, i64, f64, String, Vec<WireSignature>);

macro_rules! texts {
    ($($type:ty),+) => {$(
        impl WireForm for $type {
            fn form(&self) -> Result<Json> {
                Ok(Json::from_serialize(self)?)
            }

            fn of_form(name: &str, value: &Json) -> Result<Self> {
                decode::<String>(name, value).map(Self::from)
            }
        }
    )+};
}
texts!(TaskId, Arc<str>, Cow<'static, str>);

impl WireForm for Arc<WireSignature> {
    fn form(&self) -> Result<Json> {
        Ok(Json::from_serialize(&**self)?)
    }

    fn of_form(name: &str, value: &Json) -> Result<Self> {
        decode(name, value).map(Self::new)
    }
}

impl WireForm for Duration {
    fn form(&self) -> Result<Json> {
        Ok(Json::from_serialize(&self.as_secs_f64())?)
    }

    /// A time that is over is none.
    fn of_form(name: &str, value: &Json) -> Result<Self> {
        let seconds: f64 = decode(name, value)?;
        Ok(Self::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Self::MAX))
    }
}

impl WireForm for When {
    fn form(&self) -> Result<Json> {
        let zone = self.offset.map_or(TimeZone::UTC, TimeZone::fixed);
        Ok(Json::from_serialize(&timestamp::format_in(self.at, &zone))?)
    }

    fn of_form(name: &str, value: &Json) -> Result<Self> {
        let text: String = decode(name, value)?;
        let at = timestamp::parse_in(&text, &TimeZone::UTC).map_err(|error| {
            Error::new(ErrorKind::Call, format!("read the option `{name}` of a signature")).with_source(error)
        })?;
        Ok(Self::from(at))
    }
}

impl WireForm for Expires {
    fn form(&self) -> Result<Json> {
        match self {
            Self::In(span) => span.form(),
            Self::At(when) => when.form(),
        }
    }

    fn of_form(name: &str, value: &Json) -> Result<Self> {
        match value.as_str().starts_with('"') {
            true => When::of_form(name, value).map(Self::At),
            false => Duration::of_form(name, value).map(Self::In),
        }
    }
}

macro_rules! writer {
    ($options:ident { $($name:ident $form:literal;)+ }) => {
        impl $options {
            fn write(&self, wire: &mut BTreeMap<String, Json>) -> Result<()> {
                $( wire.extend(self.$name.written()?.map(|json| (stringify!($name).to_owned(), json))); )+
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
            /// Reads an option; false for a name that is none.
            fn $read(&mut self, name: &str, value: &Json) -> Result<bool> {
                match name {
                    $( stringify!($name) => self.$name = OnWire::read(name, value)?, )+
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

/// The options that are given, by Celery's names.
pub(crate) fn wire_options(options: &CallOptions) -> Result<BTreeMap<String, Json>> {
    let mut wire = BTreeMap::new();
    options.write(&mut wire)?;
    if let Some(rare) = &options.rare {
        rare.write(&mut wire)?;
        if !rare.stamps.is_empty() {
            let names: Vec<_> = rare.stamps.keys().collect();
            wire.insert("stamped_headers".to_owned(), Json::from_serialize(&names)?);
            wire.extend(rare.stamps.clone());
        }
        wire.extend(rare.properties.clone());
    }
    Ok(wire)
}

/// Names that `apply_async` takes and no message carries. A policy of publishing is how the caller of the signature
/// would have published it.
const NOT_SENT: &[&str] = &[
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

/// The options of a signature that came in a message. Null is as if it were not there. What has no name of Celery's is
/// a property of the message, as in Celery.
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
        } else if !options.read(name, value)? && !options.read_only(name, value)? && !NOT_SENT.contains(&&**name) {
            let rare = options.rare_mut();
            if !rare.read(name, value)? {
                rare.properties.insert(name.clone(), value.clone());
            }
        }
    }
    Ok(options)
}

fn decode<T: DeserializeOwned>(name: &str, value: &Json) -> Result<T> {
    value.decode().map_err(|error| {
        Error::new(ErrorKind::Call, format!("read the option `{name}` of a signature")).with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn options_have_celerys_names() {
        let mut options = CallOptions::from("mail");
        options.countdown = Some(Duration::from_millis(1500));
        options.rare_mut().stamps.insert("tenant".into(), Json::from_serialize(&7).unwrap());
        let wire = wire_options(&options).unwrap();
        let shown: Vec<_> = wire.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["countdown=1.5", "queue=\"mail\"", "stamped_headers=[\"tenant\"]", "tenant=7"]);
    }
}
