//! What a pool is: a place where bodies of tasks run. It knows no broker, no result backend and no queue.

use std::sync::Arc;
use std::time::Duration;

use apium_app::context::context::Ctx;
use apium_app::task::registered::RegisteredTask;
use apium_transport::clock::Clock;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use crate::limits::time_limit::Limits;
use crate::outcome::RunOutcome;
use crate::pool::kind::PoolKind;
use crate::pool::reactor::Reactor;
use crate::pool::thread_pool::ThreadPool;
use crate::pool::watchdog::PollTimer;
use crate::shutdown::cold::ColdStop;

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

/// The pools of one worker: where an `async fn` runs, and where a plain `fn` does.
#[derive(Clone)]
pub(crate) struct Pools {
    for_async: Arc<dyn Pool>,
    for_plain: Arc<dyn Pool>,
}

impl Pools {
    /// The pools of a kind, for `slots` runs at a time.
    pub(crate) fn new(kind: PoolKind, slots: usize, clock: &Clock, cold: &ColdStop) -> Self {
        let threads = Arc::new(ThreadPool::new(slots, Handle::current(), clock.clone(), cold.clone()));
        let for_async: Arc<dyn Pool> = match kind {
            PoolKind::Async | PoolKind::Solo => Arc::new(Reactor { clock: clock.clone(), cold: cold.clone() }),
            PoolKind::Threads => threads.clone(),
        };
        Self { for_async, for_plain: threads }
    }

    /// The pool that runs `task`.
    pub(crate) fn of(&self, task: &RegisteredTask) -> &dyn Pool {
        if task.is_blocking() { &*self.for_plain } else { &*self.for_async }
    }

    /// How many threads were given up and have not ended.
    pub(crate) fn leaked(&self) -> usize {
        self.for_plain.leaked()
    }

    /// Lets idle threads end, without waiting for them.
    pub(crate) fn release(&self) {
        self.for_plain.release();
    }

    /// Ends the pools. Blocks its thread for `deadline` at most.
    pub(crate) fn close(&self, deadline: Duration) {
        self.for_plain.close(deadline);
    }
}
