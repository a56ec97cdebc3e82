//! The slots: as many tokio tasks as the concurrency says, each of which executes one run after the other. A message
//! costs no spawn.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::limits::ready_runs::QueuedRun as _;
use crate::pipeline::process::Process;
use crate::pool::watchdog::PollTimer;

/// How many runs a slot executes before it yields. Runs that never wait would otherwise keep other tokio tasks from the
/// thread.
const YIELD_AFTER: usize = 32;

/// The slots of a worker.
pub(crate) struct Slots(JoinSet<()>);

impl Slots {
    /// Starts `count` slots. Each of them gets one of `timers`, which the watchdog made; without a watchdog there are
    /// none.
    pub(crate) fn start(process: &Arc<Process>, count: usize, timers: Vec<PollTimer>) -> Self {
        let mut slots = JoinSet::new();
        let mut timers = timers.into_iter();
        for _ in 0..count {
            slots.spawn(serve(process.clone(), timers.next()));
        }
        Self(slots)
    }

    /// Waits until every slot has ended, which they do after the run queue was closed. Cancel-safe.
    pub(crate) async fn join(&mut self) {
        while let Some(joined) = self.0.join_next().await {
            if let Err(error) = joined
                && error.is_panic()
            {
                tracing::error!("a slot of the worker panicked outside of a task");
            }
        }
    }

    /// Drops the runs at their await points.
    pub(crate) fn abort(&mut self) {
        self.0.abort_all();
    }
}

async fn serve(process: Arc<Process>, timer: Option<PollTimer>) {
    /// Tells the run queue that the run is over, also when the slot is aborted.
    struct DoneOnDrop<'a> {
        process: &'a Process,
        acks_late: bool,
        is_suspect: bool,
    }
    impl Drop for DoneOnDrop<'_> {
        fn drop(&mut self) {
            self.process.run_queue.done(self.acks_late, self.is_suspect);
        }
    }
    let mut count = 0;
    while let Some(task_run) = process.run_queue.next().await {
        let (acks_late, is_suspect) = (task_run.acks_late(), task_run.is_suspect());
        let done = DoneOnDrop { process: &process, acks_late, is_suspect };
        process.run(task_run, timer.as_ref()).await;
        drop(done);
        count += 1;
        if count % YIELD_AFTER == 0 {
            tokio::task::yield_now().await;
        }
    }
}
