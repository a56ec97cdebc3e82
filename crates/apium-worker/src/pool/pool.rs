//! The trait of a pool, in which bodies of tasks run. A pool knows no broker, no result backend and no queue.

use std::sync::Arc;
use std::time::Duration;

use apium_app::context::context::Ctx;
use apium_app::task::registered::RegisteredTask;
use futures_util::future::BoxFuture;

use crate::limits::time_limit::Limits;
use crate::outcome::RunOutcome;
use crate::pool::process::messages::OutsideEnd;
use crate::pool::watchdog::PollTimer;
use crate::runs::slot::Slot;

/// A slot, as the pools see it: what cancels the body in it, and what the watchdog sees of it.
pub(crate) struct PoolSlot {
    pub(crate) slot: Arc<Slot>,
    /// Through it the watchdog sees the polls of an `async fn`; `None` without a watchdog.
    pub(crate) timer: Option<PollTimer>,
}

impl PoolSlot {
    /// A slot that no watchdog watches.
    pub(crate) fn unwatched(slot: Arc<Slot>) -> Self {
        Self { slot, timer: None }
    }
}

/// One run of a body.
#[derive(Clone, Copy)]
pub(crate) struct BodyRun<'a> {
    pub(crate) ctx: &'a Ctx,
    pub(crate) task: &'a Arc<RegisteredTask>,
    pub(crate) limits: Limits,
    pub(crate) slot: &'a PoolSlot,
    /// The task is called as an errback: so many of its first arguments tell of the failure.
    pub(crate) errback: Option<usize>,
    /// What a child is told instead of running the body of a foreign task.
    pub(crate) instead: Option<&'a OutsideEnd>,
}

/// Runs bodies of tasks.
pub(crate) trait Pool: Send + Sync {
    /// Runs a body within its time limits. A panic is a failure. A cold stop ends the run as `Cancelled`, and
    /// whoever terminates it as `Terminated`.
    fn run<'a>(&'a self, run: BodyRun<'a>) -> BoxFuture<'a, RunOutcome>;

    /// Whether the failures that it gives are judged by the options of their tasks. Those of a child have no Rust
    /// error any more, so the child judges them.
    fn judges(&self) -> bool {
        false
    }

    /// How many threads were abandoned and have not ended.
    fn leaked(&self) -> usize {
        0
    }

    /// Changes how many runs there may be at once: so many threads, without abandoned ones, or child processes.
    fn set_max(&self, runs: usize) {
        let _ = runs;
    }

    /// Lets the threads end as soon as they are idle. Does not wait.
    fn release(&self) {}

    /// Ends the threads and waits for them for up to `timeout`, but not for abandoned ones. Blocks the calling thread.
    fn close(&self, timeout: Duration) {
        let _ = timeout;
    }
}
