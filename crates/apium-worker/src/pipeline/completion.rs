//! Completions: what the completer is to do about a delivery or a run, and how far it has come.

use std::collections::HashSet;
use std::sync::Arc;

use apium_app::context::request::Request;
use apium_app::context::result_document::{ResultPolicy, ResultUpdate, result_document};
use apium_protocol::error::{Error as ProtocolError, ErrorKind as ProtocolErrorKind};
use apium_protocol::message::message::Message;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::{ResultRecord, RunVersion};
use apium_transport::broker::dead_set::{DeadReason, NewDeadLetter};
use apium_transport::broker::settlement::{Acknowledgement, Disposition, Receipt, Settlement, lost_receipts};
use apium_transport::error::{Error, ErrorKind, Result};
use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::follow_up::count_parts::EndedChord;
use crate::follow_up::pending_errback::PendingErrbacks;
use crate::pipeline::task_run::{DeliverySource, TaskLabel, TaskRun, delivery_version};
use crate::pool::guard::Panicked;

/// What is to be stored, published and settled for one delivery or run.
pub(crate) struct Completion {
    pub(crate) label: TaskLabel,
    pub(crate) source: Arc<DeliverySource>,
    pub(crate) settlement: Settlement,
    /// The registered name of the task, which may have a result backend of its own.
    pub(crate) task: Option<Arc<str>>,
    /// A message for the dead set whose delivery was acked before the run.
    pub(crate) dead_letter: Option<Box<NewDeadLetter>>,
    /// Errbacks that this worker calls when the settlement is done.
    pub(crate) errbacks: Option<PendingErrbacks>,
    /// What is done instead when the store refuses the result for its size.
    pub(crate) instead: Option<Instead>,
    /// Whether it belongs to the beginning of a run, which does not begin when it cannot be done.
    pub(crate) begins: bool,
    /// Whom to tell when it is done.
    pub(crate) waiter: Option<oneshot::Sender<CompletionStatus>>,
}

/// Makes another completion of one whose result the store refused.
pub(crate) struct Instead(pub(crate) Box<dyn FnOnce(&Error) -> Completion + Send + Sync>);

/// What became of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CompletionStatus {
    /// Stored, published and settled.
    Settled,
    /// Another consumer has the delivery.
    LeaseLost,
    /// It could not be done. The error was logged.
    Failed,
}

impl Completion {
    /// A completion that is a settlement and nothing else.
    pub(crate) fn new(label: TaskLabel, source: Arc<DeliverySource>, settlement: Settlement) -> Self {
        Self {
            label,
            source,
            settlement,
            task: None,
            dead_letter: None,
            errbacks: None,
            instead: None,
            begins: false,
            waiter: None,
        }
    }

    /// The completion that is done instead of this one, whose result the store refused with `error`; `None` where
    /// nothing else can be done.
    pub(crate) fn instead_of(&mut self, error: &Error) -> Option<Self> {
        let Instead(make) = self.instead.take().filter(|_| error.kind() == ErrorKind::TooLarge)?;
        let waiter = self.waiter.take();
        Some(Self { waiter, ..make(error) })
    }

    /// The completion that requeues a run.
    pub(crate) fn requeue(task_run: &TaskRun) -> Self {
        Self::reject(task_run, Disposition::Requeue)
    }

    /// The completion that delays a run at the broker until `due`.
    pub(crate) fn delay(task_run: &TaskRun, due: Timestamp) -> Self {
        Self::reject(task_run, Disposition::Delay(due))
    }

    /// The completion of a run whose end cannot be told, since code of the app panicked where nothing expects it: its
    /// message goes to the dead set.
    pub(crate) fn panicked(task_run: &TaskRun, panicked: &Panicked) -> Self {
        let text = format!("code of the app {panicked}; how the run ended is not known");
        Self::reject(task_run, Disposition::Dead(DeadReason::new("rejected", text)))
    }

    fn reject(task_run: &TaskRun, disposition: Disposition) -> Self {
        let delivery = Some((task_run.receipt.clone(), Acknowledgement::Reject(disposition)));
        let label = TaskLabel::of(&task_run.request);
        Self::new(label, task_run.source.clone(), Settlement::default().ending(delivery))
    }

    /// Whether errbacks that this worker calls belong to it, or may come by its settlement.
    pub(crate) fn may_have_errbacks(&self) -> bool {
        self.errbacks.is_some() || self.settlement.follow_ups.is_some()
    }

    /// The completion that stores the result of this one, and does nothing else.
    pub(crate) fn of_record(&self) -> Option<Self> {
        let mut settlement = Settlement::default();
        settlement.record = Some(self.settlement.record.clone()?);
        let task = self.task.clone();
        Some(Self { task, ..Self::new(self.label.clone(), self.source.clone(), settlement) })
    }
}

/// A delivery that this worker does not run now.
#[derive(Debug)]
pub(crate) struct RefusedDelivery {
    pub(crate) label: TaskLabel,
    pub(crate) receipt: Receipt,
    pub(crate) disposition: Disposition,
    /// The result to store, if any.
    pub(crate) record: Option<ResultRecord>,
    /// The registered name of its task, which may have a result backend of its own.
    pub(crate) task: Option<Arc<str>>,
}

impl RefusedDelivery {
    /// A delivery that goes to the dead set, and for whose task nothing is stored.
    pub(crate) fn dead(label: TaskLabel, receipt: Receipt, reason: DeadReason) -> Self {
        Self { label, receipt, disposition: Disposition::Dead(reason), record: None, task: None }
    }

    /// A message that cannot be decoded, or is in a format that is not accepted.
    pub(crate) fn undecodable(message: &Message, receipt: Receipt, error: &ProtocolError) -> Self {
        let code = match error.kind() {
            ProtocolErrorKind::NotAccepted | ProtocolErrorKind::UnknownSerializer => "content-type",
            _ => "undecodable",
        };
        Self::dead(TaskLabel::of_message(message), receipt, DeadReason::new(code, format!("could not {error:#}")))
    }

    /// A delivery that goes to the dead set, and whose task has failed with this exception.
    pub(crate) fn failed(
        request: &Request,
        receipt: Receipt,
        reason: DeadReason,
        (exception, policy, now): (&ExceptionInfo, &ResultPolicy, Timestamp),
    ) -> Self {
        let record = request.id().map(|id| {
            let update = ResultUpdate { state: State::Failure, result: exception.to_json(), traceback: None };
            let document = result_document(request, id.clone(), update, Vec::new(), policy, now);
            let run = RunVersion::new(request.retries(), delivery_version(&receipt));
            let reply_to = request.properties.reply_to.clone();
            ResultRecord::new(document).by(Some(run)).kept_for(policy.ttl).replying_to(reply_to)
        });
        Self { record, ..Self::dead(TaskLabel::of(request), receipt, reason) }
    }

    /// A delivery that could not be taken in, since code that reads it panicked.
    pub(crate) fn panicked(receipt: Receipt, panicked: &Panicked) -> Self {
        let reason = DeadReason::new("undecodable", format!("the code that reads it {panicked}"));
        Self::dead(TaskLabel::default(), receipt, reason)
    }

    /// The completion that rejects it.
    pub(crate) fn completion(self, source: &Arc<DeliverySource>) -> Completion {
        let delivery = Some((self.receipt, Acknowledgement::Reject(self.disposition)));
        let settlement = Settlement::default().storing(self.record).ending(delivery);
        Completion { task: self.task, ..Completion::new(self.label, source.clone(), settlement) }
    }
}

/// What is done of a group of completions.
#[derive(Debug, Clone, Default)]
pub(crate) struct BatchProgress {
    pub(crate) stage: Stage,
    /// Deliveries that another consumer has.
    pub(crate) lost: HashSet<Receipt>,
    /// Chords whose bodies are published, and that are still to be ended.
    pub(crate) chords: Vec<EndedChord>,
}

/// The last stage that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Stage {
    #[default]
    Nothing,
    /// The dead letters of early-ack runs are in the dead set.
    DeadLettered,
    Stored,
    Published,
    Acked,
}

impl BatchProgress {
    /// Collects the receipts whose lease was lost. That some are lost is no error: the others were settled.
    pub(crate) fn collect_lost(&mut self, settled: Result<()>) -> Result<()> {
        match settled {
            Err(error) if error.kind() == ErrorKind::LeaseLost => {
                self.lost.extend(lost_receipts(&error).iter().cloned());
                Ok(())
            }
            settled => settled,
        }
    }
}
