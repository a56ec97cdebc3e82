//! The first step: a delivery is decoded, and the intake decides what becomes of it. Pure.
//!
//! A message that cannot be read is never acked. It goes to the dead set with its bytes and the reason (the guarantee
//! `nothing-dropped`). As in Celery, FAILURE `NotRegistered` is stored for an unknown task and FAILURE for one whose
//! follow-ups cannot be read, and nothing for other messages that cannot be read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use apium_app::context::request::{DeliveryInfo, Request};
use apium_app::context::result_document::ResultPolicy;
use apium_app::task::registry::Registry;
use apium_protocol::codecs::accept::Accept;
use apium_protocol::codecs::codecs::Codecs;
use apium_protocol::codecs::invocation::Invocation;
use apium_protocol::error::Error;
use apium_protocol::message::body::Body;
use apium_protocol::message::headers::Headers;
use apium_protocol::message::message::Message;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::timestamp;
use apium_transport::broker::consumer::{Content, Delivery};
use apium_transport::broker::dead_set::DeadReason;
use apium_transport::broker::settlement::{Disposition, Receipt};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::follow_up::links::Links;
use crate::pipeline::completion::RefusedDelivery;
use crate::pipeline::task_run::{DeliverySource, TaskLabel, TaskRun};
use crate::pipeline::verdict::RunFacts;
use crate::runs::revoke_reason::RevokeReason;
use crate::runs::revoked::RevokedTasks;
use crate::runs::task_limits::TaskLimits;

/// What the intake needs to admit a message.
pub(crate) struct Intake {
    pub(crate) registry: Arc<Registry>,
    pub(crate) codecs: Codecs,
    pub(crate) accept: Accept,
    pub(crate) task_limits: Arc<TaskLimits>,
    pub(crate) revoked: Arc<RevokedTasks>,
    pub(crate) policy: ResultPolicy,
    pub(crate) hostname: Arc<str>,
    /// `enable_utc`, for messages that do not say whether their times are in UTC.
    pub(crate) utc: bool,
    /// Whether the broker delays messages until their eta. If not, this worker keeps them in its memory.
    pub(crate) broker_delays: bool,
    /// Whether the result backend counts the parts of chords.
    pub(crate) counts_chords: bool,
    /// After so many crashes a message goes to the dead set (`worker_max_crashes`); 0 is no limit.
    pub(crate) max_crashes: u32,
}

/// What becomes of a delivery.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is matched at once, and most deliveries run")]
pub(crate) enum Admission {
    /// It runs when a slot is free.
    Run(TaskRun),
    /// It waits in this worker until its eta.
    Delay(Timestamp, TaskRun),
    /// It has expired or was revoked, so it does not run.
    Revoked(TaskRun, RevokeReason),
    /// Its runs have killed too many workers, so it does not run. A slot ends it, as it may have errbacks.
    CrashLoop(TaskRun),
    /// It is not accepted, or goes back to the broker until its eta.
    Refuse(RefusedDelivery),
}

impl Intake {
    /// Decides what becomes of a delivery.
    pub(crate) fn admit(&self, delivery: Delivery, source: &Arc<DeliverySource>, now: Timestamp) -> Admission {
        let _stop = tracing::trace_span!(target: "apium::walk", "intake", queue = &*delivery.queue).entered();
        let Delivery { receipt, queue, exchange, routing_key, redelivered, crashes, started, content, .. } = delivery;
        let message = match content {
            Content::Message(message) => message,
            Content::Unreadable { reason, .. } => return dead(TaskLabel::default(), receipt, "undecodable", reason),
        };
        // A serializer of the app's own may panic. That must cost this message alone, and not stop the fetching loop.
        let decoded = catch_unwind(AssertUnwindSafe(|| match self.is_foreign(&message) {
            // Its child decodes it.
            true => Ok(Invocation::new(message.headers.clone(), Body::default())),
            false => self.codecs.decode(&message, &self.accept),
        }));
        let Invocation { headers, body, utc, .. } = match decoded {
            Ok(Ok(invocation)) => invocation,
            Ok(Err(error)) => return Admission::Refuse(RefusedDelivery::undecodable(&message, receipt, &error)),
            Err(_) => {
                return dead(
                    TaskLabel::of_message(&message),
                    receipt,
                    "undecodable",
                    "its serializer panicked".to_owned(),
                );
            }
        };
        let priority = message.properties.priority;
        let mut from = DeliveryInfo::default();
        from.exchange = exchange;
        from.routing_key = routing_key;
        from.priority = priority;
        from.redelivered = redelivered;
        from.queue = queue;
        let mut request = Request::from_message(headers, message.properties, body, from).on_host(self.hostname.clone());
        request.utc = utc.unwrap_or(self.utc);
        let raw_body = message.body;
        let Some(task) = request.headers.task.as_deref().and_then(|name| self.registry.get(name)) else {
            return self.unknown(&request, receipt, now);
        };
        if task.is_foreign() {
            request = request.with_raw_body(raw_body);
        }
        let zone = if utc == Some(true) { &TimeZone::UTC } else { &self.policy.zone };
        let (eta, expires) = match times(&request, zone) {
            Ok(times) => times,
            Err(error) => return dead(TaskLabel::of(&request), receipt, "bad-eta", format!("could not {error:#}")),
        };
        // Links that cannot be read must be noticed before the task runs.
        let links = match Links::read(&request) {
            Ok(links) => links,
            Err(error) => {
                let run = RunFacts { request: &request, task, now };
                return self.without_follow_ups(run, receipt, format!("could not {error:#}"));
            }
        };
        if !self.counts_chords && links.as_ref().is_some_and(|links| links.body.is_some()) {
            let text = "it is a part of a chord, and no result backend of this worker counts parts".to_owned();
            return self.without_follow_ups(RunFacts { request: &request, task, now }, receipt, text);
        }
        let eta = eta.filter(|eta| *eta > now);
        let revocation = self.revocation(&request.headers, expires, now);
        let is_crash_loop = self.is_crash_loop(crashes);
        if let Some(eta) = eta.filter(|_| self.broker_delays && revocation.is_none() && !is_crash_loop) {
            return Admission::Refuse(RefusedDelivery {
                label: TaskLabel::of(&request),
                receipt,
                disposition: Disposition::Delay(eta),
                record: None,
                task: None,
            });
        }
        let timelimit = request.headers.timelimit;
        let request = Arc::new(request.within(self.task_limits.of(timelimit, task).in_seconds()));
        let (task, source) = (task.clone(), source.clone());
        let task_run = TaskRun { request, task, receipt, source, crashes, started, expires, links };
        match (revocation, eta) {
            _ if is_crash_loop => Admission::CrashLoop(task_run),
            (Some(why), _) => Admission::Revoked(task_run, why),
            (None, Some(eta)) => Admission::Delay(eta, task_run),
            (None, None) => Admission::Run(task_run),
        }
    }

    /// Whether a message names a foreign task, and has what a worker needs of it outside of its body.
    fn is_foreign(&self, message: &Message) -> bool {
        let Headers { id: Some(_), task: Some(task), .. } = &message.headers else { return false };
        self.registry.get(task).is_some_and(|task| task.is_foreign())
    }

    /// Why a task is not to run now, if it is not: it has expired, or was revoked.
    pub(crate) fn revocation(
        &self,
        task: &Headers,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<RevokeReason> {
        match expires {
            Some(expires) if expires <= now => Some(RevokeReason::Expired),
            _ => self.revoked.contains(task, now).then_some(RevokeReason::Revoked),
        }
    }

    /// Whether a message whose runs had killed so many workers is not run again.
    pub(crate) fn is_crash_loop(&self, crashes: u32) -> bool {
        self.max_crashes > 0 && crashes >= self.max_crashes
    }

    /// Dead-letters a message whose task this worker does not know.
    fn unknown(&self, request: &Request, receipt: Receipt, now: Timestamp) -> Admission {
        let name = request.headers.task.as_deref().unwrap_or_default();
        let exception = ExceptionInfo::not_registered(name);
        let text = format!("no task of the name \"{name}\" is registered with this worker");
        let reason = DeadReason::new("unknown-task", text);
        let mut refused = RefusedDelivery::failed(request, receipt, reason, (&exception, &self.policy, now));
        if let Some(record) = &mut refused.record {
            // Celery stores the keys of `result_extended` as null here.
            record.document.extended = self.policy.extended.then(Box::default);
        }
        Admission::Refuse(refused)
    }

    /// Dead-letters a message whose task would run, but what follows it could not be done: the task has failed.
    fn without_follow_ups(&self, run: RunFacts<'_>, receipt: Receipt, text: String) -> Admission {
        let exception = ExceptionInfo::new("apium", "FollowUpError", text.as_str());
        let reason = DeadReason::new("follow-ups", text);
        let mut refused = RefusedDelivery::failed(run.request, receipt, reason, (&exception, &self.policy, run.now));
        refused.record = refused.record.filter(|_| run.stores_errors());
        refused.task = Some(run.task.name.clone());
        Admission::Refuse(refused)
    }
}

/// The eta and the expiry of a message.
fn times(request: &Request, zone: &TimeZone) -> Result<(Option<Timestamp>, Option<Timestamp>), Error> {
    let read = |text: &Option<String>| text.as_deref().map(|text| timestamp::parse_in(text, zone)).transpose();
    Ok((read(&request.headers.eta)?, read(&request.headers.expires)?))
}

fn dead(label: TaskLabel, receipt: Receipt, code: &'static str, text: String) -> Admission {
    Admission::Refuse(RefusedDelivery::dead(label, receipt, DeadReason::new(code, text)))
}
