//! The slots: as many tokio tasks as the concurrency, each of which takes one work after the other. No task is spawned per
//! message.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::pipeline::process::Process;
use crate::pool::watchdog::PollTimer;

/// So many works are taken before a slot lets others have its thread.
const TURN: usize = 32;

/// The slots of a worker.
pub(crate) struct Slots(JoinSet<()>);

impl Slots {
    /// Starts `count` slots; each has a beat where there is a watchdog.
    pub(crate) fn start(process: &Arc<Process>, count: usize, timers: Vec<PollTimer>) -> Self {
        let mut slots = JoinSet::new();
        let mut timers = timers.into_iter();
        for _ in 0..count {
            slots.spawn(serve(process.clone(), timers.next()));
        }
        Self(slots)
    }

    /// Waits until every slot has ended, which they do once nothing more is handed out. Cancel-safe.
    pub(crate) async fn join(&mut self) {
        while let Some(ended) = self.0.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!("a slot of the worker panicked outside of a task");
            }
        }
    }

    /// Drops what runs, at once.
    pub(crate) fn abort(&mut self) {
        self.0.abort_all();
    }
}

async fn serve(process: Arc<Process>, timer: Option<PollTimer>) {
    /// Says that the work is done, also when the slot is aborted.
    struct Done<'a>(&'a Process, bool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.run_queue.done(self.1);
        }
    }
    let mut turn = 0;
    while let Some(task_run) = process.run_queue.next().await {
        let done = Done(&process, task_run.acks_late());
        process.run(task_run, timer.as_ref()).await;
        drop(done);
        turn += 1;
        if turn % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
}
