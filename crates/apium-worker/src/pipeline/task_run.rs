//! A run: one execution of a task, from the claim of its message to the acknowledgement.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use apium_app::context::request::Request;
use apium_app::task::registered::RegisteredTask;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultTuple;
use apium_transport::backend::backend::RunVersion;
use apium_transport::broker::settlement::{Acker, Receipt, Tag};
use jiff::Timestamp;

use crate::follow_up::links::Links;
use crate::pipeline::verdict::RunFacts;

/// Where deliveries came from, and what settles them. A new one is made each time the broker is connected anew.
pub(crate) struct DeliverySource {
    pub(crate) acker: Arc<dyn Acker>,
    /// Whether results of the app's own backend are stored in the same step as their delivery is settled.
    pub(crate) is_atomic: bool,
}

/// A run that waits for its slot, or is in it.
pub(crate) struct TaskRun {
    pub(crate) request: Arc<Request>,
    pub(crate) task: Arc<RegisteredTask>,
    pub(crate) receipt: Receipt,
    pub(crate) source: Arc<DeliverySource>,
    /// After this instant it does not begin any more.
    pub(crate) expires: Option<Timestamp>,
    /// What follows it, where something does.
    pub(crate) links: Option<Arc<Links>>,
}

impl TaskRun {
    /// Acked after the run rather than before.
    pub(crate) fn acks_late(&self) -> bool {
        self.task.effective.acks_late
    }

    /// Tells this run's writes from those of other runs of the same task.
    pub(crate) fn version(&self) -> RunVersion {
        RunVersion::new(self.request.retries(), delivery_version(&self.receipt))
    }

    /// What decides about its end.
    pub(crate) fn facts(&self, now: Timestamp) -> RunFacts<'_> {
        RunFacts { request: &self.request, task: &self.task, now }
    }
}

/// The end of a run, but for its outcome.
pub(crate) struct RunEnd {
    pub(crate) now: Timestamp,
    /// How long the body took.
    pub(crate) took: Duration,
    /// What the body sent.
    pub(crate) children: Vec<ResultTuple>,
    pub(crate) delivery: DeliveryState,
}

/// Where the delivery of a run is when the run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryState {
    /// Delivered and not settled.
    InFlight,
    /// Acked before the run.
    AckedEarly,
}

/// Names a task in logs and errors, as far as its message could be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskLabel {
    pub(crate) id: Option<TaskId>,
    pub(crate) task: Option<Arc<str>>,
}

impl TaskLabel {
    /// The name and the id that a request has.
    pub(crate) fn of(request: &Request) -> Self {
        Self { id: request.headers.id.clone(), task: request.headers.task.clone() }
    }
}

impl fmt::Debug for TaskRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.request.id().map_or("?", |id| id.as_str());
        write!(f, "TaskRun({}[{id}] {})", self.task.name, self.receipt)
    }
}

/// One number for a delivery: its tag mixed with its fence.
pub(crate) fn delivery_version(receipt: &Receipt) -> u64 {
    let tag = match &receipt.tag {
        Tag::Number(number) => *number,
        // FNV-1a: equal on every machine and in every version, unlike the standard hasher.
        Tag::Text(text) => text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)),
    };
    (tag.rotate_left(17) ^ receipt.fence).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
