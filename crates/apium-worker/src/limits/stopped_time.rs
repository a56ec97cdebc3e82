//! How long this process was stopped as a whole: by SIGSTOP, by a debugger, or with its virtual machine. The monotonic
//! clock goes on meanwhile, and the runs do not, so this time does not count for their time limits.
//!
//! A thread that does nothing else ticks. When two of its ticks are much further apart than they should be, the process
//! was stopped between them. It ticks only while there are runs with a limit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_transport::clock::{Clock, Moment};

/// How often the thread ticks.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// A thread of a busy machine may tick late by so much.
const SLACK: Duration = Duration::from_secs(1);

/// How long this process was stopped.
#[derive(Debug)]
pub(crate) struct StoppedTime {
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// How many runs want to know.
    watches: usize,
    last_tick: Moment,
    total: Duration,
}

impl State {
    /// How long it was stopped up to `now`.
    fn total(&self, now: Moment) -> Duration {
        let gap = now.saturating_since(self.last_tick);
        match self.watches > 0 && gap > TICK + SLACK {
            true => self.total.saturating_add(gap.saturating_sub(TICK)),
            false => self.total,
        }
    }
}

impl StoppedTime {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { watches: 0, last_tick: Moment::FIRST, total: Duration::ZERO }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread ticks at `now`. Returns whether it is to go on.
    pub(crate) fn tick(&self, now: Moment) -> bool {
        let mut state = self.lock();
        state.total = state.total(now);
        state.last_tick = now;
        state.watches > 0
    }

    /// Whether a run wants to know.
    pub(crate) fn is_watched(&self) -> bool {
        self.lock().watches > 0
    }
}

/// The clock of time limits: the monotonic side of a clock, and how long the process was stopped.
#[derive(Clone)]
pub(crate) struct RunClock {
    clock: Clock,
    stops: Option<Stops>,
}

#[derive(Clone)]
struct Stops {
    stopped: Arc<StoppedTime>,
    /// Wakes the thread that ticks.
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl RunClock {
    /// A clock that knows of no stops.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, stops: None }
    }

    /// A clock that knows how long the process was `stopped`. `wake` wakes the thread that ticks.
    pub(crate) fn with_stops(clock: Clock, stopped: Arc<StoppedTime>, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { clock, stops: Some(Stops { stopped, wake }) }
    }

    /// Begins to measure the time of a run.
    pub(crate) fn start(&self) -> RunTime {
        let now = self.clock.moment();
        let mut stopped_before = Duration::ZERO;
        if let Some(Stops { stopped, wake }) = &self.stops {
            let mut state = stopped.lock();
            if state.watches == 0 {
                state.last_tick = now;
            }
            state.watches += 1;
            stopped_before = state.total(now);
            drop(state);
            wake();
        }
        RunTime { clock: self.clone(), began: now, stopped_before }
    }
}

/// The time of one run.
pub(crate) struct RunTime {
    clock: RunClock,
    began: Moment,
    stopped_before: Duration,
}

impl RunTime {
    /// Waits until the run has gone on for `span`. Cancel-safe.
    pub(crate) async fn reach(&self, span: Duration) {
        loop {
            let due = self.began.saturating_add(span).saturating_add(self.stopped());
            if due <= self.clock.clock.moment() {
                return;
            }
            self.clock.clock.sleep_until_moment(due).await;
        }
    }

    /// How long the process was stopped since the run began.
    fn stopped(&self) -> Duration {
        let Some(Stops { stopped, .. }) = &self.clock.stops else { return Duration::ZERO };
        let now = self.clock.clock.moment();
        stopped.lock().total(now).saturating_sub(self.stopped_before)
    }
}

impl Drop for RunTime {
    fn drop(&mut self) {
        if let Some(Stops { stopped, .. }) = &self.clock.stops {
            let mut state = stopped.lock();
            // What was measured is kept for the others.
            state.watches -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use jiff::Timestamp;

    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn clock_with_stops() -> (Clock, Arc<StoppedTime>, RunClock, Arc<AtomicUsize>) {
        let (clock, stopped) = (Clock::manual(Timestamp::UNIX_EPOCH), Arc::new(StoppedTime::new()));
        let wakes = Arc::new(AtomicUsize::new(0));
        let woken = wakes.clone();
        let wake = Arc::new(move || {
            woken.fetch_add(1, Ordering::SeqCst);
        });
        let run_clock = RunClock::with_stops(clock.clone(), stopped.clone(), wake);
        (clock, stopped, run_clock, wakes)
    }

    /// The thread ticks as it should for `span`.
    fn goes_on(clock: &Clock, stopped: &StoppedTime, span: Duration) {
        let mut left = span;
        while !left.is_zero() {
            let step = left.min(TICK);
            clock.advance(step);
            stopped.tick(clock.moment());
            left -= step;
        }
    }

    #[test]
    fn the_time_in_which_the_process_was_stopped_does_not_count() {
        let (clock, stopped, run_clock, wakes) = clock_with_stops();
        let run = run_clock.start();
        assert!(stopped.is_watched() && wakes.load(Ordering::SeqCst) == 1);
        goes_on(&clock, &stopped, S(4));
        clock.advance(S(3600));
        assert!(run.reach(S(5)).now_or_never().is_none(), "before the thread has ticked");
        stopped.tick(clock.moment());
        assert!(run.reach(S(5)).now_or_never().is_none(), "after the thread has ticked");
        let later = run_clock.start();
        goes_on(&clock, &stopped, S(1));
        assert!(run.reach(S(5)).now_or_never().is_some(), "the limit never passes");
        assert!(later.reach(S(1)).now_or_never().is_some(), "a stop before a run counts for it");
        assert!(later.reach(S(2)).now_or_never().is_none());
    }

    #[test]
    fn a_late_tick_is_no_stop() {
        let (clock, stopped, run_clock, _) = clock_with_stops();
        let run = run_clock.start();
        for _ in 0..4 {
            clock.advance(TICK + SLACK);
            stopped.tick(clock.moment());
        }
        assert!(run.reach(S(5)).now_or_never().is_some());
    }

    #[test]
    fn the_time_in_which_nobody_wants_to_know_is_no_stop() {
        let (clock, stopped, run_clock, _) = clock_with_stops();
        drop(run_clock.start());
        assert!(!stopped.is_watched() && !stopped.tick(clock.moment()));
        clock.advance(S(3600));
        let run = run_clock.start();
        goes_on(&clock, &stopped, S(5));
        assert!(run.reach(S(5)).now_or_never().is_some());
        assert!(run.reach(S(6)).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_wait_goes_on_after_a_stop() {
        let (clock, stopped, run_clock, _) = clock_with_stops();
        let run = run_clock.start();
        let mut wait = Box::pin(run.reach(S(5)));
        assert!((&mut wait).now_or_never().is_none());
        clock.advance(S(100));
        assert!((&mut wait).now_or_never().is_none(), "it was stopped for nearly all of the time");
        stopped.tick(clock.moment());
        goes_on(&clock, &stopped, S(5));
        assert!(wait.now_or_never().is_some());
    }
}
