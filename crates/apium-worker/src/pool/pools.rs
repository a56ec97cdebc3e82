//! The pools of one worker, and which of them runs a task.

use std::sync::Arc;
use std::time::Duration;

use apium_app::options::task_options::Isolation;
use apium_app::task::registered::RegisteredTask;
use tokio::runtime::Handle;

use crate::limits::stopped_time::RunClock;
use crate::pool::kind::PoolKind;
use crate::pool::panics;
use crate::pool::pool::Pool;
use crate::pool::process::children::Children;
use crate::pool::process::process_pool::ProcessPool;
use crate::pool::reactor::Reactor;
use crate::pool::thread_pool::ThreadPool;
use crate::pool::threads::LeakCeiling;

/// Where an `async fn` runs, where a plain `fn` does, and where both do that are isolated.
#[derive(Clone)]
pub(crate) struct Pools {
    for_async: Arc<dyn Pool>,
    for_plain: Arc<dyn Pool>,
    processes: Option<Arc<ProcessPool>>,
    /// Where foreign tasks run.
    foreign: Option<Arc<ProcessPool>>,
    /// Whether every task is isolated.
    only_processes: bool,
}

impl Pools {
    /// The pools of a kind, for at most `slots` runs at a time, of whose threads so many may leak.
    pub(crate) fn new(kind: PoolKind, slots: usize, clock: &RunClock, ceiling: LeakCeiling) -> Self {
        panics::record_places();
        let threads = Arc::new(ThreadPool::new(slots, Handle::current(), clock.clone(), ceiling));
        let for_async: Arc<dyn Pool> = match kind {
            PoolKind::Async | PoolKind::Processes | PoolKind::Solo => Arc::new(Reactor { clock: clock.clone() }),
            PoolKind::Threads => threads.clone(),
        };
        Self {
            for_async,
            for_plain: threads,
            processes: None,
            foreign: None,
            only_processes: kind == PoolKind::Processes,
        }
    }

    /// The same with child processes for tasks that are isolated.
    pub(crate) fn with_processes(self, processes: ProcessPool) -> Self {
        Self { processes: Some(Arc::new(processes)), ..self }
    }

    /// The same with child processes for foreign tasks.
    pub(crate) fn with_foreign(self, foreign: ProcessPool) -> Self {
        Self { foreign: Some(Arc::new(foreign)), ..self }
    }

    /// The child processes, those of this program and those of another one.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Children> {
        self.processes.iter().chain(&self.foreign).map(|pool| pool.children())
    }

    /// The processes in which bodies run: this one, or where every task is isolated the children.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let pids: Vec<u32> = self.children().flat_map(Children::pids).collect();
        if self.only_processes || self.foreign.is_some() { pids } else { vec![std::process::id()] }
    }

    /// The pool that runs `task`.
    pub(crate) fn of(&self, task: &RegisteredTask) -> &dyn Pool {
        if let (Some(foreign), true) = (&self.foreign, task.is_foreign()) {
            return &**foreign;
        }
        match &self.processes {
            Some(processes) if self.only_processes || task.effective.isolation == Isolation::Process => &**processes,
            _ if task.is_blocking() => &*self.for_plain,
            _ => &*self.for_async,
        }
    }

    /// How many threads were abandoned and have not ended.
    pub(crate) fn leaked(&self) -> usize {
        self.for_plain.leaked()
    }

    /// Changes for how many runs at a time there are threads, or child processes.
    pub(crate) fn set_max(&self, slots: usize) {
        self.for_plain.set_max(slots);
        self.children().for_each(|children| children.set_max(slots));
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
