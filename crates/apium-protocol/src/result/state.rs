//! Task states, with Celery's sets and order of precedence.

use std::fmt;
use std::sync::Arc;

/// The state of a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum State {
    /// Waiting, or unknown.
    Pending,
    /// Received by a worker (events only).
    Received,
    /// Running (when tracked).
    Started,
    /// Returned.
    Success,
    /// Failed.
    Failure,
    /// To be run again.
    Retry,
    /// Revoked or expired.
    Revoked,
    /// Rejected (events only).
    Rejected,
    /// Ignored (eager only).
    Ignored,
    /// A state of the task's own.
    Custom(Arc<str>),
}

impl State {
    /// The state's name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "PENDING",
            Self::Received => "RECEIVED",
            Self::Started => "STARTED",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Retry => "RETRY",
            Self::Revoked => "REVOKED",
            Self::Rejected => "REJECTED",
            Self::Ignored => "IGNORED",
            Self::Custom(name) => name,
        }
    }

    /// Whether the task is over: SUCCESS, FAILURE, REVOKED.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Revoked)
    }

    /// Whether the result is an exception: RETRY, FAILURE, REVOKED.
    pub fn is_exception(&self) -> bool {
        matches!(self, Self::Retry | Self::Failure | Self::Revoked)
    }

    /// Whether `get` raises it: FAILURE, REVOKED.
    pub fn propagates(&self) -> bool {
        matches!(self, Self::Failure | Self::Revoked)
    }

    /// Celery's precedence; a larger number wins when events arrive out of order.
    pub fn precedence(&self) -> u8 {
        match self {
            Self::Success => 9,
            Self::Failure => 8,
            Self::Custom(_) | Self::Ignored => 7,
            Self::Revoked => 6,
            Self::Started => 5,
            Self::Received => 4,
            Self::Rejected => 3,
            Self::Retry => 2,
            Self::Pending => 1,
        }
    }
}

impl From<&str> for State {
    fn from(name: &str) -> Self {
        match name {
            "PENDING" => Self::Pending,
            "RECEIVED" => Self::Received,
            "STARTED" => Self::Started,
            "SUCCESS" => Self::Success,
            "FAILURE" => Self::Failure,
            "RETRY" => Self::Retry,
            "REVOKED" => Self::Revoked,
            "REJECTED" => Self::Rejected,
            "IGNORED" => Self::Ignored,
            other => Self::Custom(other.into()),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
