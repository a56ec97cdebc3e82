//! The slots: as many tokio tasks as the concurrency says, each of which executes one run after the other. A message
//! costs no spawn. How many there are may change: a slot that is too many ends when its run is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use apium_app::options::rate_limit::RateLimit;
use apium_transport::broker::demand::{Demand, Wanted};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::limits::ready_runs::QueuedRun as _;
use crate::limits::waiting_runs::Present;
use crate::pipeline::errback_runner;
use crate::pipeline::process::Process;
use crate::pipeline::run_queue::RunQueue;
use crate::pipeline::task_run::{SlotProgress, TaskLabel, TaskRun};
use crate::pool::pool::PoolSlot;
use crate::pool::watchdog::PollTimers;
use crate::runs::slot::Slot;

/// How many runs a slot executes before it yields. Runs that never wait would otherwise keep other tokio tasks from the
/// thread.
const YIELD_AFTER: usize = 32;
/// How long aborted slots may take to reach an await point.
const ABORT_TIMEOUT: Duration = Duration::from_millis(200);

/// The slots of a worker.
pub(crate) struct Slots {
    tasks: JoinSet<SlotEnd>,
    process: Arc<Process>,
    /// Makes what the watchdog sees of a slot; without a watchdog there is none.
    timers: Option<PollTimers>,
    /// How many slots were not told to end.
    count: usize,
    wanted: watch::Receiver<usize>,
}

/// Why a slot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotEnd {
    /// The run queue is closed.
    Closed,
    /// There were too many slots.
    Retired,
}

impl Slots {
    /// Starts as many slots as the registry of runs wants.
    pub(crate) fn start(process: &Arc<Process>, timers: Option<PollTimers>) -> Self {
        let wanted = process.runs.wanted_changes();
        let mut slots = Self { tasks: JoinSet::new(), process: process.clone(), timers, count: 0, wanted };
        slots.resize();
        slots
    }

    /// Starts slots, or tells some to end, until there are as many as are wanted.
    fn resize(&mut self) {
        let wanted = *self.wanted.borrow_and_update();
        let Process { run_queue, executor, runs, .. } = &*self.process;
        executor.pools.set_max(wanted + errback_runner::AT_ONCE);
        let kept = run_queue.resize(self.count, wanted);
        for _ in self.count + kept..wanted {
            let slot = runs.add_slot();
            let timer = self.timers.as_ref().map(|timers| timers.of(&slot));
            self.tasks.spawn(serve(self.process.clone(), PoolSlot { slot, timer }));
        }
        self.count = wanted;
    }

    /// Waits until a slot ends that is wanted, which none does before the run queue is closed unless it panicked.
    /// Starts and ends slots meanwhile, where another number is wanted. Cancel-safe.
    pub(crate) async fn until_ended(&mut self) -> String {
        loop {
            let joined = tokio::select! {
                joined = self.tasks.join_next() => joined,
                // The registry lives as long as the process, which this holds.
                Ok(()) = self.wanted.changed() => {
                    self.resize();
                    continue;
                }
            };
            return match joined {
                Some(Ok(SlotEnd::Retired)) => continue,
                Some(Err(error)) if error.is_panic() => "a slot of the worker panicked".to_owned(),
                Some(_) => "a slot of the worker ended".to_owned(),
                None => "the slots of the worker have ended".to_owned(),
            };
        }
    }

    /// Waits until every slot has ended, which they do after the run queue was closed. Cancel-safe.
    pub(crate) async fn join(&mut self) {
        while let Some(joined) = self.tasks.join_next().await {
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
        self.tasks.abort_all();
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
    /// Sets how many slots there are to be, where `present` of them were not told to end. If there are too many, some
    /// get nothing more and end. Returns how many of those that were told to end stay after all.
    pub(crate) fn resize(&self, present: usize, wanted: usize) -> usize {
        let mut runs = self.lock();
        runs.counts.slots = wanted;
        let kept = runs.retiring.min(wanted.saturating_sub(present));
        runs.retiring = runs.retiring - kept + present.saturating_sub(wanted);
        let to_wake = runs.retiring.min(runs.idle_slots);
        drop(runs);
        self.wake_slots(to_wake);
        kept
    }

    /// Whether rate limits are kept (not with `worker_disable_rate_limits`).
    pub(crate) fn keeps_rate_limits(&self) -> bool {
        self.lock().keeps_rate_limits()
    }

    /// Sets the rate limit of a task: for what waits here, and for what comes.
    pub(crate) fn set_rate_limit(&self, task: &Arc<str>, limit: Option<RateLimit>) {
        self.has_set_rates.store(true, Ordering::Relaxed);
        let mut runs = self.lock();
        runs.set_rate_limit(task, limit, self.clock.moment());
        let to_wake = runs.idle_slots;
        drop(runs);
        self.wake_slots(to_wake);
        self.due.notify_one();
    }

    /// How many runs are to be local at most; 0 where nothing says it.
    pub(crate) fn window(&self) -> usize {
        let window = self.lock().counts.window;
        if window == usize::MAX { 0 } else { window }
    }

    /// Sets how many runs are to be local at most.
    pub(crate) fn set_window(&self, window: usize) {
        self.lock().counts.window = window;
    }
}

async fn serve(process: Arc<Process>, slot: PoolSlot) -> SlotEnd {
    /// Tells the run queue that the run is over, also when the slot is aborted. Then nothing settles a run whose end
    /// was not submitted.
    struct DoneOnDrop<'a> {
        process: &'a Process,
        slot: &'a Slot,
        task_run: TaskRun,
        progress: SlotProgress,
    }
    impl Drop for DoneOnDrop<'_> {
        fn drop(&mut self) {
            self.slot.leave();
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
        let run = DoneOnDrop { process: &process, slot: &slot.slot, task_run, progress: SlotProgress::default() };
        process.run(&run.task_run, &slot, &run.progress).await;
        run.progress.is_concluded.store(true, Ordering::Relaxed);
        drop(run);
        count += 1;
        if count % YIELD_AFTER == 0 {
            tokio::task::yield_now().await;
        }
    }
    process.runs.remove_slot(&slot.slot);
    if process.run_queue.lock().is_closed() { SlotEnd::Closed } else { SlotEnd::Retired }
}
