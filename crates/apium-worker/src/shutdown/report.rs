//! What a worker reports when it has stopped.

use std::fmt;

use apium_protocol::value::printable::printable;

use crate::shutdown::kind::{StopCause, StopKind};

/// What a worker did, and what it left behind when it stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopReport {
    /// How it stopped in the end.
    pub how: StopKind,
    /// Who asked first.
    pub cause: StopCause,
    /// Tasks that ended in any state since the worker started, those that had expired and those that ended during the
    /// stop included.
    pub finished: u64,
    /// How many of them ended during the stop.
    pub finished_while_stopping: u64,
    /// Messages that were fetched and went back to their queue without a run.
    pub given_back: u64,
    /// Runs that a cold stop cancelled.
    pub cancelled: u64,
    /// Threads that still execute a cancelled or timed-out task. They end with the process.
    pub leaked_threads: usize,
    /// Runs whose result could not be stored, or whose message could not be settled, before the stop. Their messages
    /// are delivered again.
    pub unsettled: usize,
    /// The first of these runs by task and id, as `task[id]`.
    pub unsettled_tasks: Vec<String>,
}

/// How many unsettled runs a report names.
const MAX_NAMED: usize = 100;
/// How many of them its text names.
const MAX_SHOWN: usize = 10;

impl StopReport {
    /// The process's exit code, as in Celery: 0 after a stop that the program or SIGTERM asked for, and after a cold
    /// one; 1 after ctrl-c, after a stop at once, when something is unsettled, and when the worker stopped by itself
    /// since it could not go on.
    pub fn exit_code(&self) -> u8 {
        let is_clean = self.how != StopKind::Now && self.unsettled == 0;
        u8::from(!is_clean || matches!(self.cause, StopCause::Interrupt | StopCause::Fault))
    }

    /// The report of a worker that did nothing.
    pub(crate) fn new(how: StopKind, cause: StopCause) -> Self {
        Self {
            how,
            cause,
            finished: 0,
            finished_while_stopping: 0,
            given_back: 0,
            cancelled: 0,
            leaked_threads: 0,
            unsettled: 0,
            unsettled_tasks: Vec::new(),
        }
    }

    /// The report of a worker that was stopped before it had started.
    pub(crate) fn before_start(cause: StopCause) -> Self {
        Self::new(cause.kind_after(None), cause)
    }

    /// With these unsettled runs.
    pub(crate) fn with_unsettled(mut self, mut names: Vec<String>) -> Self {
        // A run may be given up at two places.
        names.sort();
        names.dedup();
        self.unsettled = names.len();
        names.truncate(MAX_NAMED);
        self.unsettled_tasks = names;
        self
    }
}

impl fmt::Display for StopReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            StopKind::Warm => "warm",
            StopKind::Cold => "cold",
            StopKind::Now => "at once",
        };
        write!(
            f,
            "stopped {how}: tasks finished: {} (while stopping: {}), given back: {}, cancelled: {}",
            self.finished, self.finished_while_stopping, self.given_back, self.cancelled
        )?;
        if self.leaked_threads > 0 {
            write!(f, ", threads still busy: {}", self.leaked_threads)?;
        }
        if self.unsettled > 0 {
            let names = self.unsettled_tasks.iter().take(MAX_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
            let (names, more) = (printable(names), if self.unsettled > MAX_SHOWN { ", …" } else { "" });
            write!(f, ", runs not settled: {} ({names}{more})", self.unsettled)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_celerys() {
        let report = |how, cause, unsettled| StopReport {
            how,
            cause,
            finished: 3,
            finished_while_stopping: 1,
            given_back: 2,
            cancelled: 0,
            leaked_threads: 0,
            unsettled,
            unsettled_tasks: (0..unsettled).map(|n| format!("t[{n}]")).collect(),
        };
        assert_eq!(report(StopKind::Warm, StopCause::Terminate, 0).exit_code(), 0);
        assert_eq!(report(StopKind::Warm, StopCause::Interrupt, 0).exit_code(), 1);
        assert_eq!(report(StopKind::Cold, StopCause::Quit, 0).exit_code(), 0);
        assert_eq!(report(StopKind::Now, StopCause::Quit, 0).exit_code(), 1);
        assert_eq!(report(StopKind::Warm, StopCause::Program, 1).exit_code(), 1);
        assert_eq!(report(StopKind::Warm, StopCause::Fault, 0).exit_code(), 1);
        let text = report(StopKind::Warm, StopCause::Program, 12).to_string();
        assert!(text.ends_with("runs not settled: 12 (t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], …)"));
        let text = report(StopKind::Warm, StopCause::Terminate, 0).to_string();
        assert_eq!(text, "stopped warm: tasks finished: 3 (while stopping: 1), given back: 2, cancelled: 0");
    }
}
