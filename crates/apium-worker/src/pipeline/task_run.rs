//! A run: one execution of a task, from the claim of its message to the acknowledgement.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use apium_app::context::handed_over::HandedOver;
use apium_app::context::request::Request;
use apium_app::options::rate_limit::RateLimit;
use apium_app::task::registered::RegisteredTask;
use apium_protocol::message::message::Message;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultTuple;
use apium_transport::backend::backend::RunVersion;
use apium_transport::broker::settlement::{Acker, Receipt, Tag};
use jiff::Timestamp;

use crate::follow_up::links::Links;
use crate::limits::ready_runs::QueuedRun;
use crate::pipeline::verdict::RunFacts;

/// Where deliveries came from, and what settles them. Each new consumer has a new one.
pub(crate) struct DeliverySource {
    pub(crate) acker: Arc<dyn Acker>,
    /// Whether the acker stores results of the app's backend, and what follows, in one step with the settlement of the
    /// delivery.
    pub(crate) is_atomic: bool,
}

/// A run that waits for a slot, or is in one.
#[derive(Clone)]
pub(crate) struct TaskRun {
    pub(crate) request: Arc<Request>,
    pub(crate) task: Arc<RegisteredTask>,
    pub(crate) receipt: Receipt,
    pub(crate) source: Arc<DeliverySource>,
    /// How many runs of its message had started when their worker died.
    pub(crate) crashes: u32,
    /// Whether it was marked as started when it was claimed.
    pub(crate) started: bool,
    /// The run does not begin at this instant or later.
    pub(crate) expires: Option<Timestamp>,
    /// The links of its message; `None` when nothing follows it.
    pub(crate) links: Option<Arc<Links>>,
}

impl TaskRun {
    /// Whether it is a part of a chord.
    pub(crate) fn is_part(&self) -> bool {
        self.links.as_ref().is_some_and(|links| links.body.is_some())
    }

    /// Whether the delivery is acked after the run (`acks_late`), and not before it.
    pub(crate) fn acks_late(&self) -> bool {
        self.task.effective.acks_late
    }

    /// Whether it begins again in another child process when its own has died.
    pub(crate) fn begins_again(&self) -> bool {
        let options = &self.task.effective;
        options.acks_late && options.reject_on_worker_lost && !options.retry_on_worker_lost
    }

    /// Whether its message is sent again when its child process has died.
    pub(crate) fn is_retried_when_lost(&self) -> bool {
        let options = &self.task.effective;
        let has_retries = options.max_retries.is_none_or(|most| self.request.retries() < most);
        options.retry_on_worker_lost && has_retries
    }

    /// The same run, whose request says that it was delivered before.
    pub(crate) fn redelivered(&self) -> Self {
        let mut request = Request::clone(&self.request);
        request.delivery_info.redelivered = true;
        Self { request: Arc::new(request), ..self.clone() }
    }

    /// The state of its delivery while it runs.
    pub(crate) fn delivery_in_run(&self) -> DeliveryState {
        if self.acks_late() { DeliveryState::InFlight } else { DeliveryState::AckedEarly }
    }

    /// The version of the results that this run stores. A result backend compares it with the version of a stored
    /// result of another run of the same task.
    pub(crate) fn version(&self) -> RunVersion {
        RunVersion::new(self.request.retries(), delivery_version(&self.receipt))
    }

    /// What the verdict on it depends on, beside the outcome.
    pub(crate) fn facts(&self, now: Timestamp) -> RunFacts<'_> {
        RunFacts { request: &self.request, task: &self.task, now }
    }
}

impl QueuedRun for TaskRun {
    fn task(&self) -> &Arc<str> {
        &self.task.name
    }

    fn id(&self) -> Option<&TaskId> {
        self.request.id()
    }

    fn rate_limit(&self) -> Option<RateLimit> {
        self.task.effective.rate_limit
    }

    fn acks_late(&self) -> bool {
        TaskRun::acks_late(self)
    }

    fn is_redelivered(&self) -> bool {
        self.request.delivery_info.redelivered
    }

    fn is_suspect(&self) -> bool {
        self.crashes > 0
    }

    fn is_started(&self) -> bool {
        self.started
    }

    fn unmark(&mut self) {
        if self.started {
            self.started = false;
            self.source.acker.unmark_started(std::slice::from_ref(&self.receipt));
        }
    }
}

/// How far the run in a slot has come.
#[derive(Debug, Default)]
pub(crate) struct SlotProgress {
    /// Its end is the completer's.
    pub(crate) is_concluded: AtomicBool,
    /// Nothing comes after its end: the slot is about to be free.
    pub(crate) frees_slot: AtomicBool,
}

/// The end of a run, without its outcome.
#[derive(Clone)]
pub(crate) struct RunEnd {
    pub(crate) now: Timestamp,
    /// How long the body took.
    pub(crate) took: Duration,
    /// The tasks that the body sent.
    pub(crate) children: Vec<ResultTuple>,
    /// The parts that it added to its chord and did not send.
    pub(crate) unsent: Vec<TaskId>,
    pub(crate) delivery: DeliveryState,
    /// What a child has left to this worker, where it has sent what follows.
    pub(crate) handed: Option<HandedOver>,
    /// The span of the run, in which what follows is called.
    pub(crate) span: tracing::Span,
}

/// Whether the delivery is still in flight when the run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryState {
    /// Delivered and not settled.
    InFlight,
    /// Acked before the run.
    AckedEarly,
}

/// Names a task in logs and errors. What could not be read of the message is `None`.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskLabel {
    pub(crate) id: Option<TaskId>,
    pub(crate) task: Option<Arc<str>>,
}

impl TaskLabel {
    /// The name and the id in a request.
    pub(crate) fn of(request: &Request) -> Self {
        Self { id: request.headers.id.clone(), task: request.headers.task.clone() }
    }

    /// The name and the id in a message that could not be decoded.
    pub(crate) fn of_message(message: &Message) -> Self {
        Self { id: message.headers.id.clone(), task: message.headers.task.clone() }
    }
}

impl fmt::Display for TaskLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.as_ref().map_or("?", |id| id.as_str());
        write!(f, "{}[{id}]", self.task.as_deref().unwrap_or("?"))
    }
}

impl fmt::Debug for TaskRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.request.id().map_or("?", |id| id.as_str());
        write!(f, "TaskRun({}[{id}] {})", self.task.name, self.receipt)
    }
}

/// A number for a delivery, made of its tag and its fence.
pub(crate) fn delivery_version(receipt: &Receipt) -> u64 {
    let tag = match &receipt.tag {
        Tag::Number(number) => *number,
        // FNV-1a. Unlike the standard hasher it gives the same number on every machine and in every version.
        Tag::Text(text) => text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)),
    };
    (tag.rotate_left(17) ^ receipt.fence).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
