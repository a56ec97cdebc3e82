//! The handle that cancels a run: a cold stop of the worker, or somebody who terminates this one run.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

use crate::runs::terminate_signal::TerminateSignal;

/// The bits of the state: a body runs, it was terminated, the worker stops cold. The signal stands in the bits above.
const RUNNING: u32 = 1;
const TERMINATED: u32 = 2;
const STOPPED: u32 = 4;
const SIGNAL_SHIFT: u32 = 8;

/// Why a run is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// The worker stops cold.
    ByStop,
    /// Somebody terminated the run.
    Terminated(TerminateSignal),
}

/// Cancels what runs in one slot. A cold stop stays: it cancels whatever begins in the slot after it. That a run is
/// terminated ends with the run.
#[derive(Debug, Default)]
pub(crate) struct CancelHandle {
    state: AtomicU32,
    changed: Notify,
}

impl CancelHandle {
    /// A body begins: from now on it can be terminated.
    pub(crate) fn begin(&self) {
        self.state.fetch_or(RUNNING, Ordering::AcqRel);
    }

    /// The body is over.
    pub(crate) fn end(&self) {
        self.state.fetch_and(STOPPED, Ordering::AcqRel);
    }

    /// Terminates the body that runs. Returns whether one runs that was not terminated before.
    pub(crate) fn terminate(&self, signal: TerminateSignal) -> bool {
        let terminated = |state: u32| {
            let with_signal = state | TERMINATED | (u32::from(signal.number()) << SIGNAL_SHIFT);
            (state & (RUNNING | TERMINATED) == RUNNING).then_some(with_signal)
        };
        let is_new = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, terminated).is_ok();
        self.changed.notify_waiters();
        is_new
    }

    /// The worker stops cold.
    pub(crate) fn stop(&self) {
        self.state.fetch_or(STOPPED, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    fn cancelled_now(&self) -> Option<Cancelled> {
        let state = self.state.load(Ordering::Acquire);
        if state & TERMINATED != 0 {
            let number = u8::try_from(state >> SIGNAL_SHIFT).unwrap_or_default();
            return Some(Cancelled::Terminated(TerminateSignal::of_number(number)));
        }
        (state & STOPPED != 0).then_some(Cancelled::ByStop)
    }

    /// Waits until what runs is cancelled. Cancel-safe.
    pub(crate) async fn cancelled(&self) -> Cancelled {
        loop {
            // Whoever cancels after this wakes it; what was cancelled before is seen below.
            let changed = self.changed.notified();
            if let Some(cancelled) = self.cancelled_now() {
                return cancelled;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const KILL: TerminateSignal = TerminateSignal::TERM;

    #[tokio::test]
    async fn a_body_is_terminated_once_and_the_next_one_is_not() {
        let cancel = CancelHandle::default();
        assert!(!cancel.terminate(KILL), "nothing runs");
        cancel.begin();
        let waiting = cancel.cancelled();
        assert!(cancel.cancelled().now_or_never().is_none());
        assert!(cancel.terminate(KILL) && !cancel.terminate(KILL));
        assert_eq!(waiting.await, Cancelled::Terminated(KILL));
        cancel.end();
        cancel.begin();
        assert!(cancel.cancelled().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_cold_stop_cancels_what_runs_and_what_comes() {
        let cancel = CancelHandle::default();
        cancel.begin();
        cancel.stop();
        assert_eq!(cancel.cancelled().await, Cancelled::ByStop);
        cancel.end();
        cancel.begin();
        assert_eq!(cancel.cancelled().await, Cancelled::ByStop);
    }
}
