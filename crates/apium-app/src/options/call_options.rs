//! The options of a call (Celery's `apply_async` keywords), as the caller, a task, a route or a signature gives them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;
use jiff::tz::Offset;
use jiff::{Timestamp, Zoned};

use crate::config::read::{FromValue, InvalidValue};
use crate::config::retry_policy::RetryPolicy;
use crate::config::value::Value;

/// An instant with the offset it is written with (`None` is the app's time zone). There is no naive time (TASK guide,
/// difference 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct When {
    /// The instant.
    pub at: Timestamp,
    /// The offset on the wire.
    pub offset: Option<Offset>,
}

impl When {
    /// An instant, and the offset that it is written with.
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
    /// An instant outside of what can be written (years -9999 to 9999) becomes the nearest that can.
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
    /// After this long, from the call on.
    In(Duration),
    /// At an instant.
    At(When),
}

/// The options of a call. What is `None` is taken from the task, then from the routes, then from the settings.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct CallOptions {
    /// The id (default: a random one). An id that was used before is not refused; its stored SUCCESS stays.
    pub task_id: Option<TaskId>,
    /// Run this long from now at the earliest; beats `eta`, zero is none.
    pub countdown: Option<Duration>,
    /// Run at this instant at the earliest.
    pub eta: Option<When>,
    /// Not to be started later.
    pub expires: Option<Expires>,
    /// The queue's name.
    pub queue: Option<Arc<str>>,
    /// The exchange (default: the queue's).
    pub exchange: Option<Arc<str>>,
    /// The routing key (default: the queue's).
    pub routing_key: Option<Arc<str>>,
    /// The priority, 0 to 255; which end comes first is the broker's (`report` says).
    pub priority: Option<u8>,
    /// The serializer's name.
    pub serializer: Option<Cow<'static, str>>,
    /// The compression's name; an empty text turns off what the task or the settings ask for.
    pub compression: Option<Cow<'static, str>>,
    /// Hard limit in seconds.
    pub time_limit: Option<f64>,
    /// Soft limit in seconds.
    pub soft_time_limit: Option<f64>,
    /// Store no result.
    pub ignore_result: Option<bool>,
    /// 2 persistent (default), 1 transient.
    pub delivery_mode: Option<u8>,
    /// Whether to try publishing again (`task_publish_retry`).
    pub retry: Option<bool>,
    /// How to try publishing again (`task_publish_retry_policy`).
    pub retry_policy: Option<RetryPolicy>,
    /// How long publishing may take in all (`broker_publish_timeout`).
    pub publish_timeout: Option<Duration>,
    /// What few calls have.
    pub rare: Option<Box<RareOptions>>,
}

/// Options that few calls have.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct RareOptions {
    /// The caller's own headers, merged over the standard ones.
    pub headers: BTreeMap<String, Json>,
    /// Another name for logs and monitors.
    pub shadow: Option<String>,
    /// Run on success, with the result prepended.
    pub link: Vec<WireSignature>,
    /// Run on failure.
    pub link_error: Vec<WireSignature>,
    /// The rest of a chain, reversed.
    pub chain: Option<Vec<WireSignature>>,
    /// The body of the chord whose header this task belongs to.
    pub chord: Option<Arc<WireSignature>>,
    /// The group's id.
    pub group_id: Option<String>,
    /// The position in the group.
    pub group_index: Option<i64>,
    /// The first task of the workflow (default: from the running task, else the own id).
    pub root_id: Option<TaskId>,
    /// The task that sends this one (default: the running task).
    pub parent_id: Option<TaskId>,
    /// Where an RPC reply goes (default: the app's).
    pub reply_to: Option<Arc<str>>,
    /// Retries so far.
    pub retries: Option<u32>,
    /// How many times `replace()` made this call.
    pub replaced_task_nesting: Option<u32>,
    /// Stamps: header names with values.
    pub stamps: BTreeMap<String, Json>,
    /// What logs show instead of the positional arguments.
    pub argsrepr: Option<String>,
    /// What logs show instead of the keyword arguments.
    pub kwargsrepr: Option<String>,
    /// Whether the call is recorded among the children of the running task (default true).
    pub add_to_parent: Option<bool>,
    /// Further message properties (`message_id`, `app_id`, …).
    pub properties: BTreeMap<String, Json>,
}

impl CallOptions {
    /// The rare options, made when there are none yet.
    pub fn rare_mut(&mut self) -> &mut RareOptions {
        self.rare.get_or_insert_default()
    }

    /// Fills what is `None` here from `other` (a task's attributes, a route). Headers and stamps are joined; what
    /// stands here stays.
    pub fn fill_from(&mut self, other: &Self) {
        macro_rules! fill {
            ($($field:ident),+) => { $( if self.$field.is_none() { self.$field.clone_from(&other.$field); } )+ };
        }
        // A countdown here leaves no room for another's eta, and the other way round.
        if self.countdown.is_none() && self.eta.is_none() {
            fill!(countdown, eta);
        }
        fill!(task_id, expires, queue, exchange, routing_key, priority, serializer, compression);
        fill!(time_limit, soft_time_limit, ignore_result, delivery_mode, retry, retry_policy, publish_timeout);
        match (&mut self.rare, &other.rare) {
            (Some(own), Some(other)) => own.fill_from(other),
            (own @ None, Some(other)) => *own = Some(other.clone()),
            _ => {}
        }
    }
}

impl RareOptions {
    fn fill_from(&mut self, other: &Self) {
        macro_rules! fill {
            ($($field:ident),+) => { $( if self.$field.is_none() { self.$field.clone_from(&other.$field); } )+ };
        }
        fill!(shadow, chain, chord, group_id, group_index, root_id, parent_id, reply_to, retries);
        fill!(replaced_task_nesting, argsrepr, kwargsrepr, add_to_parent);
        if self.link.is_empty() {
            self.link.clone_from(&other.link);
        }
        if self.link_error.is_empty() {
            self.link_error.clone_from(&other.link_error);
        }
        for (own, other) in [
            (&mut self.headers, &other.headers),
            (&mut self.stamps, &other.stamps),
            (&mut self.properties, &other.properties),
        ] {
            for (name, value) in other {
                own.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
    }
}

/// The options that a route can give.
const ROUTE_OPTIONS: &[&str] = &[
    "queue",
    "exchange",
    "routing_key",
    "priority",
    "serializer",
    "compression",
    "expires",
    "countdown",
    "time_limit",
    "soft_time_limit",
    "ignore_result",
    "delivery_mode",
    "retry",
    "retry_policy",
    "shadow",
];

impl FromValue for CallOptions {
    const KIND: &'static str = "a queue's name, or a table of options of a call (queue, priority, expires, …)";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        let mut options = Self::default();
        match value {
            Value::Text(queue) => options.queue = Some(queue.as_str().into()),
            Value::Table(entries) => {
                for (name, value) in entries {
                    options.set_from_value(name, value).map_err(|wrong| wrong.inside(name))?;
                }
            }
            other => return Err(InvalidValue::new(other, Self::KIND)),
        }
        Ok(options)
    }
}

impl CallOptions {
    fn set_from_value(&mut self, name: &str, value: &Value) -> Result<(), InvalidValue> {
        fn text(value: &Value) -> Result<Option<Arc<str>>, InvalidValue> {
            Ok(Option::<String>::from_value(value)?.map(Arc::from))
        }
        fn seconds(value: &Value) -> Result<Option<f64>, InvalidValue> {
            Ok(Option::<Duration>::from_value(value)?.map(|span| span.as_secs_f64()))
        }
        match name {
            "queue" => self.queue = text(value)?,
            "exchange" => self.exchange = text(value)?,
            "routing_key" => self.routing_key = text(value)?,
            "priority" => self.priority = Option::from_value(value)?,
            "serializer" => self.serializer = Option::<String>::from_value(value)?.map(Cow::Owned),
            "compression" => self.compression = Option::<String>::from_value(value)?.map(Cow::Owned),
            "expires" => self.expires = Option::<Duration>::from_value(value)?.map(Expires::In),
            "countdown" => self.countdown = Option::from_value(value)?,
            "time_limit" => self.time_limit = seconds(value)?,
            "soft_time_limit" => self.soft_time_limit = seconds(value)?,
            "ignore_result" => self.ignore_result = Option::from_value(value)?,
            "delivery_mode" => self.delivery_mode = Option::from_value(value)?,
            "retry" => self.retry = Option::from_value(value)?,
            "retry_policy" => self.retry_policy = Option::from_value(value)?,
            "shadow" => self.rare_mut().shadow = Option::from_value(value)?,
            _ => return Err(InvalidValue { path: String::new(), ..InvalidValue::unknown_entry(name, ROUTE_OPTIONS) }),
        }
        Ok(())
    }
}

impl From<&str> for CallOptions {
    /// For a queue of that name.
    fn from(queue: &str) -> Self {
        Self { queue: Some(queue.into()), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_stays_and_what_is_missing_is_filled() {
        let mut call = CallOptions { queue: Some("mine".into()), ..CallOptions::default() };
        call.rare_mut().headers.insert("a".into(), Json::NULL);
        let mut route = CallOptions { priority: Some(7), ..CallOptions::from("theirs") };
        route.rare_mut().headers.insert("b".into(), Json::NULL);
        call.fill_from(&route);
        assert_eq!(call.queue.as_deref(), Some("mine"));
        assert_eq!(call.priority, Some(7));
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
