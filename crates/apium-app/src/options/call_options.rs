//! The options of a call (Celery's keywords of `apply_async`), which the caller, its task, a route or a signature
//! gives.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::steps_behind::StepsBehind;
use apium_protocol::message::task_id::TaskId;
use jiff::tz::Offset;
use jiff::{Timestamp, Zoned};

use crate::config::read::{FromValue, InvalidValue};
use crate::config::retry_policy::RetryPolicy;
use crate::config::value::Value;
use crate::options::field::{IntoCallOption, OptionField};
use crate::options::priority::Priority;
use crate::options::task_options::TaskOptions;

/// An instant, and the offset with which messages carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct When {
    /// The instant.
    pub at: Timestamp,
    /// The offset in the message; `None` is that of the app's time zone (`timezone`).
    pub offset: Option<Offset>,
}

impl When {
    /// An instant, and the offset with which messages carry it.
    pub fn new(at: Timestamp, offset: Option<Offset>) -> Self {
        Self { at, offset }
    }
}

impl From<Timestamp> for When {
    fn from(at: Timestamp) -> Self {
        Self { at, offset: None }
    }
}

impl From<&Zoned> for When {
    fn from(zoned: &Zoned) -> Self {
        Self { at: zoned.timestamp(), offset: Some(zoned.offset()) }
    }
}

impl From<Zoned> for When {
    fn from(zoned: Zoned) -> Self {
        Self::from(&zoned)
    }
}

impl From<SystemTime> for When {
    /// A time outside the years -9999 to 9999 becomes the nearest inside them.
    fn from(time: SystemTime) -> Self {
        let early = time < SystemTime::UNIX_EPOCH;
        let edge = if early { Timestamp::MIN } else { Timestamp::MAX };
        Self::from(Timestamp::try_from(time).unwrap_or(edge))
    }
}

/// When a call expires: the latest instant at which it may start (Celery: `expires`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expires {
    /// This long after the call.
    In(Duration),
    /// At an instant.
    At(When),
}

impl IntoCallOption<Expires> for Duration {
    fn into_call_option(self) -> Expires {
        Expires::In(self)
    }
}

macro_rules! call_options {
    ({ $($name:ident [$($doc:tt)+] ($type:ty);)+ }) => {
        /// The options of a call. What is `None` is taken from the task, then from the routes, then from the settings.
        #[derive(Debug, Clone, Default, PartialEq)]
        #[non_exhaustive]
        pub struct CallOptions {
            $( #[doc = concat!($($doc)+)] pub $name: $type, )+
            /// Options that few calls have.
            pub rare: Option<Box<RareOptions>>,
        }

        impl CallOptions {
            /// Fills what is `None` here from `other`, for example from the options of a task or a route. Tables
            /// (headers, stamps, properties) are joined, and an entry that is here stays. `countdown` and `eta` are
            /// filled only if neither is here.
            pub fn fill_from(&mut self, other: &Self) {
                let (countdown, eta) = (self.countdown, self.eta);
                $( self.$name.fill_from(&other.$name); )+
                if countdown.is_some() || eta.is_some() {
                    (self.countdown, self.eta) = (countdown, eta);
                }
                match (&mut self.rare, &other.rare) {
                    (Some(own), Some(other)) => own.fill_from(other),
                    (own @ None, Some(other)) => *own = Some(other.clone()),
                    _ => {}
                }
            }
        }
    };
}
apium_options::options! { call => call_options }

macro_rules! rare_options {
    ({ $($name:ident [$($doc:tt)+] ($type:ty);)+ }) => {
        /// Options that few calls have.
        #[derive(Debug, Clone, Default, PartialEq)]
        #[non_exhaustive]
        pub struct RareOptions {
            $( #[doc = concat!($($doc)+)] pub $name: $type, )+
        }

        impl RareOptions {
            fn fill_from(&mut self, other: &Self) {
                $( self.$name.fill_from(&other.$name); )+
            }
        }
    };
}
apium_options::options! { rare => rare_options }

macro_rules! route_options {
    ($options:ident { $($name:ident ($type:ty);)+ }) => {
        impl $options {
            /// The names of these options that a route can give.
            const OF_ROUTES: &'static [&'static str] = &[$(stringify!($name)),+];

            /// Sets the option of that name. Returns false if a route cannot give it.
            fn set_of_route(&mut self, name: &str, value: &Value) -> Result<bool, InvalidValue> {
                match name {
                    $( stringify!($name) => {
                        self.$name = Option::<$type>::from_value(value)?.map(IntoCallOption::into_call_option);
                    } )+
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    };
}
apium_options::options! { call_route => route_options CallOptions }
apium_options::options! { rare_route => route_options RareOptions }

macro_rules! options_of_task {
    ({ $($name:ident $yes:ident;)+ }) => {
        impl CallOptions {
            /// The options that a call takes from its task.
            pub(crate) fn of_task(task: &TaskOptions) -> Self {
                Self { $( $name: task.$name.clone().map(IntoCallOption::into_call_option), )+ ..Self::default() }
            }
        }
    };
}
apium_options::options! { from_task => options_of_task }

impl CallOptions {
    /// The rare options. Creates them if there are none.
    pub fn rare_mut(&mut self) -> &mut RareOptions {
        self.rare.get_or_insert_default()
    }
}

impl FromValue for CallOptions {
    const KIND: &'static str = "a queue's name, or a table of options of a call (queue, priority, expires, …)";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        let mut options = Self::default();
        match value {
            Value::Text(queue) => options.queue = Some(queue.as_str().into()),
            Value::Table(entries) => {
                for (name, value) in entries {
                    options.set_from_value(name, value).map_err(|invalid| invalid.inside(name))?;
                }
            }
            other => return Err(InvalidValue::new(other, Self::KIND)),
        }
        Ok(options)
    }
}

impl CallOptions {
    fn set_from_value(&mut self, name: &str, value: &Value) -> Result<(), InvalidValue> {
        let is_rare = RareOptions::OF_ROUTES.contains(&name);
        let is_known =
            if is_rare { self.rare_mut().set_of_route(name, value)? } else { self.set_of_route(name, value)? };
        if !is_known {
            let known = [Self::OF_ROUTES, RareOptions::OF_ROUTES].concat();
            return Err(InvalidValue { path: String::new(), ..InvalidValue::unknown_entry(name, &known) });
        }
        Ok(())
    }
}

impl From<&str> for CallOptions {
    /// The options with that queue.
    fn from(queue: &str) -> Self {
        Self { queue: Some(queue.into()), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_set_stay_and_missing_ones_are_filled() {
        let mut call = CallOptions { queue: Some("mine".into()), ..CallOptions::default() };
        call.rare_mut().headers.insert("a".into(), Json::NULL);
        let mut route = CallOptions { priority: Some(7.into()), ..CallOptions::from("theirs") };
        route.rare_mut().headers.insert("b".into(), Json::NULL);
        call.fill_from(&route);
        assert_eq!(call.queue.as_deref(), Some("mine"));
        assert_eq!(call.priority, Some(Priority::Number(7)));
        assert_eq!(call.rare.unwrap().headers.len(), 2);
    }

    #[test]
    fn a_countdown_is_not_mixed_with_the_eta_of_a_route() {
        let mut call = CallOptions { countdown: Some(Duration::ZERO), ..CallOptions::default() };
        call.fill_from(&CallOptions { eta: Some(Timestamp::UNIX_EPOCH.into()), ..CallOptions::default() });
        assert_eq!(call.eta, None);
    }

    #[test]
    fn a_route_may_give_any_option_of_a_call() {
        let table = Value::Table(vec![
            ("queue".into(), "mail".into()),
            ("priority".into(), Value::Int(3)),
            ("expires".into(), "2m".into()),
            ("time_limit".into(), Value::Float(1.5)),
        ]);
        let options = CallOptions::from_value(&table).unwrap();
        assert_eq!(options.queue.as_deref(), Some("mail"));
        assert_eq!(options.expires, Some(Expires::In(Duration::from_secs(120))));
        assert_eq!(options.time_limit, Some(1.5));
        let typo = Value::Table(vec![("que".into(), "mail".into())]);
        assert!(CallOptions::from_value(&typo).unwrap_err().allowed.contains("\"queue\""));
    }
}
