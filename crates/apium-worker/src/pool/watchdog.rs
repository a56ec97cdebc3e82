//! The watchdog names the task that blocks the reactor (the guarantee `blocked-reactor`): an `async fn` that computes
//! or sleeps without awaiting holds up every other tokio task of its thread, heartbeats and signals included.
//!
//! Each slot records when it begins to poll a task. The watchdog's thread checks the slots four times a second while
//! tasks are polled, and sleeps while none is.
//!
//! The same thread ticks for the time limits, which do not count the time in which the process was stopped (see
//! `limits::stopped_time`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use apium_protocol::error::with_causes;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::value::printable::printable_text;
use apium_transport::clock::Clock;

use crate::limits::stopped_time::{RunClock, StoppedTime, TICK};
use crate::runs::registry::Runs;
use crate::runs::slot::Slot;

/// A poll longer than this blocks the reactor.
const LONGEST_POLL: Duration = Duration::from_millis(500);
/// How often the records are checked.
const CHECK_INTERVAL: Duration = TICK;

/// Watches the slots of a worker.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    epoch: Instant,
    runs: Arc<Runs>,
    asleep: AtomicBool,
    stopped: AtomicBool,
    clock: Clock,
    /// How long the process was stopped as a whole.
    stopped_time: Arc<StoppedTime>,
    /// How many polls were reported.
    reported: AtomicU64,
}

/// Makes timers for slots. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PollTimers {
    shared: Arc<Shared>,
    thread: std::thread::Thread,
}

impl PollTimers {
    /// The timer of a slot.
    pub(crate) fn of(&self, slot: &Arc<Slot>) -> PollTimer {
        PollTimer { slot: slot.clone(), shared: self.shared.clone(), thread: self.thread.clone() }
    }
}

/// Records the polls of one slot.
#[derive(Clone)]
pub(crate) struct PollTimer {
    slot: Arc<Slot>,
    shared: Arc<Shared>,
    thread: std::thread::Thread,
}

impl Watchdog {
    /// Starts the watchdog of these slots. `None` when the system starts no thread; that is logged, and the worker goes
    /// without.
    pub(crate) fn start(runs: &Arc<Runs>, clock: &Clock) -> Option<(Self, PollTimers)> {
        let shared = Arc::new(Shared {
            epoch: Instant::now(),
            runs: runs.clone(),
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
        let timers = PollTimers { shared: shared.clone(), thread: thread.thread().clone() };
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
        let mut polling = false;
        self.runs.each_slot(|slot| polling |= slot.polled_since.load(Ordering::SeqCst) != 0);
        polling
    }

    /// Reports polls that block and were not reported. Returns whether any poll is under way.
    fn check_polls(&self) -> bool {
        let now = self.now();
        let longest = u64::try_from(LONGEST_POLL.as_millis()).unwrap_or(u64::MAX);
        let mut polling = false;
        let mut blocking = Vec::new();
        self.runs.each_slot(|slot| {
            let since = slot.polled_since.load(Ordering::SeqCst);
            polling |= since != 0;
            let blocks = since != 0 && now.saturating_sub(since) >= longest;
            if blocks && slot.reported.swap(since, Ordering::Relaxed) != since {
                blocking.push((slot.clone(), now - since));
            }
        });
        blocking.iter().for_each(|(slot, millis)| self.report(slot, *millis));
        polling
    }

    fn report(&self, slot: &Slot, millis: u64) {
        let Some(run) = slot.run() else { return };
        self.reported.fetch_add(1, Ordering::Relaxed);
        let (task, id) = (&*run.task.name, &*printable_text(run.id().map_or("?", TaskId::as_str)));
        tracing::warn!(
            task,
            id,
            millis,
            "task {task}[{id}] blocks the reactor for {millis} ms: make it a plain fn, or move the blocking part to \
             tokio::task::spawn_blocking"
        );
    }
}

impl PollTimer {
    fn enter(&self) {
        self.slot.polled_since.store(self.shared.now(), Ordering::SeqCst);
        self.shared.wake(&self.thread);
    }

    fn leave(&self) {
        self.slot.polled_since.store(0, Ordering::SeqCst);
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
    use crate::runs::slot::ActiveRun;

    #[tokio::test]
    async fn a_poll_that_does_not_end_is_reported_once() {
        let runs = Arc::new(Runs::new(2));
        let (_idle, busy) = (runs.add_slot(), runs.add_slot());
        let (watchdog, timers) = Watchdog::start(&runs, &Clock::system()).unwrap();
        busy.enter(ActiveRun::of_test("proj.slow", "id-1"));
        let shared = watchdog.shared.clone();
        let future = std::future::poll_fn(|_| {
            // Blocks its thread, as a task should not, until the watchdog has reported it.
            while shared.reported.load(Ordering::Relaxed) == 0 {
                std::hint::spin_loop();
            }
            Poll::Ready(())
        });
        let began = Instant::now();
        TimedPoll { timer: Some(&timers.of(&busy)), future }.await;
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(watchdog.reported(), 1);
        watchdog.stop();
    }

    #[tokio::test]
    async fn an_idle_watchdog_sleeps_until_a_poll_begins() {
        let runs = Arc::new(Runs::new(1));
        let (watchdog, timers) = Watchdog::start(&runs, &Clock::system()).unwrap();
        while !watchdog.shared.asleep.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        // A slot that is added later is watched too.
        let slot = runs.add_slot();
        slot.enter(ActiveRun::of_test("t", "id-1"));
        timers.of(&slot).enter();
        while watchdog.reported() == 0 {
            tokio::task::yield_now().await;
        }
        timers.of(&slot).leave();
        watchdog.stop();
    }
}
