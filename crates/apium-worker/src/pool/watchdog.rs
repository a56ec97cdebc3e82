//! The watchdog names the task that blocks the reactor (the guarantee `blocked-reactor`): an `async fn` that computes
//! or sleeps without awaiting holds up every other tokio task of its thread, heartbeats and signals included.
//!
//! Each slot records when it begins to poll a task. The watchdog's thread checks these records four times a second
//! while tasks are polled, and sleeps while none is.
//!
//! The same thread ticks for the time limits, which do not count the time in which the process was stopped (see
//! `limits::stopped_time`).

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use apium_protocol::error::with_causes;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::value::printable::printable_text;
use apium_transport::clock::Clock;

use crate::limits::stopped_time::{RunClock, StoppedTime, TICK};

/// A poll longer than this blocks the reactor.
const LONGEST_POLL: Duration = Duration::from_millis(500);
/// How often the records are checked.
const CHECK_INTERVAL: Duration = TICK;

/// The task that a slot polls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolledTask {
    pub(crate) task: Arc<str>,
    pub(crate) id: Option<TaskId>,
}

/// Watches the slots of a worker.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    epoch: Instant,
    records: Vec<Arc<PollRecord>>,
    asleep: AtomicBool,
    stopped: AtomicBool,
    clock: Clock,
    /// How long the process was stopped as a whole.
    stopped_time: Arc<StoppedTime>,
    /// How many polls were reported.
    reported: AtomicU64,
}

/// What one slot polls, and since when.
pub(crate) struct PollRecord {
    /// When the present poll began, in milliseconds since `epoch`, plus 1. 0 outside a poll.
    since: AtomicU64,
    /// The `since` of the last poll that was reported. Each poll is reported once.
    reported: AtomicU64,
    task: Mutex<Option<PolledTask>>,
}

/// Records the polls of one slot.
#[derive(Clone)]
pub(crate) struct PollTimer {
    record: Arc<PollRecord>,
    shared: Arc<Shared>,
    thread: std::thread::Thread,
}

impl Watchdog {
    /// Starts the watchdog of `slots` slots, and makes a timer for each. `None` when the system starts no thread; that
    /// is logged, and the worker goes without.
    pub(crate) fn start(slots: usize, clock: &Clock) -> Option<(Self, Vec<PollTimer>)> {
        let record = || PollRecord { since: AtomicU64::new(0), reported: AtomicU64::new(0), task: Mutex::default() };
        let shared = Arc::new(Shared {
            epoch: Instant::now(),
            records: (0..slots).map(|_| Arc::new(record())).collect(),
            asleep: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            clock: clock.clone(),
            stopped_time: Arc::new(StoppedTime::new()),
            reported: AtomicU64::new(0),
        });
        let watching = shared.clone();
        let spawned = std::thread::Builder::new().name("apium-watchdog".to_owned()).spawn(move || watching.watch());
        let thread = spawned
            .map_err(|error| tracing::warn!(error = %with_causes(&error), "could not start the watchdog"))
            .ok()?;
        let timer = |record: &Arc<PollRecord>| PollTimer {
            record: record.clone(),
            shared: shared.clone(),
            thread: thread.thread().clone(),
        };
        let timers = shared.records.iter().map(timer).collect();
        Some((Self { shared, thread: Some(thread) }, timers))
    }

    /// The clock of time limits.
    pub(crate) fn run_clock(&self) -> RunClock {
        let clock = self.shared.clock.clone();
        match &self.thread {
            // A manual clock stands still while the thread ticks.
            Some(thread) if !clock.is_manual() => {
                let (shared, thread) = (self.shared.clone(), thread.thread().clone());
                let wake = Arc::new(move || shared.wake(&thread));
                RunClock::with_stops(clock, self.shared.stopped_time.clone(), wake)
            }
            _ => RunClock::new(clock),
        }
    }

    /// How many polls were reported.
    #[cfg(test)]
    pub(crate) fn reported(&self) -> u64 {
        self.shared.reported.load(Ordering::Relaxed)
    }

    /// Stops the watchdog and joins its thread, which ends at once.
    pub(crate) fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread runs no code but this file's, which does not panic.
            let _ = thread.join();
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.join();
    }
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn watch(&self) {
        while !self.stopped.load(Ordering::SeqCst) {
            // An interval lies between two checks, so that many short polls do not wake this thread each time.
            std::thread::park_timeout(CHECK_INTERVAL);
            let is_watched = self.stopped_time.tick(self.clock.moment());
            if self.check_polls() || is_watched {
                continue;
            }
            self.asleep.store(true, Ordering::SeqCst);
            if !self.is_polling() && !self.stopped_time.is_watched() && !self.stopped.load(Ordering::SeqCst) {
                std::thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
        }
    }

    /// Wakes the thread where it sleeps.
    fn wake(&self, thread: &std::thread::Thread) {
        if self.asleep.load(Ordering::SeqCst) {
            thread.unpark();
        }
    }

    fn is_polling(&self) -> bool {
        self.records.iter().any(|record| record.since.load(Ordering::SeqCst) != 0)
    }

    /// Reports polls that block and were not reported. Returns whether any poll is under way.
    fn check_polls(&self) -> bool {
        let now = self.now();
        let longest = u64::try_from(LONGEST_POLL.as_millis()).unwrap_or(u64::MAX);
        let mut polling = false;
        for record in &self.records {
            let since = record.since.load(Ordering::SeqCst);
            polling |= since != 0;
            let blocks = since != 0 && now.saturating_sub(since) >= longest;
            if blocks && record.reported.swap(since, Ordering::Relaxed) != since {
                self.report(record, now - since);
            }
        }
        polling
    }

    fn report(&self, record: &PollRecord, millis: u64) {
        let polled = record.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(PolledTask { task, id }) = polled else { return };
        self.reported.fetch_add(1, Ordering::Relaxed);
        let id = &*printable_text(id.as_ref().map_or("?", TaskId::as_str));
        tracing::warn!(
            task = &*task,
            id,
            millis,
            "task {task}[{id}] blocks the reactor for {millis} ms: make it a plain fn, or move the blocking part to \
             tokio::task::spawn_blocking"
        );
    }
}

impl PollTimer {
    /// Records the task that the slot polls from now on.
    pub(crate) fn set_task(&self, task: &Arc<str>, id: Option<&TaskId>) {
        let polled = PolledTask { task: task.clone(), id: id.cloned() };
        *self.record.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(polled);
    }

    fn enter(&self) {
        self.record.since.store(self.shared.now(), Ordering::SeqCst);
        self.shared.wake(&self.thread);
    }

    fn leave(&self) {
        self.record.since.store(0, Ordering::SeqCst);
    }
}

/// The future of a task, whose polls are recorded where there is a timer.
pub(crate) struct TimedPoll<'a, F> {
    pub(crate) timer: Option<&'a PollTimer>,
    pub(crate) future: F,
}

impl<F: Future + Unpin> Future for TimedPoll<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        struct LeaveOnDrop<'a>(&'a PollTimer);
        impl Drop for LeaveOnDrop<'_> {
            fn drop(&mut self) {
                self.0.leave();
            }
        }
        let _leave = self.timer.map(|timer| {
            timer.enter();
            LeaveOnDrop(timer)
        });
        Pin::new(&mut self.future).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_poll_that_does_not_end_is_reported_once() {
        let (watchdog, timers) = Watchdog::start(2, &Clock::system()).unwrap();
        timers[1].set_task(&"proj.slow".into(), Some(&"id-1".into()));
        let shared = watchdog.shared.clone();
        let future = std::future::poll_fn(|_| {
            // Blocks its thread, as a task should not, until the watchdog has reported it.
            while shared.reported.load(Ordering::Relaxed) == 0 {
                std::hint::spin_loop();
            }
            Poll::Ready(())
        });
        let began = Instant::now();
        TimedPoll { timer: Some(&timers[1]), future }.await;
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(watchdog.reported(), 1);
        watchdog.stop();
    }

    #[tokio::test]
    async fn an_idle_watchdog_sleeps_until_a_poll_begins() {
        let (watchdog, timers) = Watchdog::start(1, &Clock::system()).unwrap();
        while !watchdog.shared.asleep.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        timers[0].set_task(&"t".into(), None);
        timers[0].enter();
        while watchdog.reported() == 0 {
            tokio::task::yield_now().await;
        }
        timers[0].leave();
        watchdog.stop();
    }
}
