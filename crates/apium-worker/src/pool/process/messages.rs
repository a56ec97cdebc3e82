//! The heads of frames: what crosses between a worker and a child about a run. What depends on Rust types is judged in
//! the child, and crosses as data.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use apium_app::context::handed_over::{HandedOver, HandedPart};
use apium_app::context::request::{DeliveryInfo, Request, RetryRequest};
use apium_app::failure::{Failure, Judgement};
use apium_protocol::error::Result;
use apium_protocol::json::text::Json;
use apium_protocol::message::body::Body;
use apium_protocol::message::headers::{Headers, TimeLimit};
use apium_protocol::message::properties::Properties;
use apium_protocol::message::signature::Signature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{ResultDocument, ResultTuple};
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::RunVersion;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::limits::time_limit::Limits;
use crate::outcome::RunOutcome;
use crate::pool::pool::BodyRun;
use crate::pool::process::frame::{FrameKind, encode};

/// How a child is to serve.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StartHead {
    pub(crate) protocol: u32,
    pub(crate) hostname: Arc<str>,
    /// The place of the child among those that its worker has started, from 0.
    pub(crate) index: u64,
    /// Whether the ends of runs say how much memory the child has.
    pub(crate) memory: bool,
    /// How many runs it may get at once.
    pub(crate) concurrency: usize,
    /// Whether it is to say what its app is.
    #[serde(default)]
    pub(crate) describe: bool,
    /// For a child in Python: the app, as `celery -A` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<Arc<str>>,
    /// For a child in Python: what is logged, as Python names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) loglevel: Option<Arc<str>>,
    /// For a child in Python.
    #[serde(default)]
    pub(crate) results: ResultsBy,
}

/// Who stores results of foreign tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultsBy {
    /// The worker, which has the backend of the app.
    Worker,
    /// The child, by what Celery has for it.
    #[default]
    Child,
}

/// A child is ready for runs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ReadyHead {
    /// What its app is, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<Json>,
}

/// A result to store.
#[derive(Debug, Deserialize)]
pub(crate) struct StoreHead {
    pub(crate) run: u64,
    pub(crate) seq: u64,
    /// Whether the child waits for the answer.
    pub(crate) wait: bool,
}

/// The answer to it.
#[derive(Debug, Serialize)]
pub(crate) struct StoredHead {
    pub(crate) seq: u64,
    /// Why it is not stored.
    pub(crate) error: Option<String>,
}

/// An end that a foreign task has found outside of its body: the child does what follows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OutsideEnd {
    /// FAILURE or REVOKED.
    state: State,
    exc_type: String,
    exc_module: Option<String>,
    exc_message: Vec<Json>,
    traceback: Option<String>,
    /// Whether the hooks of the task are called.
    hooks: bool,
    /// How it was revoked.
    terminated: bool,
    signum: Option<u8>,
    expired: bool,
}

impl OutsideEnd {
    /// The end of a run with this exception.
    pub(crate) fn of(state: State, exception: ExceptionInfo) -> Self {
        let ExceptionInfo { exc_type, exc_message, exc_module, .. } = exception;
        let (traceback, hooks, terminated, signum, expired) = (None, false, false, None, false);
        Self { state, exc_type, exc_module, exc_message, traceback, hooks, terminated, signum, expired }
    }

    /// The same, and the hooks of the task are called.
    pub(crate) fn with_hooks(self) -> Self {
        Self { hooks: true, ..self }
    }

    /// A run that was revoked, terminated with this signal, or has expired.
    pub(crate) fn revoked(reason: &str, signum: Option<u8>) -> Self {
        let (terminated, expired) = (signum.is_some(), reason == "expired");
        Self { terminated, signum, expired, ..Self::of(State::Revoked, ExceptionInfo::task_revoked(reason)) }
    }
}

/// A child runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HelloHead {
    pub(crate) protocol: u32,
    pub(crate) pid: u32,
}

/// A child cannot serve.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FailedHead {
    /// What could not be done, in a word.
    pub(crate) what: String,
    /// Why, for people.
    pub(crate) text: String,
}

/// Names a run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct RunNumber {
    pub(crate) run: u64,
}

/// A head without anything in it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NoHead {}

#[derive(Serialize)]
struct RunHeadRef<'a> {
    run: u64,
    task: &'a str,
    headers: &'a Headers,
    properties: &'a Properties,
    delivery_info: DeliveryData,
    hostname: &'a Arc<str>,
    utc: bool,
    timelimit: [Option<f64>; 2],
    version: Option<(u32, u64)>,
    raw: bool,
    /// For a foreign task that is called as an errback: how many of its first arguments tell of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    errback: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instead: Option<&'a OutsideEnd>,
}

/// A run, as a child gets it.
#[derive(Debug, Deserialize)]
pub(crate) struct RunHead {
    pub(crate) run: u64,
    pub(crate) task: String,
    headers: Headers,
    properties: Properties,
    delivery_info: DeliveryData,
    hostname: Arc<str>,
    utc: bool,
    timelimit: [Option<f64>; 2],
    version: Option<(u32, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DeliveryData {
    exchange: Arc<str>,
    routing_key: Arc<str>,
    priority: Option<u8>,
    redelivered: bool,
    queue: Arc<str>,
}

/// The frame of a run.
///
/// # Errors
/// It is too long for a frame.
pub(crate) fn run_frame(number: u64, run: &BodyRun<'_>) -> io::Result<Vec<u8>> {
    let Request { headers, properties, body, delivery_info: from, hostname, utc, .. } = run.ctx.request();
    let TimeLimit { hard, soft } = run.limits.in_seconds();
    // The arguments of an errback are not those of the message, whose request it has.
    let raw = run.ctx.request().raw_body().filter(|_| run.errback.is_none());
    let head = RunHeadRef {
        run: number,
        task: &run.task.name,
        headers,
        properties,
        delivery_info: DeliveryData {
            exchange: from.exchange.clone(),
            routing_key: from.routing_key.clone(),
            priority: from.priority,
            redelivered: from.redelivered,
            queue: from.queue.clone(),
        },
        hostname,
        utc: *utc,
        timelimit: [hard, soft],
        version: run.ctx.run_version().map(|version| (version.retries, version.delivery)),
        raw: raw.is_some(),
        errback: run.errback.filter(|_| run.task.is_foreign()),
        instead: run.instead,
    };
    match raw {
        Some(raw) => encode(FrameKind::Run, &head, raw),
        None => encode(FrameKind::Run, &head, &body.to_json()),
    }
}

impl RunHead {
    /// The version of the run, for the result backend.
    pub(crate) fn version(&self) -> Option<RunVersion> {
        self.version.map(|(retries, delivery)| RunVersion::new(retries, delivery))
    }

    /// The soft limit, which the child keeps itself. The hard one is the worker's.
    pub(crate) fn limits(&self) -> Limits {
        let soft = self.timelimit[1].and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Limits { soft, hard: None }
    }

    /// The request of the run, whose body is this JSON.
    ///
    /// # Errors
    /// A body that cannot be read.
    pub(crate) fn into_request(self, body: &Bytes) -> Result<Request> {
        let DeliveryData { exchange, routing_key, priority, redelivered, queue } = self.delivery_info;
        let mut from = DeliveryInfo::default();
        (from.exchange, from.routing_key, from.priority) = (exchange, routing_key, priority);
        (from.redelivered, from.queue) = (redelivered, queue);
        let mut request = Request::from_message(self.headers, self.properties, Body::from_json(body)?, from);
        request.utc = self.utc;
        let [hard, soft] = self.timelimit;
        Ok(request.on_host(self.hostname).within(TimeLimit { hard, soft }))
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RunEndKind {
    Success,
    Failure,
    Retry,
    Reject,
    Ignore,
    Replace,
    Unavailable,
    #[default]
    Cancelled,
    Retried,
    Revoked,
}

/// The end of a run. The value of a success is the body of the frame.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct EndedHead {
    pub(crate) run: u64,
    end: RunEndKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<RetryRequest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    requeue: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replace: Option<Box<Signature>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) children: Vec<ResultTuple>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unsent: Vec<TaskId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<u64>,
    /// The child has sent what follows the task, which is a foreign one.
    #[serde(default, skip_serializing)]
    handled: bool,
    /// What Celery would store, without its result: there where the worker is to store the state.
    #[serde(default, skip_serializing)]
    document: Option<Json>,
    /// Why the message was no run.
    #[serde(default, skip_serializing)]
    refused: Option<String>,
    #[serde(default, skip_serializing)]
    records: Vec<ResultDocument>,
    #[serde(default, skip_serializing)]
    parts: Vec<HandedPart>,
    /// The option `throws` names the exception.
    #[serde(default, skip_serializing)]
    expected: bool,
}

impl EndedHead {
    /// An outcome as data, and the value of a success.
    pub(crate) fn of(run: u64, outcome: RunOutcome) -> (Self, Bytes) {
        let mut head = Self { run, ..Self::default() };
        let mut value = Bytes::new();
        head.end = match outcome {
            RunOutcome::Success(json) => {
                value = json.into_bytes();
                RunEndKind::Success
            }
            RunOutcome::Failure(failure) => {
                head.failure = Some(failure);
                RunEndKind::Failure
            }
            RunOutcome::Unavailable(failure) => {
                head.failure = Some(failure);
                RunEndKind::Unavailable
            }
            RunOutcome::Retry(retry) => {
                head.retry = Some(retry);
                RunEndKind::Retry
            }
            RunOutcome::Reject { reason, requeue } => {
                (head.reason, head.requeue) = (Some(reason), requeue);
                RunEndKind::Reject
            }
            RunOutcome::Replace(with) => {
                head.replace = Some(with);
                RunEndKind::Replace
            }
            RunOutcome::Ignore => RunEndKind::Ignore,
            // A child gives no other: it knows no hard limit, and what is revoked or expired does not come here.
            _ => RunEndKind::Cancelled,
        };
        (head, value)
    }

    /// What a child leaves to the worker that has sent what follows the task.
    pub(crate) fn take_handed_over(&mut self) -> Option<HandedOver> {
        let (records, parts) = (std::mem::take(&mut self.records), std::mem::take(&mut self.parts));
        self.handled.then_some(HandedOver { is_stored: self.document.is_none(), records, parts })
    }

    /// The outcome; `None` for a run that was cancelled, which whoever cancelled it has.
    pub(crate) fn into_outcome(self, value: Bytes) -> Option<RunOutcome> {
        let lacks = |what: &str| {
            let text = format!("the child process ended the run as {:?} without {what}", self.end);
            RunOutcome::Failure(Failure::message(text))
        };
        Some(match self.end {
            // A result that nobody stores need not be told.
            RunEndKind::Success if value.is_empty() => RunOutcome::Success(Json::NULL),
            RunEndKind::Success => match Json::from_bytes(value) {
                Ok(json) => RunOutcome::Success(json),
                Err(error) => RunOutcome::Failure(Failure::from_error(error)),
            },
            RunEndKind::Failure => match self.failure {
                Some(failure) if self.handled || self.refused.is_some() => {
                    let mut judgement = Judgement::default();
                    (judgement.expected, judgement.bad_arguments) = (self.expected, self.refused.is_some());
                    RunOutcome::Failure(failure.judged(judgement))
                }
                Some(failure) => RunOutcome::Failure(failure),
                None => lacks("a failure"),
            },
            RunEndKind::Retried => RunOutcome::Retried { cause: self.failure },
            RunEndKind::Unavailable => self.failure.map_or_else(|| lacks("a failure"), RunOutcome::Unavailable),
            RunEndKind::Retry => self.retry.map_or_else(|| lacks("its wishes"), RunOutcome::Retry),
            RunEndKind::Reject => RunOutcome::Reject { reason: self.reason.unwrap_or_default(), requeue: self.requeue },
            RunEndKind::Replace => self.replace.map_or_else(|| lacks("a signature"), RunOutcome::Replace),
            RunEndKind::Ignore => RunOutcome::Ignore,
            RunEndKind::Revoked => RunOutcome::Revoked,
            RunEndKind::Cancelled => return None,
        })
    }
}
