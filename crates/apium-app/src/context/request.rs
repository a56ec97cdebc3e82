//! The request: what a task knows about its execution (Celery: `Task.request`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::body::Body;
use apium_protocol::message::headers::{Headers, TimeLimit};
use apium_protocol::message::properties::Properties;
use apium_protocol::message::signature::Signature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::timestamp;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::Result;
use crate::failure::Failure;

/// What a task knows about its execution. The names are those of Celery.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// The headers of the message: id, retries, group, root and parent id, time limits, origin, stamps, and the
    /// caller's own headers in `extra`.
    pub headers: Headers,
    /// The properties of the message: correlation id, reply_to, priority, …
    pub properties: Properties,
    /// Arguments and links as the message has them. A retry sends them again.
    pub body: Body,
    /// Where the message came from.
    pub delivery_info: DeliveryInfo,
    /// The node name of the worker; the host name in eager mode.
    pub hostname: Arc<str>,
    /// Whether it runs in the caller's process (`task_always_eager`, `apply`).
    pub is_eager: bool,
    /// Whether the function was called without a message, so that there is no id.
    pub called_directly: bool,
    /// Whether times without an offset are UTC: the setting `enable_utc`, or the value in a message of protocol 1.
    pub utc: bool,
    /// The time limits in force, where a worker runs it.
    limits: Option<TimeLimit>,
    /// The body of the message, where it is not decoded here: that of a foreign task.
    raw_body: Option<Bytes>,
}

/// Where a message came from.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct DeliveryInfo {
    /// The exchange; empty for the default one.
    pub exchange: Arc<str>,
    /// The routing key: the queue's name on the default exchange.
    pub routing_key: Arc<str>,
    /// The priority.
    pub priority: Option<u8>,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// The queue from which it was consumed. It is not on the wire, and Celery does not have it.
    pub queue: Arc<str>,
}

macro_rules! retry_request {
    ({ $($name:ident [$($doc:tt)+] ($type:ty) $argument:tt $value:tt;)+ }) => {
        /// What a task asks for when it wants to be run again. Everything that is `None` is taken from the request and
        /// the task.
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        #[serde(default)]
        #[non_exhaustive]
        pub struct RetryRequest {
            /// The error that caused it. It is stored with RETRY, or with FAILURE when no retry is left.
            pub cause: Option<Failure>,
            /// How long to wait from now; zero means at once.
            pub countdown: Option<Duration>,
            /// The earliest instant of the next run. It replaces `countdown`.
            pub eta: Option<Timestamp>,
            /// A limit of retries instead of the task's `max_retries`; `Some(None)` is no limit.
            #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
            pub max_retries: Option<Option<u32>>,
            /// Other positional arguments.
            pub args: Option<Vec<Json>>,
            /// Other keyword arguments.
            pub kwargs: Option<Vec<(String, Json)>>,
            $( #[doc = concat!($($doc)+)] pub $name: Option<$type>, )+
            /// Further headers.
            pub headers: BTreeMap<String, Json>,
            /// Whether the delay follows the task's `retry_backoff` (factor 1 where that is off).
            pub backoff: bool,
            /// Whether `autoretry_for` caused it, and not the task's own code.
            pub automatic: bool,
        }
    };
}
apium_options::options! { retry => retry_request }

/// A value that is there, null included.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Request {
    /// The request of a function that is called without a message: `called_directly` is true, and all else is empty.
    pub fn direct() -> Self {
        Self {
            headers: Headers::default(),
            properties: Properties::default(),
            body: Body::default(),
            delivery_info: DeliveryInfo::default(),
            hostname: "".into(),
            is_eager: false,
            called_directly: true,
            utc: true,
            limits: None,
            raw_body: None,
        }
    }

    /// The request of a message.
    pub fn from_message(headers: Headers, properties: Properties, body: Body, delivery_info: DeliveryInfo) -> Self {
        Self { headers, properties, body, delivery_info, called_directly: false, ..Self::direct() }
    }

    /// The same request with the node name of the worker that runs it.
    #[must_use]
    pub fn on_host(mut self, hostname: Arc<str>) -> Self {
        self.hostname = hostname;
        self
    }

    /// The task's id; `None` when called directly.
    pub fn id(&self) -> Option<&TaskId> {
        self.headers.id.as_ref()
    }

    /// The name of the task, as the message has it.
    pub fn task(&self) -> Option<&str> {
        self.headers.task.as_deref()
    }

    /// Positional arguments.
    pub fn args(&self) -> &[Json] {
        &self.body.args
    }

    /// Keyword arguments.
    pub fn kwargs(&self) -> &[(String, Json)] {
        &self.body.kwargs
    }

    /// The positional arguments as one JSON list.
    pub fn args_json(&self) -> Json {
        // A list of JSON texts always has a JSON text.
        Json::from_serialize(&self.shown_body().args).unwrap_or_default()
    }

    /// The keyword arguments as one JSON map.
    pub fn kwargs_json(&self) -> Json {
        struct Pairs<'a>(&'a [(String, Json)]);
        impl serde::Serialize for Pairs<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
            }
        }
        Json::from_serialize(&Pairs(&self.shown_body().kwargs)).unwrap_or_default()
    }

    /// The body as lists and documents show it. One that is left to a child is read where it is plain JSON.
    fn shown_body(&self) -> Cow<'_, Body> {
        let is_json = self.properties.content_type.as_deref() == Some("application/json");
        match &self.raw_body {
            Some(raw) if is_json && self.headers.compression.is_none() => {
                Cow::Owned(Body::from_json(raw).unwrap_or_default())
            }
            _ => Cow::Borrowed(&self.body),
        }
    }

    /// Retries so far, 0 for the first run.
    pub fn retries(&self) -> u32 {
        self.headers.retries
    }

    /// The id of the group of which it is a member.
    pub fn group(&self) -> Option<&str> {
        self.headers.group.as_deref()
    }

    /// Its position in the group.
    pub fn group_index(&self) -> Option<i64> {
        self.headers.group_index
    }

    /// The body of the chord to whose header it belongs. Its id is the option `task_id` of this signature.
    pub fn chord(&self) -> Option<&Signature> {
        self.body.embed.chord.as_deref()
    }

    /// The steps of the chain that follow, in reverse: the next step is the last element. They are read here: a worker
    /// passes on their text (`body.embed.chain`).
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::error::ErrorKind::Codec) for a step that is no signature.
    pub fn chain(&self) -> Result<Vec<Signature>> {
        self.body.embed.chain.as_ref().map_or(Ok(Vec::new()), |steps| Ok(steps.signatures()?))
    }

    /// Signatures to run on success.
    pub fn callbacks(&self) -> &[Signature] {
        self.body.embed.callbacks.as_deref().unwrap_or_default()
    }

    /// Signatures to run on failure (Celery: `errbacks`).
    pub fn errbacks(&self) -> &[Signature] {
        self.body.embed.errbacks.as_deref().unwrap_or_default()
    }

    /// The correlation id: the task id when Celery or Apium sent it.
    pub fn correlation_id(&self) -> Option<&str> {
        self.properties.correlation_id.as_deref()
    }

    /// The queue for replies.
    pub fn reply_to(&self) -> Option<&str> {
        self.properties.reply_to.as_deref()
    }

    /// The program that sent it: `gen<pid>@<host>`. A retry keeps it.
    pub fn origin(&self) -> Option<&str> {
        self.headers.origin.as_deref()
    }

    /// The earliest start that the message names. `None` also for a text that is not a time.
    pub fn eta(&self) -> Option<Timestamp> {
        self.headers.eta.as_deref().and_then(|text| timestamp::parse(text).ok())
    }

    /// When it expires. A text without an offset is read as UTC. `None` also for a text that is not a time.
    pub fn expires(&self) -> Option<Timestamp> {
        self.headers.expires.as_deref().and_then(|text| timestamp::parse(text).ok())
    }

    /// The same request, whose body is left to the child that runs it.
    #[doc(hidden)]
    #[must_use]
    pub fn with_raw_body(mut self, body: Bytes) -> Self {
        self.raw_body = Some(body);
        self
    }

    /// The body of the message, where it is left to the child that runs it.
    #[doc(hidden)]
    pub fn raw_body(&self) -> Option<&Bytes> {
        self.raw_body.as_ref()
    }

    /// The same request with the time limits that are in force for its run.
    #[must_use]
    pub fn within(mut self, limits: TimeLimit) -> Self {
        self.limits = Some(limits);
        self
    }

    /// The time limits in force, in seconds: those of the message, and where it has none those of the task, whose
    /// options include the settings (Celery: `request.time_limit` and `request.soft_time_limit`). Outside of a worker
    /// nothing limits a run, and they are those of the message, which `headers.timelimit` has in any case.
    pub fn timelimit(&self) -> TimeLimit {
        self.limits.unwrap_or(self.headers.timelimit)
    }

    /// The first task of the workflow; the task itself when it is the first.
    pub fn root_id(&self) -> Option<&TaskId> {
        self.headers.root_id.as_ref()
    }

    /// The task that sent this one.
    pub fn parent_id(&self) -> Option<&TaskId> {
        self.headers.parent_id.as_ref()
    }

    /// The caller's own headers; `None` when there are none.
    pub fn headers(&self) -> Option<&BTreeMap<String, Json>> {
        Some(&self.headers.extra).filter(|extra| !extra.is_empty())
    }

    /// Another name for logs and events.
    pub fn shadow(&self) -> Option<&str> {
        self.headers.shadow.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use apium_protocol::json::text::Json;

    use super::Request;

    #[test]
    fn a_direct_call_has_an_empty_request() {
        let request = Request::direct();
        assert!(request.called_directly && !request.is_eager && request.utc);
        assert_eq!((request.id(), request.retries()), (None, 0));
        assert_eq!((request.headers(), request.expires()), (None, None));
    }

    #[test]
    fn arguments_read_as_one_list_and_one_map() {
        let mut request = Request::direct();
        let json = |text: &str| Json::from_text(text).unwrap();
        request.body.args = vec![json("1"), json("[2]")];
        request.body.kwargs = vec![("b".into(), json("\"x\"")), ("a".into(), json("null"))];
        assert_eq!(request.args_json().as_str(), "[1, [2]]");
        assert_eq!(request.kwargs_json().as_str(), "{\"b\": \"x\", \"a\": null}");
    }

    #[test]
    fn expires_is_an_instant_and_naive_text_is_utc() {
        let mut request = Request::direct();
        request.headers.expires = Some("2026-01-01T00:00:00".into());
        let naive = request.expires().unwrap();
        request.headers.expires = Some("2026-01-01T01:00:00+01:00".into());
        assert_eq!(request.expires(), Some(naive));
        request.headers.expires = Some("soon".into());
        assert_eq!(request.expires(), None);
    }
}
