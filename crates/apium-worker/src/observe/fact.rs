//! Facts: what happens to tasks and to the worker, as events and observers of the program are told of it.
//!
//! A fact holds what it is about by shared pointers. It is made only where somebody listens, and is put into words
//! where it is told, outside of the slot of its run.

use std::sync::Arc;
use std::time::Duration;

use apium_app::context::request::Request;
use apium_app::failure::Failure;
use apium_app::task::registered::RegisteredTask;
use apium_protocol::json::text::Json;
use apium_protocol::result::exception::ExceptionInfo;
use apium_transport::broker::dead_set::DeadReason;
use jiff::Timestamp;

use crate::pipeline::completion::RefusedDelivery;
use crate::pipeline::task_run::{TaskLabel, TaskRun};
use crate::pipeline::verdict::{FailureReason, Verdict};
use crate::runs::revoke_reason::RevokeReason;
use crate::shutdown::kind::StopKind;

/// Something that happened to a task.
#[derive(Debug, Clone)]
pub(crate) struct TaskFact {
    pub(crate) at: Timestamp,
    pub(crate) request: Arc<Request>,
    pub(crate) task: Arc<RegisteredTask>,
    pub(crate) change: RunChange,
}

/// What happened to it.
#[derive(Debug, Clone)]
pub(crate) enum RunChange {
    Received,
    Started,
    Succeeded {
        value: Json,
        took: Duration,
    },
    /// `began` is whether its body did.
    Failed {
        failure: Failure,
        took: Duration,
        began: bool,
    },
    Retried {
        cause: Option<Failure>,
        took: Duration,
    },
    Rejected {
        reason: Arc<str>,
        requeue: bool,
        took: Duration,
    },
    Revoked(HowRevoked),
    Cancelled {
        took: Duration,
    },
    Ignored {
        took: Duration,
    },
    Replaced {
        took: Duration,
    },
    Aborted,
    /// A broker or a store that the body used is away, so its message goes back to its queue.
    Unavailable {
        failure: Failure,
        took: Duration,
    },
    /// Code of the app panicked outside of the body.
    Panicked(Arc<str>),
}

/// How a task was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HowRevoked {
    /// Whether it ran, and was terminated.
    pub terminated: bool,
    /// The number of the signal that terminated it.
    pub signum: Option<i32>,
    /// Whether its expiry had passed.
    pub expired: bool,
}

/// A delivery that was not accepted.
#[derive(Debug, Clone)]
pub(crate) struct RefusedFact {
    pub(crate) at: Timestamp,
    pub(crate) label: TaskLabel,
    pub(crate) reason: DeadReason,
}

/// Something that happened to the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerChange {
    Init,
    Ready,
    HeartbeatSent,
    ShuttingDown(StopKind),
    Shutdown,
}

impl RunChange {
    /// What the end of a run is, by its verdict.
    pub(crate) fn of_end(verdict: &Verdict, took: Duration) -> Self {
        match verdict {
            Verdict::Succeeded(value) => Self::Succeeded { value: value.clone(), took },
            Verdict::Failed { failure, why } => {
                let began = !matches!(why, FailureReason::CrashLoop { .. });
                Self::Failed { failure: failure.clone(), took, began }
            }
            Verdict::Retry(next) => Self::Retried { cause: next.cause.clone(), took },
            Verdict::Retried { cause } => Self::Retried { cause: cause.clone(), took },
            Verdict::Rejected { reason, requeue } => {
                Self::Rejected { reason: reason.as_str().into(), requeue: *requeue, took }
            }
            Verdict::Ignored => Self::Ignored { took },
            Verdict::Replaced(_) => Self::Replaced { took },
            Verdict::Revoked(why) => Self::Revoked(HowRevoked::of(*why)),
            Verdict::Aborted => Self::Aborted,
            Verdict::Cancelled { .. } => Self::Cancelled { took },
            Verdict::Unavailable(failure) => Self::Unavailable { failure: failure.clone(), took },
        }
    }

    /// About how many bytes it keeps in memory beyond its request.
    fn bytes(&self) -> usize {
        match self {
            Self::Succeeded { value, .. } => value.as_bytes().len(),
            Self::Failed { failure, .. } | Self::Unavailable { failure, .. } => {
                failure.traceback().unwrap_or_default().len()
            }
            _ => 0,
        }
    }
}

impl HowRevoked {
    /// By the reason in a verdict.
    fn of(why: RevokeReason) -> Self {
        let signum = match why {
            RevokeReason::Terminated(signal) => Some(signal.number().into()),
            RevokeReason::Expired | RevokeReason::Revoked => None,
        };
        Self { terminated: signum.is_some(), signum, expired: why == RevokeReason::Expired }
    }
}

impl TaskFact {
    pub(crate) fn new(at: Timestamp, task_run: &TaskRun, change: RunChange) -> Self {
        Self { at, request: task_run.request.clone(), task: task_run.task.clone(), change }
    }

    /// About how many bytes it keeps in memory.
    pub(crate) fn bytes(&self) -> usize {
        let arguments = self.request.args().iter().chain(self.request.kwargs().iter().map(|(_, value)| value));
        512 + self.change.bytes() + arguments.map(|value| value.as_bytes().len()).sum::<usize>()
    }
}

impl RefusedFact {
    /// The fact of a delivery that goes to the dead set; `None` of one that only moves.
    pub(crate) fn of(at: Timestamp, refused: &RefusedDelivery) -> Option<Self> {
        let apium_transport::broker::settlement::Disposition::Dead(reason) = &refused.disposition else { return None };
        Some(Self { at, label: refused.label.clone(), reason: reason.clone() })
    }

    /// Whether its task is not registered.
    pub(crate) fn is_unknown(&self) -> bool {
        self.reason.code == "unknown-task"
    }

    /// The exception with which its task has failed; `None` where it cannot be told what the message is.
    pub(crate) fn exception(&self) -> Option<ExceptionInfo> {
        match self.reason.code {
            "unknown-task" => Some(ExceptionInfo::not_registered(self.label.task.as_deref().unwrap_or_default())),
            "follow-ups" => Some(ExceptionInfo::new("apium", "FollowUpError", self.reason.text.as_str())),
            _ => None,
        }
    }
}
