//! The children of a worker: which of them gets a run, and when one is started or gets no more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_app::config::table::Config;
use tokio::sync::{Notify, oneshot, watch};

use crate::pool::process::child::Child;
use crate::pool::process::child_program::ChildProgram;
use crate::pool::process::spawner::Spawner;
use crate::shutdown::faults::Faults;

/// What the settings say about children.
#[derive(Debug, Clone)]
pub(crate) struct ChildOptions {
    /// The node name of the worker.
    pub(crate) hostname: Arc<str>,
    /// After so many runs a child gets no more.
    pub(crate) max_tasks: Option<u64>,
    /// With more memory, in KiB, it gets no more.
    pub(crate) max_memory: Option<u64>,
    /// How many `async fn` may run in one at once.
    pub(crate) concurrency: usize,
    /// How long one may take to show that it has started.
    pub(crate) alive_timeout: Duration,
    /// How long one that has closed its channel may take to end.
    pub(crate) lost_wait: Duration,
    /// How many there are to be in any case.
    pub(crate) kept: usize,
    /// Whether they say what their app is.
    pub(crate) describe: bool,
}

impl ChildOptions {
    pub(crate) fn of(config: &Config, hostname: Arc<str>) -> Self {
        Self {
            hostname,
            max_tasks: config.worker_max_tasks_per_child.map(u64::from),
            max_memory: config.worker_max_memory_per_child.map(u64::from),
            concurrency: config.worker_child_concurrency.get(),
            alive_timeout: config.worker_proc_alive_timeout,
            lost_wait: config.worker_lost_wait,
            kept: 0,
            describe: false,
        }
    }

    /// Those of a child that is only asked what its app is.
    pub(crate) fn for_a_description() -> Self {
        let (alive_timeout, lost_wait) = (Duration::from_secs(30), Duration::from_secs(10));
        let (max_tasks, max_memory, concurrency, kept) = (None, None, 1, 0);
        let hostname = "celery@localhost".into();
        Self { hostname, max_tasks, max_memory, concurrency, alive_timeout, lost_wait, kept, describe: true }
    }
}

/// The children of a worker. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Children(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    program: ChildProgram,
    options: ChildOptions,
    spawner: Spawner,
    faults: Faults,
    state: Mutex<State>,
    /// A child is to be started.
    wake: Notify,
    next_run: AtomicU64,
    next_child: AtomicU64,
    /// Why the last child that was tried could not be started.
    refusal: watch::Sender<Option<String>>,
}

#[derive(Debug, Default)]
struct State {
    all: Vec<Entry>,
    /// How many are being started.
    starting: usize,
    /// How many of these nobody has begun to start.
    to_start: usize,
    /// How many there may be that get runs.
    max: usize,
    waiting: VecDeque<Waiter>,
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    child: Arc<Child>,
    /// How many runs have it.
    runs: usize,
    /// One of them has it alone.
    alone: bool,
    /// It gets no more runs.
    spent: bool,
}

#[derive(Debug)]
struct Waiter {
    alone: bool,
    got: oneshot::Sender<Lease>,
}

/// The use of a child for one run. A child whose lease is dropped before the run is [over](Self::over) is killed.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) child: Arc<Child>,
    children: Children,
    end: LeaseEnd,
}

/// How a child is when its lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeaseEnd {
    /// The run is over.
    Over,
    /// It is about to end.
    Ending,
    /// The run goes on in it.
    Busy,
}

impl Lease {
    /// The run is over, and the child may have the next one.
    pub(crate) fn over(mut self) {
        self.end = LeaseEnd::Over;
    }

    /// The run is given up, and the child is about to end.
    pub(crate) fn ending(mut self) {
        self.end = LeaseEnd::Ending;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.children.release(&self.child, self.end);
    }
}

impl State {
    /// The place of a child for a run that wants one for itself, or shares one.
    fn find(&self, alone: bool, concurrency: usize) -> Option<usize> {
        let has_room = |entry: &Entry| !entry.spent && !entry.alone && entry.runs < concurrency;
        let shared = || self.all.iter().rposition(|entry| entry.runs > 0 && has_room(entry));
        let idle = || self.all.iter().rposition(|entry| entry.runs == 0 && !entry.spent);
        // What is shared is filled first, so that the others stay free for runs that want one for themselves.
        if alone { idle() } else { shared().or_else(idle) }
    }

    /// How many more children are to be started: for those who wait, or so that there are as many as are kept.
    fn missing(&self, concurrency: usize, kept: usize) -> usize {
        if self.closed {
            return 0;
        }
        let alone = self.waiting.iter().filter(|waiter| waiter.alone).count();
        let wanted = alone + (self.waiting.len() - alone).div_ceil(concurrency);
        let live = self.all.iter().filter(|entry| !entry.spent).count();
        let missing = kept.saturating_sub(live + self.starting);
        wanted.saturating_sub(self.starting).max(missing).min(self.max.saturating_sub(live + self.starting))
    }
}

impl Children {
    /// Children of a worker that has so many slots.
    ///
    /// # Errors
    /// The system starts no thread.
    pub(crate) fn new(
        program: ChildProgram,
        options: ChildOptions,
        slots: usize,
        faults: Faults,
    ) -> std::io::Result<Self> {
        Ok(Self(Arc::new(Shared {
            program,
            options,
            spawner: Spawner::start()?,
            faults,
            state: Mutex::new(State { max: slots.max(1), ..State::default() }),
            wake: Notify::new(),
            next_run: AtomicU64::new(1),
            next_child: AtomicU64::new(0),
            refusal: watch::Sender::new(None),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn program(&self) -> &ChildProgram {
        &self.0.program
    }

    pub(crate) fn options(&self) -> &ChildOptions {
        &self.0.options
    }

    pub(crate) fn spawner(&self) -> &Spawner {
        &self.0.spawner
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// A number for a run, which no other run has.
    pub(crate) fn next_run(&self) -> u64 {
        self.0.next_run.fetch_add(1, Ordering::Relaxed)
    }

    /// The place of a child that is about to be started.
    pub(crate) fn next_child(&self) -> u64 {
        self.0.next_child.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until a child is ready, or one could not be started.
    ///
    /// # Errors
    /// Why it could not.
    pub(crate) async fn try_one(&self) -> Result<(), String> {
        let mut refusal = self.0.refusal.subscribe();
        let refused = async {
            let refused = refusal.wait_for(Option::is_some).await.map(|text| text.clone().unwrap_or_default());
            refused.unwrap_or_default()
        };
        tokio::select! {
            biased;
            lease = self.acquire(true) => {
                lease.into_iter().for_each(Lease::over);
                Ok(())
            }
            text = refused => Err(text),
        }
    }

    /// Waits for a child for one run, alone in it or beside others. `None` when there are no more. Cancel-safe.
    pub(crate) async fn acquire(&self, alone: bool) -> Option<Lease> {
        let alone = alone || self.0.options.concurrency <= 1;
        let waiting = {
            let mut state = self.lock();
            if state.closed {
                return None;
            }
            if let Some(at) = state.find(alone, self.0.options.concurrency) {
                return Some(self.lease(&mut state.all[at], alone));
            }
            let (got, waiting) = oneshot::channel();
            state.waiting.push_back(Waiter { alone, got });
            self.start_missing(&mut state);
            waiting
        };
        waiting.await.ok()
    }

    fn lease(&self, entry: &mut Entry, alone: bool) -> Lease {
        entry.runs += 1;
        entry.alone = alone;
        Lease { child: entry.child.clone(), children: self.clone(), end: LeaseEnd::Busy }
    }

    fn start_missing(&self, state: &mut State) {
        let ChildOptions { concurrency, kept, .. } = self.0.options;
        let missing = state.missing(concurrency, kept);
        if missing > 0 {
            state.starting += missing;
            state.to_start += missing;
            self.0.wake.notify_one();
        }
    }

    /// Gives what is free to those who wait.
    fn give(&self) {
        loop {
            let mut state = self.lock();
            // Who does not wait any more gets nothing, and needs no child.
            state.waiting.retain(|waiter| !waiter.got.is_closed());
            let concurrency = self.0.options.concurrency;
            let found = state.waiting.iter().enumerate().find_map(|(waiter, waits)| {
                let child = state.find(waits.alone, concurrency)?;
                Some((waiter, child))
            });
            let Some((waiter, child)) = found else {
                self.start_missing(&mut state);
                return;
            };
            let Some(waiter) = state.waiting.remove(waiter) else { return };
            let lease = self.lease(&mut state.all[child], waiter.alone);
            drop(state);
            // Who has gone since then drops the lease, which comes back here. Nothing has run in the child.
            if let Err(lease) = waiter.got.send(lease) {
                lease.over();
            }
        }
    }

    fn release(&self, child: &Arc<Child>, end: LeaseEnd) {
        let mut state = self.lock();
        let is_closed = state.closed;
        if let Some(entry) = state.all.iter_mut().find(|entry| Arc::ptr_eq(&entry.child, child)) {
            entry.runs -= 1;
            entry.alone = false;
            let options = &self.0.options;
            let has_run_enough = options.max_tasks.is_some_and(|most| child.begun_runs() >= most);
            let is_too_large = options.max_memory.is_some_and(|most| child.memory() > most);
            entry.spent |= end != LeaseEnd::Over || has_run_enough || is_too_large || is_closed;
            match end {
                LeaseEnd::Busy => self.0.spawner.kill(child.pid),
                LeaseEnd::Over if entry.spent && entry.runs == 0 => child.stop.notify_one(),
                LeaseEnd::Over | LeaseEnd::Ending => {}
            }
        }
        drop(state);
        self.give();
    }

    /// A child is ready for runs.
    pub(crate) fn add(&self, child: &Arc<Child>) {
        let mut state = self.lock();
        state.starting -= 1;
        state.all.push(Entry { child: child.clone(), runs: 0, alone: false, spent: false });
        drop(state);
        self.give();
    }

    /// A child could not be started, and why.
    pub(crate) fn refused(&self, text: String) {
        self.0.refusal.send_replace(Some(text));
    }

    /// Whether somebody waits for a child.
    pub(crate) fn are_wanted(&self) -> bool {
        let state = self.lock();
        !state.closed && !state.waiting.is_empty()
    }

    /// A child is not started after all.
    pub(crate) fn not_started(&self) {
        self.lock().starting -= 1;
        self.give();
    }

    /// A child is about to end, and gets no more runs.
    pub(crate) fn retire(&self, child: &Arc<Child>) {
        let mut state = self.lock();
        state.all.iter_mut().filter(|entry| Arc::ptr_eq(&entry.child, child)).for_each(|entry| entry.spent = true);
        drop(state);
        self.give();
    }

    /// A child has ended.
    pub(crate) fn remove(&self, child: &Arc<Child>) {
        self.lock().all.retain(|entry| !Arc::ptr_eq(&entry.child, child));
        self.give();
    }

    /// Changes how many children there may be. Idle ones that are too many end.
    pub(crate) fn set_max(&self, slots: usize) {
        let mut state = self.lock();
        state.max = slots.max(1);
        let live = state.all.iter().filter(|entry| !entry.spent).count();
        let surplus = live.saturating_sub(state.max);
        for entry in state.all.iter_mut().filter(|entry| entry.runs == 0 && !entry.spent).take(surplus) {
            entry.spent = true;
            entry.child.stop.notify_one();
        }
        drop(state);
        self.give();
    }

    /// Lets every child end after its runs, so that others take their places.
    pub(crate) fn restart(&self) {
        let mut state = self.lock();
        for entry in &mut state.all {
            entry.spent = true;
            if entry.runs == 0 {
                entry.child.stop.notify_one();
            }
        }
        drop(state);
        self.give();
    }

    /// How many children are to be started that nobody has begun to start. They are the caller's then.
    pub(crate) fn take_starts(&self) -> usize {
        std::mem::take(&mut self.lock().to_start)
    }

    /// Waits until a child is to be started. Cancel-safe.
    pub(crate) async fn wait_for_starts(&self) {
        self.0.wake.notified().await;
    }

    /// The process numbers of those that live.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.lock().all.iter().map(|entry| entry.child.pid).collect()
    }

    /// Whether other runs are in a child.
    pub(crate) fn is_shared(&self, child: &Arc<Child>) -> bool {
        self.lock().all.iter().any(|entry| Arc::ptr_eq(&entry.child, child) && entry.runs > 1)
    }

    /// Lets every child end. Nobody gets one any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        for entry in &mut state.all {
            entry.spent = true;
            entry.child.stop.notify_one();
        }
        drop(state);
        drop(waiting);
    }
}
