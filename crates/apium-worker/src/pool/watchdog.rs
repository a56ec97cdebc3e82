//! Names the task that blocks the reactor (P15): an `async fn` that computes or sleeps without awaiting holds up every other
//! task of its thread, leases and signals included.
//!
//! Each slot notes when it begins to poll a task. A thread of its own looks at the notes four times a second while tasks run, and
//! sleeps for good while none does.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use apium_protocol::message::task_id::TaskId;

/// A poll longer than this blocks the reactor.
const LONGEST_POLL: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(250);

/// What is told about a task that blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocked {
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
    pulses: Vec<Arc<PollRecord>>,
    asleep: AtomicBool,
    stopped: AtomicBool,
    blocked: AtomicU64,
}

/// What one slot is doing.
pub(crate) struct PollRecord {
    /// When the present poll began, in milliseconds since the epoch plus one; zero outside a poll.
    since: AtomicU64,
    /// The beginning of the last poll that was told about.
    told: AtomicU64,
    who: Mutex<Option<Blocked>>,
}

/// A slot's way to tell the watchdog what it does.
#[derive(Clone)]
pub(crate) struct PollTimer {
    record: Arc<PollRecord>,
    shared: Arc<Shared>,
    thread: std::thread::Thread,
}

impl Watchdog {
    /// Starts the watch over `slots` slots; gives one beat for each. `None` when no thread can be had: then nobody watches.
    pub(crate) fn start(slots: usize) -> Option<(Self, Vec<PollTimer>)> {
        let record = || PollRecord { since: AtomicU64::new(0), told: AtomicU64::new(0), who: Mutex::default() };
        let shared = Arc::new(Shared {
            epoch: Instant::now(),
            pulses: (0..slots).map(|_| Arc::new(record())).collect(),
            asleep: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            blocked: AtomicU64::new(0),
        });
        let watched = shared.clone();
        let spawned = std::thread::Builder::new().name("apium-watchdog".to_owned()).spawn(move || watched.watch());
        let thread = spawned.map_err(|error| tracing::warn!(%error, "could not start the watchdog")).ok()?;
        let timer = |record: &Arc<PollRecord>| PollTimer {
            record: record.clone(),
            shared: shared.clone(),
            thread: thread.thread().clone(),
        };
        let timers = shared.pulses.iter().map(timer).collect();
        Some((Self { shared, thread: Some(thread) }, timers))
    }

    /// How many blocking polls were told about.
    #[cfg(test)]
    pub(crate) fn blocked(&self) -> u64 {
        self.shared.blocked.load(Ordering::Relaxed)
    }

    /// Ends the watch and joins its thread, which ends at once.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It runs no code but this file's.
            let _ = thread.join();
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn watch(&self) {
        while !self.stopped.load(Ordering::SeqCst) {
            // At least one look's time between two looks: polls that come and go wake it at most so often.
            std::thread::park_timeout(LOOK);
            if self.look() {
                continue;
            }
            self.asleep.store(true, Ordering::SeqCst);
            if !self.is_polling() && !self.stopped.load(Ordering::SeqCst) {
                std::thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
        }
    }

    fn is_polling(&self) -> bool {
        self.pulses.iter().any(|record| record.since.load(Ordering::SeqCst) != 0)
    }

    /// Tells about new blocking polls; whether any poll is under way.
    fn look(&self) -> bool {
        let now = self.now();
        let longest = u64::try_from(LONGEST_POLL.as_millis()).unwrap_or(u64::MAX);
        let mut polling = false;
        for record in &self.pulses {
            let since = record.since.load(Ordering::SeqCst);
            polling |= since != 0;
            let blocks = since != 0 && now.saturating_sub(since) >= longest;
            if blocks && record.told.swap(since, Ordering::Relaxed) != since {
                self.tell(record, now - since);
            }
        }
        polling
    }

    fn tell(&self, record: &PollRecord, millis: u64) {
        let who = record.who.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(Blocked { task, id }) = who else { return };
        self.blocked.fetch_add(1, Ordering::Relaxed);
        let id = id.as_ref().map_or("?", TaskId::as_str);
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
    /// The slot works on this task now.
    pub(crate) fn works_on(&self, task: &Arc<str>, id: Option<&TaskId>) {
        let who = Blocked { task: task.clone(), id: id.cloned() };
        *self.record.who.lock().unwrap_or_else(PoisonError::into_inner) = Some(who);
    }

    fn enter(&self) {
        self.record.since.store(self.shared.now(), Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
    }

    fn leave(&self) {
        self.record.since.store(0, Ordering::SeqCst);
    }
}

/// A task's future whose polls are watched.
pub(crate) struct TimedPoll<'a, F> {
    pub(crate) timer: Option<&'a PollTimer>,
    pub(crate) future: F,
}

impl<F: Future + Unpin> Future for TimedPoll<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        struct Left<'a>(&'a PollTimer);
        impl Drop for Left<'_> {
            fn drop(&mut self) {
                self.0.leave();
            }
        }
        let _left = self.timer.map(|timer| {
            timer.enter();
            Left(timer)
        });
        Pin::new(&mut self.future).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_poll_that_does_not_end_is_told_once() {
        let (watchdog, timers) = Watchdog::start(2).unwrap();
        timers[1].works_on(&"proj.slow".into(), Some(&"id-1".into()));
        let shared = watchdog.shared.clone();
        let future = std::future::poll_fn(|_| {
            // Blocks its thread, as a task should not, until the watchdog has told it.
            while shared.blocked.load(Ordering::Relaxed) == 0 {
                std::hint::spin_loop();
            }
            Poll::Ready(())
        });
        let began = Instant::now();
        TimedPoll { timer: Some(&timers[1]), future }.await;
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(watchdog.blocked(), 1);
        watchdog.stop();
    }

    #[tokio::test]
    async fn a_quiet_watchdog_sleeps_until_a_poll_begins() {
        let (watchdog, timers) = Watchdog::start(1).unwrap();
        while !watchdog.shared.asleep.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        timers[0].works_on(&"t".into(), None);
        timers[0].enter();
        while watchdog.blocked() == 0 {
            tokio::task::yield_now().await;
        }
        timers[0].leave();
        watchdog.stop();
    }
}
