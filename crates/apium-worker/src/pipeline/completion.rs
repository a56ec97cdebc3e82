//! What the completer is to do about one delivery or run.

use std::sync::Arc;

use apium_transport::broker::dead_set::NewDeadLetter;
use apium_transport::broker::settlement::{Acknowledgement, Disposition, Settlement};
use tokio::sync::oneshot;

use crate::follow_up::pending_errback::PendingErrbacks;
use crate::pipeline::task_run::{DeliverySource, TaskLabel, TaskRun};

/// What is to be stored, published and settled.
pub(crate) struct Completion {
    pub(crate) label: TaskLabel,
    pub(crate) source: Arc<DeliverySource>,
    pub(crate) settlement: Settlement,
    /// The registered name of the task, which may have a result backend of its own.
    pub(crate) task: Option<Arc<str>>,
    /// A message for the dead set that is no delivery any more, because it was acked before its run.
    pub(crate) dead_letter: Option<NewDeadLetter>,
    /// Errbacks that this worker calls once the rest is done.
    pub(crate) errbacks: Option<PendingErrbacks>,
    /// Who waits for it.
    pub(crate) done: Option<oneshot::Sender<CompletionStatus>>,
}

/// What became of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CompletionStatus {
    /// Stored, published and settled.
    Settled,
    /// The delivery was given to another consumer meanwhile.
    LeaseLost,
    /// It could not be done; the reason was logged.
    Failed,
}

impl Completion {
    /// A completion that does no more than its settlement.
    pub(crate) fn new(label: TaskLabel, source: Arc<DeliverySource>, settlement: Settlement) -> Self {
        Self { label, source, settlement, task: None, dead_letter: None, errbacks: None, done: None }
    }

    /// Requeues a run that no slot took.
    pub(crate) fn requeue(task_run: TaskRun) -> Self {
        let delivery = Some((task_run.receipt, Acknowledgement::Reject(Disposition::Requeue)));
        let label = TaskLabel::of(&task_run.request);
        Self::new(label, task_run.source, Settlement::default().ending(delivery))
    }
}
