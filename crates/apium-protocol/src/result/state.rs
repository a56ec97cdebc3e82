//! The states of tasks, with Celery's precedence and its sets of ready and exception states.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The state of a task. As text and for serde it is Celery's name (`PENDING`, `STARTED`, `SUCCESS`, …), or the name of
/// a custom state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum State {
    /// Waiting for its run, or unknown to the result backend.
    Pending,
    /// Received by a worker (events only).
    Received,
    /// Running. It is stored only with `task_track_started`, or `track_started` of the task.
    Started,
    /// The task returned a value.
    Success,
    /// The task failed, and is not retried.
    Failure,
    /// The run failed, and the task is to be retried.
    Retry,
    /// Revoked or expired.
    Revoked,
    /// Rejected (events only).
    Rejected,
    /// Ignored (eager only).
    Ignored,
    /// A custom state, which the task stored with `update_state`.
    Custom(Arc<str>),
}

/// The custom state of a task that was asked to stop (Celery's `contrib.abortable`).
pub const ABORTED: &str = "ABORTED";

impl State {
    /// Whether it is [`ABORTED`].
    pub fn is_aborted(&self) -> bool {
        matches!(self, Self::Custom(name) if **name == *ABORTED)
    }

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

    /// Celery's precedence: if events arrive out of order, the state with the larger number wins.
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

impl FromStr for State {
    type Err = Infallible;

    /// Reads the name of a state. One that Celery does not know is a custom state.
    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(name.into())
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(Self::from(name.as_str()))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn a_state_is_celerys_word_in_json_and_back() {
        let names = [
            "PENDING", "RECEIVED", "STARTED", "SUCCESS", "FAILURE", "RETRY", "REVOKED", "REJECTED", "IGNORED",
            "PROGRESS",
        ];
        for name in names {
            let state = State::from(name);
            assert_eq!(matches!(state, State::Custom(_)), name == "PROGRESS");
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state);
            assert_eq!(name.parse(), Ok(state));
        }
        assert!(serde_json::from_str::<State>("1").is_err());
    }
}
