//! The autoscaler: as many slots as there is work for, within a range (Celery: `--autoscale`).
//!
//! Celery's counts the messages that its worker holds. A worker with the prefetch multiplier `auto` holds hardly more
//! long tasks than it runs, so here busy slots say it: while every slot is busy, their number doubles with each look.
//! When fewer were enough for a while, those that were not needed end, all but one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_transport::clock::Moment;
use serde::Serialize;

use crate::control::consumed_queues::ConsumedQueues;
use crate::pipeline::process::Process;
use crate::service::{Service, Stopping};

/// The most slots that a pool grows to.
pub(crate) const MOST: usize = 65_536;
/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);
/// For how long fewer slots must have been enough before some end, as in Celery.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How many slots there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotRange {
    max: usize,
    min: usize,
}

/// Changes how many slots a worker has.
pub(crate) struct Autoscaler {
    range: Mutex<SlotRange>,
    process: Arc<Process>,
    queues: Arc<ConsumedQueues>,
}

/// What `stats` shows, by Celery's names.
#[derive(Debug, Serialize)]
pub(crate) struct AutoscalerStats {
    max: usize,
    min: usize,
    /// How many slots there are to be.
    current: usize,
    /// How many runs have a slot or wait for one.
    qty: usize,
}

/// What the slots have to do at a moment.
#[derive(Debug, Clone, Copy)]
struct SlotLoad {
    slots: usize,
    running: usize,
    waiting: usize,
}

/// Since when fewer slots are enough, and how many of them were needed.
#[derive(Debug)]
struct Spare {
    since: Moment,
    needed: usize,
}

impl SlotRange {
    /// A range with one slot at least.
    ///
    /// # Errors
    /// Why there is no such range.
    pub(crate) fn new(max: usize, min: usize) -> Result<Self, String> {
        match () {
            () if max == 0 => Err("a pool keeps one slot at least, so the most must be 1 or more".to_owned()),
            () if max > MOST => Err(format!("a pool grows to {MOST} slots at most, not to {max}")),
            () if min > max => Err(format!("the least number of slots ({min}) is above the most ({max})")),
            () => Ok(Self { max, min: min.max(1) }),
        }
    }

    /// With how many slots a worker starts.
    pub(crate) fn start(self) -> usize {
        self.min
    }

    /// The bounds by the names of Celery's reply.
    pub(crate) fn text(self) -> String {
        format!("max={} min={}", self.max, self.min)
    }
}

impl Spare {
    /// How many slots there are to be.
    fn slots(&mut self, range: SlotRange, load: SlotLoad, now: Moment) -> usize {
        let SlotLoad { slots, running, waiting } = load;
        let local = running + waiting;
        // A slot that is free shows that there are enough.
        let needed = if running < slots { local + 1 } else { local.max(2 * slots) };
        let needed = needed.clamp(range.min, range.max);
        if needed >= slots {
            *self = Self { since: now, needed: 0 };
            return needed;
        }
        self.needed = self.needed.max(needed);
        if now.saturating_since(self.since) < KEEPALIVE {
            return slots.min(range.max);
        }
        let enough = self.needed;
        *self = Self { since: now, needed: 0 };
        enough
    }
}

impl Autoscaler {
    pub(crate) fn new(range: SlotRange, process: &Arc<Process>, queues: &Arc<ConsumedQueues>) -> Self {
        Self { range: Mutex::new(range), process: process.clone(), queues: queues.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, SlotRange> {
        self.range.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the bounds, and the number of slots where it is outside of them. Returns the bounds.
    ///
    /// # Errors
    /// Why there is no such range.
    pub(crate) fn set_range(&self, max: Option<usize>, min: Option<usize>) -> Result<SlotRange, String> {
        let mut range = self.lock();
        *range = SlotRange::new(max.unwrap_or(range.max), min.unwrap_or(range.min))?;
        let slots = self.process.runs.wanted_slots();
        self.scale(slots, slots.clamp(range.min, range.max));
        Ok(*range)
    }

    pub(crate) fn stats(&self) -> AutoscalerStats {
        let SlotRange { max, min } = *self.lock();
        let SlotLoad { slots, running, waiting } = self.load();
        AutoscalerStats { max, min, current: slots, qty: running + waiting }
    }

    /// Starts the service of a worker, which does nothing where the worker does not scale itself.
    pub(crate) fn start(autoscaler: Option<Arc<Self>>) -> Service {
        Service::start("autoscaler", move |mut stopping| async move {
            match autoscaler {
                Some(autoscaler) => autoscaler.serve(stopping).await,
                None => stopping.wait().await,
            }
        })
    }

    /// Looks again and again, until the worker stops.
    async fn serve(&self, mut stopping: Stopping) {
        let clock = self.process.clock.clone();
        let mut spare = Spare { since: clock.moment(), needed: 0 };
        loop {
            tokio::select! {
                () = stopping.wait() => return,
                () = clock.sleep(LOOK) => {
                    let range = self.lock();
                    let load = self.load();
                    self.scale(load.slots, spare.slots(*range, load, clock.moment()));
                }
            }
        }
    }

    fn load(&self) -> SlotLoad {
        let Process { run_queue, runs, .. } = &*self.process;
        let waiting = usize::try_from(run_queue.queued().waiting).unwrap_or(usize::MAX);
        SlotLoad { slots: runs.wanted_slots(), running: run_queue.running().0, waiting }
    }

    fn scale(&self, from: usize, to: usize) {
        if from != to {
            resize(&self.process, &self.queues, |_| to);
        }
    }
}

/// Changes how many slots there are to be.
pub(crate) fn resize(process: &Process, queues: &ConsumedQueues, change: impl FnOnce(usize) -> usize) {
    let slots = process.runs.resize(change);
    // The prefetch follows.
    queues.wake();
    tracing::info!(slots, "the pool has {slots} slots now");
}

#[cfg(test)]
mod tests {
    use apium_transport::clock::Clock;

    use super::*;

    /// Looks each second at a load that lasts, and says after how many looks the number of slots is the last one.
    fn settled(slots: usize, (running, waiting): (usize, usize), range: (usize, usize)) -> (Vec<usize>, u64) {
        let range = SlotRange::new(range.0, range.1).unwrap();
        let begun = Clock::system().moment();
        let mut spare = Spare { since: begun, needed: 0 };
        let (mut slots, mut passed, mut last) = (slots, vec![slots], 0);
        for second in 1..100 {
            let load = SlotLoad { slots, running: running.min(slots), waiting };
            let wanted = spare.slots(range, load, begun.saturating_add(Duration::from_secs(second)));
            if wanted != slots {
                (slots, last) = (wanted, second);
                passed.push(slots);
            }
        }
        (passed, last)
    }

    #[test]
    fn busy_slots_double_and_waiting_runs_get_slots_at_once() {
        assert_eq!(settled(1, (100, 0), (10, 1)), (vec![1, 2, 4, 8, 10], 4));
        assert_eq!(settled(1, (5, 0), (10, 1)), (vec![1, 2, 4, 8, 6], 33), "one is spare");
        assert_eq!(settled(2, (2, 40), (100, 1)).0[..2], [2, 42]);
    }

    #[test]
    fn spare_slots_end_after_a_while_and_the_least_stays() {
        assert_eq!(settled(10, (0, 0), (10, 3)), (vec![10, 3], 30));
        assert_eq!(settled(10, (9, 0), (10, 1)), (vec![10], 0), "one is spare");
        assert_eq!(settled(10, (4, 0), (6, 1)).0, [10, 6, 5], "what is above the most ends at once");
        assert_eq!(settled(1, (0, 0), (6, 2)).0, [1, 2]);
    }

    #[test]
    fn bounds_that_make_no_range_are_refused() {
        assert_eq!(SlotRange::new(3, 0).unwrap(), SlotRange { max: 3, min: 1 });
        assert!(SlotRange::new(0, 0).unwrap_err().contains("1 or more"));
        assert!(SlotRange::new(2, 3).unwrap_err().contains("(3) is above the most (2)"));
        assert!(SlotRange::new(MOST + 1, 1).unwrap_err().contains("65536"));
    }
}
