//! `worker_prefetch_multiplier = "auto"`: how many messages are fetched, computed from the measured rate at which runs
//! end. Only arithmetic: the caller reads clocks and counters.
//!
//! The worker fetches one message for each free slot, and beyond these as many as it completes in [`AHEAD`] seconds. So
//! thousands of short tasks are fetched in large batches, and long tasks do not wait here while another worker is idle.
//! The window begins with the slots alone, and reaches its size within a few batches. When runs become longer all of a
//! sudden, what was fetched ahead is [late](PrefetchWindow::is_late), and goes back to its queue.

use std::time::Duration;

use crate::limits::load::{Load, Queued};

/// How many seconds of runs are fetched ahead of the slots.
const AHEAD: f64 = 0.05;
/// How long a run may wait for a slot. What waits for longer was fetched too far ahead, since runs have become longer.
const LATE: Duration = Duration::from_millis(200);
/// How often to look for runs that are late. A worker that stood still, since its machine had no time for it, sees that
/// it looked once: such a time counts as one interval.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The largest window, unless there are more slots than this.
const MAX_SIZE: usize = 4096;
/// Seconds over which the rate is averaged: long enough to bridge the pauses of a disk, and short enough to forget a
/// burst.
const RATE_MEMORY: f64 = 0.2;
/// How many runs their duration is averaged over.
const RUN_MEMORY: f64 = 32.0;

/// What a worker has done since it started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Runs that ended.
    pub(crate) finished: u64,
    /// How long these runs took in all.
    pub(crate) busy: Duration,
}

/// The window: how many messages a worker wants to have.
#[derive(Debug)]
pub(crate) struct PrefetchWindow {
    slots: usize,
    /// The totals of the last measurement.
    measured: Totals,
    measured_at: Duration,
    /// Runs that end per second.
    rate: f64,
    /// Seconds that a run takes; `None` until one has ended.
    run: Option<f64>,
    backlog: Option<Backlog>,
}

/// The runs that waited for a slot when somebody looked.
#[derive(Debug)]
struct Backlog {
    /// How many runs slots have got in all when the last of these runs begins.
    last: u64,
    looked_at: Duration,
    waited: Duration,
}

impl PrefetchWindow {
    pub(crate) fn new(slots: usize) -> Self {
        Self { slots, measured: Totals::default(), measured_at: Duration::ZERO, rate: 0.0, run: None, backlog: None }
    }

    /// Changes how many slots there are.
    pub(crate) fn set_slots(&mut self, slots: usize) {
        self.slots = slots;
    }

    /// Updates the averages by what was done up to `now`, the time since the worker's start.
    pub(crate) fn measure(&mut self, totals: Totals, now: Duration) {
        let span = now.saturating_sub(self.measured_at).as_secs_f64();
        if span == 0.0 {
            return;
        }
        let finished = totals.finished.saturating_sub(self.measured.finished) as f64;
        let busy = totals.busy.saturating_sub(self.measured.busy).as_secs_f64();
        (self.measured, self.measured_at) = (totals, now);
        self.rate += (finished / span - self.rate) * weight(span / RATE_MEMORY);
        if finished > 0.0 {
            let (new, old) = (busy / finished, self.run.unwrap_or(busy / finished));
            self.run = Some(old + (new - old) * weight(finished / RUN_MEMORY));
        }
    }

    /// Whether a run has waited for a slot for too long, up to `now`.
    pub(crate) fn is_late(&mut self, queued: Queued, now: Duration) -> bool {
        let last = queued.handed_out + queued.waiting;
        match &mut self.backlog {
            _ if queued.waiting == 0 => self.backlog = None,
            Some(backlog) if queued.handed_out < backlog.last => {
                backlog.waited += now.saturating_sub(backlog.looked_at).min(LOOK_INTERVAL);
                backlog.looked_at = now;
                // Some may have been taken out meanwhile.
                backlog.last = backlog.last.min(last);
            }
            _ => self.backlog = Some(Backlog { last, looked_at: now, waited: Duration::ZERO }),
        }
        self.backlog.as_ref().is_some_and(|backlog| backlog.waited >= LATE)
    }

    /// Begins with the slots alone again, after what was fetched ahead went back.
    pub(crate) fn restart(&mut self) {
        (self.rate, self.backlog) = (0.0, None);
    }

    /// How many messages are fetched beyond the slots.
    ///
    /// When runs end together, the rate is too high for a moment. So it is limited to what the slots can do at all, by
    /// how long runs take.
    fn ahead(&self) -> usize {
        // Before the first run has ended the rate is 0. Runs that take no time make this infinite, which is no limit.
        let possible = self.slots as f64 / self.run.unwrap_or_default();
        let ahead = (self.rate.min(possible) * AHEAD) as usize;
        ahead.min(MAX_SIZE.saturating_sub(self.slots))
    }

    /// How many runs the worker wants to have.
    pub(crate) fn size(&self) -> usize {
        self.slots + self.ahead()
    }

    /// With no more runs than this the worker fetches: a slot is about to be free, or a quarter of what was ahead has
    /// begun, which is worth a round trip. `max_batch` is the most that one fetch brings.
    pub(crate) fn refill_at(&self, max_batch: usize) -> usize {
        self.size() - (self.ahead() / 4).clamp(1, max_batch.max(1))
    }

    /// How many more may be fetched.
    pub(crate) fn free(&self, load: Load) -> usize {
        self.size().saturating_sub(load.local)
    }

    /// The prefetch of the consumer: the deliveries that count into it now, and those that may be fetched. It is at
    /// most twice the window, however many completions are under way, so that fetching stops while they cannot reach
    /// the broker. It is never 0, which would be no limit.
    pub(crate) fn prefetch(&self, load: Load) -> usize {
        let size = self.size();
        (load.unacked + load.completing.min(size) + self.free(load)).clamp(1, size * 2)
    }
}

/// How much a new value counts in an average. `age` is the time or the number of runs that the value stands for,
/// divided by what the average remembers.
fn weight(age: f64) -> f64 {
    1.0 - (-age).exp()
}

/// Whether a wanted prefetch differs from the `present` one by more than a quarter. Smaller changes are not worth a
/// command.
pub(crate) fn differs_enough(present: usize, wanted: usize) -> bool {
    present.abs_diff(wanted) * 4 > present
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// A window after `steps`. Each is a number of runs that end, how long each run took, and the time that passes.
    fn after(slots: usize, steps: impl IntoIterator<Item = (u64, Duration, Duration)>) -> PrefetchWindow {
        let mut window = PrefetchWindow::new(slots);
        let (mut totals, mut now) = (Totals::default(), Duration::ZERO);
        for (finished, run, span) in steps {
            totals.finished += finished;
            totals.busy += run * u32::try_from(finished).unwrap();
            now += span;
            window.measure(totals, now);
        }
        window
    }

    #[test]
    fn the_size_is_the_slots_and_the_runs_of_fifty_milliseconds() {
        // Slots, runs that end in 10 ms, how long each takes, and the size after two seconds.
        for (slots, finished, run, size) in [
            (8, 0, MS(0), 8),
            (8, 8, MS(10), 8 + 40),
            (8, 100, Duration::from_micros(20), 8 + 500),
            (64, 500, Duration::from_micros(100), 64 + 2_500),
            // The largest window.
            (64, 5_000, Duration::from_micros(5), MAX_SIZE),
            (5_000, 50, MS(1_000), 5_000),
            // More runs than processors: the measured rate counts, and not what the slots could do.
            (64, 20, Duration::from_micros(500), 64 + 100),
        ] {
            let window = after(slots, std::iter::repeat_n((finished, run, MS(10)), 200));
            let is_near = window.size().abs_diff(size) <= 1;
            assert!(is_near, "{slots} slots, {finished} in 10 ms of {run:?}: {} instead of {size}", window.size());
        }
    }

    #[test]
    fn long_runs_are_not_fetched_ahead_even_when_they_end_together() {
        let run = Duration::from_secs(10);
        for slots in [1, 8, 64, 500] {
            let mut steps = Vec::new();
            for _ in 0..5 {
                // For ten seconds no run ends, and then those of all slots end within a millisecond.
                steps.push((0, run, run));
                steps.push((slots as u64, run, MS(1)));
                assert_eq!(after(slots, steps.clone()).size().saturating_sub(slots) * 100 / slots, 0, "{slots} slots");
            }
        }
        let window = after(8, [(0, run, run), (8, run, MS(1))]);
        assert_eq!(window.size(), 8);
    }

    #[test]
    fn it_begins_with_the_slots_grows_within_a_few_batches_and_shrinks_when_idle() {
        let mut window = PrefetchWindow::new(8);
        assert_eq!((window.size(), window.prefetch(Load::default())), (8, 8));
        // Each round trip takes a millisecond and brings a whole window of runs that take almost no time.
        let (mut totals, mut now) = (Totals::default(), Duration::ZERO);
        for _ in 0..40 {
            totals.finished += window.size() as u64;
            totals.busy += Duration::from_micros(window.size() as u64 * 2);
            now += MS(1);
            window.measure(totals, now);
        }
        assert!(window.size() > 8 * 8, "after 40 ms: {window:?}");
        now += Duration::from_secs(5);
        window.measure(totals, now);
        assert_eq!(window.size(), 8, "after an idle time");
    }

    #[test]
    fn the_prefetch_is_what_counts_into_it_and_what_is_free() {
        let idle = after(8, []);
        let busy = after(8, std::iter::repeat_n((1_001, Duration::from_micros(20), MS(100)), 40));
        assert_eq!((idle.size(), busy.size()), (8, 508));
        // Local, unacked and completing runs; what is free; the prefetch.
        for (window, local, unacked, completing, free, prefetch) in [
            (&idle, 0, 0, 0, 8, 8),
            // Late ack: the eight that run are unacked.
            (&idle, 8, 8, 0, 0, 8),
            (&idle, 6, 6, 0, 2, 8),
            // One of them has ended, and its ack is under way.
            (&idle, 7, 7, 1, 1, 9),
            // Early ack: what runs is acked. The prefetch is never 0, which is no limit.
            (&idle, 8, 0, 0, 0, 1),
            (&idle, 6, 0, 0, 2, 2),
            // The broker is away: twice the size is the limit.
            (&idle, 0, 0, 5_000, 8, 16),
            (&busy, 508, 508, 0, 0, 508),
            (&busy, 300, 292, 30, 208, 530),
        ] {
            let load = Load { local, unacked, completing, ..Load::default() };
            assert_eq!((window.free(load), window.prefetch(load)), (free, prefetch), "{load:?}");
        }
        assert_eq!((idle.refill_at(256), busy.refill_at(256), busy.refill_at(64)), (7, 383, 444));
    }

    #[test]
    fn what_waits_for_longer_than_the_window_wants_is_late() {
        let look = |window: &mut PrefetchWindow, now: u64, handed_out, waiting| {
            window.is_late(Queued { handed_out, waiting, any: waiting > 0 }, MS(now))
        };
        let mut window = PrefetchWindow::new(2);
        // No slot is free any more.
        let looks = [0, 50, 100, 150, 200].map(|now| look(&mut window, now, 10, 500));
        assert_eq!(looks, [false, false, false, false, true]);
        window.restart();
        // The slots get on, and the last of those that waited has its turn in time. Others wait by then.
        let looks = [300, 350, 400, 450, 500, 550].map(|now| look(&mut window, now, now, 160));
        assert_eq!(looks, [false; 6]);
        window.restart();
        // They get on too slowly: the last has its turn after 500 ms.
        let looks = [600, 650, 700, 750, 800].map(|now| look(&mut window, now, now, 500));
        assert_eq!(looks, [false, false, false, false, true]);
        window.restart();
        // Nothing waits in between, since a batch is being marked or no run is in a slot.
        let looks =
            [900, 950, 1000, 1050, 1100].map(|now| look(&mut window, now, 2_000, if now == 1000 { 0 } else { 5 }));
        assert_eq!(looks, [false; 5]);
        window.restart();
        // The process stood still for ten seconds.
        let looks = [2_000, 12_000, 12_050].map(|now| look(&mut window, now, 3_000, 5));
        assert_eq!(looks, [false; 3]);
    }

    #[test]
    fn a_prefetch_differs_enough_by_more_than_a_quarter() {
        for (present, wanted, differs) in [
            (8, 8, false),
            (8, 10, false),
            (8, 11, true),
            (8, 6, false),
            (8, 5, true),
            (1, 2, true),
            (1000, 1250, false),
        ] {
            assert_eq!(differs_enough(present, wanted), differs, "{present} to {wanted}");
        }
    }
}
