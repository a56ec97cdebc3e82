//! The slots: as many tokio tasks as the concurrency says, each of which executes one run after the other. A message
//! costs no spawn.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use apium_transport::broker::demand::{Demand, Wanted};
use tokio::task::JoinSet;

use crate::limits::ready_runs::QueuedRun as _;
use crate::limits::waiting_runs::Present;
use crate::pipeline::process::Process;
use crate::pipeline::run_queue::RunQueue;
use crate::pipeline::task_run::{SlotProgress, TaskLabel, TaskRun};
use crate::pool::watchdog::PollTimer;

/// How many runs a slot executes before it yields. Runs that never wait would otherwise keep other tokio tasks from the
/// thread.
const YIELD_AFTER: usize = 32;
/// How long aborted slots may take to reach an await point.
const ABORT_TIMEOUT: Duration = Duration::from_millis(200);

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

    /// Waits until a slot ends, which none does before the run queue is closed unless it panicked. Cancel-safe.
    pub(crate) async fn until_ended(&mut self) -> String {
        match self.0.join_next().await {
            Some(Err(error)) if error.is_panic() => "a slot of the worker panicked".to_owned(),
            Some(_) => "a slot of the worker ended".to_owned(),
            None => "the slots of the worker have ended".to_owned(),
        }
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

    /// Drops the runs at their await points, and waits until they are dropped. One that blocks its thread is not waited
    /// for.
    pub(crate) async fn abort(&mut self) {
        self.0.abort_all();
        // What is left then ends by itself some time.
        let _ = tokio::time::timeout(ABORT_TIMEOUT, self.join()).await;
    }
}

/// A driver asks what the slots want, and what else is to be fetched.
impl Demand for RunQueue {
    fn wanted(&self) -> Wanted {
        let runs = self.lock();
        let present = Present::where_it_matters(&self.clock, runs.waits_for_a_time());
        runs.wanted(present.moment, self.ending.load(Ordering::Relaxed))
    }
}

impl RunQueue {
    /// Sets how many slots there are.
    pub(crate) fn set_slots(&self, slots: usize) {
        self.lock().counts.slots = slots;
    }

    /// Sets how many runs are to be local at most.
    pub(crate) fn set_window(&self, window: usize) {
        self.lock().counts.window = window;
    }
}

async fn serve(process: Arc<Process>, timer: Option<PollTimer>) {
    /// Tells the run queue that the run is over, also when the slot is aborted. Then nothing settles a run whose end
    /// was not submitted.
    struct DoneOnDrop<'a> {
        process: &'a Process,
        task_run: TaskRun,
        progress: SlotProgress,
    }
    impl Drop for DoneOnDrop<'_> {
        fn drop(&mut self) {
            let is_suspect = self.task_run.is_suspect() && !self.process.is_convicted(&self.task_run);
            if *self.progress.frees_slot.get_mut() {
                self.process.run_queue.ending.fetch_sub(1, Ordering::Relaxed);
            }
            self.process.run_queue.done(self.task_run.acks_late(), is_suspect);
            if !*self.progress.is_concluded.get_mut() {
                self.process.completer.add_unsettled(&TaskLabel::of(&self.task_run.request));
            }
        }
    }
    let mut count = 0;
    while let Some(task_run) = process.run_queue.next().await {
        let run = DoneOnDrop { process: &process, task_run, progress: SlotProgress::default() };
        process.run(&run.task_run, timer.as_ref(), &run.progress).await;
        run.progress.is_concluded.store(true, Ordering::Relaxed);
        drop(run);
        count += 1;
        if count % YIELD_AFTER == 0 {
            tokio::task::yield_now().await;
        }
    }
}
