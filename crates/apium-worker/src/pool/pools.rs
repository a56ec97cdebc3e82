//! The pools of one worker, and which of them runs a task.

use std::sync::Arc;
use std::time::Duration;

use apium_app::task::registered::RegisteredTask;
use tokio::runtime::Handle;

use crate::limits::stopped_time::RunClock;
use crate::pool::kind::PoolKind;
use crate::pool::panics;
use crate::pool::pool::Pool;
use crate::pool::reactor::Reactor;
use crate::pool::thread_pool::ThreadPool;
use crate::pool::threads::LeakCeiling;

/// Where an `async fn` runs, and where a plain `fn` does.
#[derive(Clone)]
pub(crate) struct Pools {
    for_async: Arc<dyn Pool>,
    for_plain: Arc<dyn Pool>,
}

impl Pools {
    /// The pools of a kind, for at most `slots` runs at a time, of whose threads so many may leak.
    pub(crate) fn new(kind: PoolKind, slots: usize, clock: &RunClock, ceiling: LeakCeiling) -> Self {
        panics::record_places();
        let threads = Arc::new(ThreadPool::new(slots, Handle::current(), clock.clone(), ceiling));
        let for_async: Arc<dyn Pool> = match kind {
            PoolKind::Async | PoolKind::Solo => Arc::new(Reactor { clock: clock.clone() }),
            PoolKind::Threads => threads.clone(),
        };
        Self { for_async, for_plain: threads }
    }

    /// The pool that runs `task`.
    pub(crate) fn of(&self, task: &RegisteredTask) -> &dyn Pool {
        if task.is_blocking() { &*self.for_plain } else { &*self.for_async }
    }

    /// How many threads were abandoned and have not ended.
    pub(crate) fn leaked(&self) -> usize {
        self.for_plain.leaked()
    }

    /// Changes for how many runs at a time there are threads.
    pub(crate) fn set_max(&self, slots: usize) {
        self.for_plain.set_max(slots);
    }

    /// Lets the threads end as soon as they are idle. Does not wait.
    pub(crate) fn release(&self) {
        self.for_plain.release();
    }

    /// Ends the threads and waits for them for up to `timeout`. Blocks the calling thread.
    pub(crate) fn close(&self, timeout: Duration) {
        self.for_plain.close(timeout);
    }
}
