//! `worker_prefetch_multiplier = "auto"`: how much is fetched ahead, by time. Arithmetic alone: whoever calls it reads clocks and
//! counts.
//!
//! The unit is work for [`AHEAD`] seconds. Fetched are as many messages as there are free slots, and ahead of them as many as
//! this worker ends in that time: thousands of short tasks travel in large batches, and of long ones none waits here while
//! another worker is idle. It begins with the slots alone and has grown to its size a few batches later.

use std::time::Duration;

/// Seconds of work that are fetched ahead of the slots.
const AHEAD: f64 = 0.05;
/// Slots and what is ahead of them are together at most so many, unless there are more slots.
const MOST: usize = 4096;
/// Seconds over which the rate of ends is averaged: long enough for a disk's pauses, short enough to forget a burst.
const RATE_MEMORY: f64 = 0.2;
/// Runs over which their duration is averaged.
const RUN_MEMORY: f64 = 32.0;

/// What a worker did since it started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Runs that ended.
    pub(crate) finished: u64,
    /// How long they took, all together.
    pub(crate) busy: Duration,
}

/// What is here at the moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    /// Works that slots have, or that wait for one.
    pub(crate) local: usize,
    /// How many of them the broker counts: all but those that were acked before their run.
    pub(crate) unacked: usize,
    /// Ends on their way to the broker, which counts them until they are there.
    pub(crate) completing: usize,
}

/// How much is fetched ahead.
#[derive(Debug)]
pub(crate) struct PrefetchWindow {
    slots: usize,
    seen: Totals,
    seen_at: Duration,
    /// Ends per second.
    rate: f64,
    /// Seconds that a run takes, once one has ended.
    run: Option<f64>,
}

impl PrefetchWindow {
    pub(crate) fn new(slots: usize) -> Self {
        Self { slots, seen: Totals::default(), seen_at: Duration::ZERO, rate: 0.0, run: None }
    }

    /// Takes in what was done up to `now`, which counts from the worker's start.
    pub(crate) fn measure(&mut self, totals: Totals, now: Duration) {
        let span = now.saturating_sub(self.seen_at).as_secs_f64();
        if span == 0.0 {
            return;
        }
        let ended = totals.finished.saturating_sub(self.seen.finished) as f64;
        let busy = totals.busy.saturating_sub(self.seen.busy).as_secs_f64();
        (self.seen, self.seen_at) = (totals, now);
        self.rate += (ended / span - self.rate) * weight(span / RATE_MEMORY);
        if ended > 0.0 {
            let (new, old) = (busy / ended, self.run.unwrap_or(busy / ended));
            self.run = Some(old + (new - old) * weight(ended / RUN_MEMORY));
        }
    }

    /// How many messages are fetched ahead of the slots.
    ///
    /// Runs that end together look like a high rate for a moment. What the slots can do at all, by how long runs take, bounds it.
    fn ahead(&self) -> usize {
        // Without an end yet there is no rate either; a run that took no time bounds nothing.
        let possible = self.slots as f64 / self.run.unwrap_or_default();
        let ahead = (self.rate.min(possible) * AHEAD) as usize;
        ahead.min(MOST.saturating_sub(self.slots))
    }

    /// How many works may be here in all.
    fn size(&self) -> usize {
        self.slots + self.ahead()
    }

    /// When no more than this is here, it is time to fetch: a slot is about to be free, or a good part of what is ahead is gone,
    /// so that a batch is worth its way. `batch` is the most that one fetch brings.
    pub(crate) fn refill_at(&self, batch: usize) -> usize {
        self.size() - (self.ahead() / 4).clamp(1, batch.max(1))
    }

    /// How many more may be fetched.
    pub(crate) fn free(&self, load: Load) -> usize {
        self.size().saturating_sub(load.local)
    }

    /// How many deliveries the consumer may hold: those that it counts now, and the room. Ends that cannot reach the broker make
    /// it no larger than twice its size, so that a broker that is away stops the fetching. Never 0, which would be no limit.
    pub(crate) fn prefetch(&self, load: Load) -> usize {
        let size = self.size();
        (load.unacked + load.completing.min(size) + self.free(load)).clamp(1, size * 2)
    }
}

/// How much a new value counts, `age` being the time or number it stands for as a part of what is remembered.
fn weight(age: f64) -> f64 {
    1.0 - (-age).exp()
}

/// Whether a prefetch is far enough from the `present` one to tell the consumer: by more than a quarter.
pub(crate) fn differs_enough(present: usize, wanted: usize) -> bool {
    present.abs_diff(wanted) * 4 > present
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// A window of `slots` after `steps` of so many ends, each run taking so long, in so much time.
    fn after(slots: usize, steps: impl IntoIterator<Item = (u64, Duration, Duration)>) -> PrefetchWindow {
        let mut window = PrefetchWindow::new(slots);
        let (mut totals, mut now) = (Totals::default(), Duration::ZERO);
        for (ended, run, span) in steps {
            totals.finished += ended;
            totals.busy += run * u32::try_from(ended).unwrap();
            now += span;
            window.measure(totals, now);
        }
        window
    }

    #[test]
    fn the_size_is_the_slots_and_fifty_milliseconds_of_work() {
        // Slots, ends per 10 ms, how long each run takes, the size after two seconds of it.
        for (slots, ended, run, size) in [
            (8, 0, MS(0), 8),
            (8, 8, MS(10), 8 + 40),
            (8, 100, Duration::from_micros(20), 8 + 500),
            (64, 500, Duration::from_micros(100), 64 + 2_500),
            // Capped.
            (64, 5_000, Duration::from_micros(5), MOST),
            (5_000, 50, MS(1_000), 5_000),
            // They take the processor from each other: what ends counts, not what could.
            (64, 20, Duration::from_micros(500), 64 + 100),
        ] {
            let window = after(slots, std::iter::repeat_n((ended, run, MS(10)), 200));
            let near = window.size().abs_diff(size) <= 1;
            assert!(near, "{slots} slots, {ended} in 10 ms of {run:?}: {} instead of {size}", window.size());
        }
    }

    #[test]
    fn long_runs_are_not_hoarded_even_when_they_end_together() {
        let run = Duration::from_secs(10);
        for slots in [1, 8, 64, 500] {
            let mut steps = Vec::new();
            for _ in 0..5 {
                // Ten seconds of nothing, then every slot ends within a millisecond.
                steps.push((0, run, run));
                steps.push((slots as u64, run, MS(1)));
                assert_eq!(after(slots, steps.clone()).size().saturating_sub(slots) * 100 / slots, 0, "{slots} slots");
            }
        }
        let window = after(8, [(0, run, run), (8, run, MS(1))]);
        assert_eq!(window.size(), 8);
    }

    #[test]
    fn it_begins_with_the_slots_grows_within_a_few_batches_and_forgets() {
        let mut window = PrefetchWindow::new(8);
        assert_eq!((window.size(), window.prefetch(Load::default())), (8, 8));
        // A millisecond of round trip for whatever fits, of runs that take no time.
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
        assert_eq!(window.size(), 8, "after a rest");
    }

    #[test]
    fn the_consumer_is_told_what_it_counts_and_the_room() {
        let idle = after(8, []);
        let busy = after(8, std::iter::repeat_n((1_001, Duration::from_micros(20), MS(100)), 40));
        assert_eq!((idle.size(), busy.size()), (8, 508));
        // What is here, held and on its way; the room; what the consumer may hold.
        for (window, here, held, ends, room, prefetch) in [
            (&idle, 0, 0, 0, 8, 8),
            // Late ack: the eight that run are held.
            (&idle, 8, 8, 0, 0, 8),
            (&idle, 6, 6, 0, 2, 8),
            // One of them has ended, and the broker does not know it yet.
            (&idle, 7, 7, 1, 1, 9),
            // Early ack: what runs is not held; never 0, which is no limit.
            (&idle, 8, 0, 0, 0, 1),
            (&idle, 6, 0, 0, 2, 2),
            // The broker is away: it ends at twice the size.
            (&idle, 0, 0, 5_000, 8, 16),
            (&busy, 508, 508, 0, 0, 508),
            (&busy, 300, 292, 30, 208, 530),
        ] {
            let load = Load { local: here, unacked: held, completing: ends };
            assert_eq!((window.free(load), window.prefetch(load)), (room, prefetch), "{load:?}");
        }
        assert_eq!((idle.refill_at(256), busy.refill_at(256), busy.refill_at(64)), (7, 383, 444));
    }

    #[test]
    fn a_consumer_is_told_of_more_than_a_quarter() {
        for (present, wanted, news) in [
            (8, 8, false),
            (8, 10, false),
            (8, 11, true),
            (8, 6, false),
            (8, 5, true),
            (1, 2, true),
            (1000, 1250, false),
        ] {
            assert_eq!(differs_enough(present, wanted), news, "{present} to {wanted}");
        }
    }
}
