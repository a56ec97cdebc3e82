//! What a pool is: a place where bodies of tasks run. It knows no broker, no result backend and no queue.

use std::sync::Arc;
use std::time::Duration;

use apium_app::context::context::Ctx;
use apium_app::task::registered::RegisteredTask;
use futures_util::future::BoxFuture;

use crate::limits::time_limit::Limits;
use crate::outcome::RunOutcome;
use crate::pool::watchdog::PollTimer;

/// One run of a body.
#[derive(Clone, Copy)]
pub(crate) struct BodyRun<'a> {
    pub(crate) ctx: &'a Ctx,
    pub(crate) task: &'a Arc<RegisteredTask>,
    pub(crate) limits: Limits,
    /// Tells the watchdog what the reactor is busy with.
    pub(crate) timer: Option<&'a PollTimer>,
}

/// A place where bodies run.
pub(crate) trait Pool: Send + Sync {
    /// Runs a body within its limits, with a guard against panics. Ends early with `Cancelled` at a cold stop.
    fn run<'a>(&'a self, run: BodyRun<'a>) -> BoxFuture<'a, RunOutcome>;

    /// How many of its threads were given up and have not ended.
    fn leaked(&self) -> usize {
        0
    }

    /// Lets what is idle end, without waiting for it.
    fn release(&self) {}

    /// Ends what is idle and waits up to `deadline` for the rest; what was given up is not waited for. Blocks its thread.
    fn close(&self, deadline: Duration) {
        let _ = deadline;
    }
}
