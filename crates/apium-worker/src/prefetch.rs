//! How many messages the fetching loop asks for: a fixed number (concurrency × multiplier), or with the multiplier
//! `auto` what a [`PrefetchWindow`] says. Only then the loop waits before it fetches, and gives back what was fetched
//! too far ahead.
//!
//! That happens when short tasks are followed by long ones: the window held many short ones, and now the slots are
//! busy. Other workers may have free slots. So runs that have waited for a slot for longer than the window wants go
//! back to their queues. A worker with a fixed number keeps what it has, as Celery's does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apium_app::config::prefetch::PrefetchMultiplier;
use apium_transport::broker::consumer::Consumer;
use apium_transport::error::Result;

use crate::limits::prefetch_window::{LOOK_INTERVAL, PrefetchWindow, differs_enough};
use crate::pipeline::completion::Completion;
use crate::pipeline::process::Process;

/// The most deliveries that one fetch asks for.
pub(crate) const MAX_BATCH: usize = 256;
/// A consumer without free prefetch is paused after this time, so that other workers get what comes.
const PAUSE_AFTER: Duration = Duration::from_millis(50);

/// Decides how many messages are fetched, and which go back.
pub(crate) struct Prefetch {
    pub(crate) process: Arc<Process>,
    /// The prefetch multiplier, where it is fixed; 0 is without limit.
    pub(crate) multiplier: usize,
    /// Only with the prefetch multiplier `auto`.
    pub(crate) window: Option<PrefetchWindow>,
    /// The instant from which the window's times count.
    pub(crate) began: Instant,
}

impl Prefetch {
    /// The prefetch of a worker that starts now.
    pub(crate) fn new(process: &Arc<Process>, multiplier: PrefetchMultiplier) -> Self {
        let fixed = multiplier.fixed().map(|multiplier| multiplier as usize);
        let window = fixed.is_none().then(|| PrefetchWindow::new(process.runs.wanted_slots()));
        let (process, multiplier) = (process.clone(), fixed.unwrap_or_default());
        Self { process, multiplier, window, began: Instant::now() }
    }

    /// How many deliveries to fetch. Waits until it is time to fetch, and pauses the consumer meanwhile. Cancel-safe.
    pub(crate) async fn free_or_pause(&mut self, consumer: &mut dyn Consumer) -> Result<usize> {
        let mut is_paused = false;
        loop {
            if self.is_late() {
                self.give_back(consumer).await?;
                is_paused = true;
            }
            let waits = if is_paused { self.look_interval() } else { Some(PAUSE_AFTER) };
            let free = self.free();
            match waits {
                None => return Ok(free.await),
                Some(waits) => match tokio::time::timeout(waits, free).await {
                    Ok(free) => return Ok(free),
                    Err(_) if !is_paused => consumer.pause().await?,
                    Err(_) => {}
                },
            }
            is_paused = true;
        }
    }

    /// How many deliveries to fetch. Waits until it is time to fetch. Cancel-safe.
    async fn free(&mut self) -> usize {
        let Some(window) = &mut self.window else { return MAX_BATCH };
        loop {
            window.set_slots(self.process.runs.wanted_slots());
            window.measure(self.process.counts.totals(), self.began.elapsed());
            self.process.run_queue.set_window(window.size());
            let refill_at = window.refill_at(MAX_BATCH);
            let load = self.process.run_queue.load(0);
            if load.local <= refill_at {
                return window.free(load).clamp(1, MAX_BATCH);
            }
            self.process.run_queue.wait_below(refill_at).await;
        }
    }

    /// The prefetch to set; `None` while the `present` one is right.
    pub(crate) fn to_set(&self, present: usize) -> Option<usize> {
        // As in Celery, each run that waits here for its eta raises the prefetch by one, so that it does not hold up
        // the others. With a window so does one that waits for its turn by a rate limit.
        let load = self.process.run_queue.load(self.process.completer.pending());
        match &self.window {
            Some(window) => {
                let wanted = load.delayed + load.limited + window.prefetch(load);
                differs_enough(present, wanted).then_some(wanted)
            }
            None if self.multiplier == 0 => None,
            None => {
                let fixed = self.process.runs.wanted_slots().saturating_mul(self.multiplier);
                Some(fixed + load.delayed).filter(|wanted| *wanted != present)
            }
        }
    }

    /// Returns when it is time to call [`free_or_pause`](Self::free_or_pause) again, although nothing was fetched: runs
    /// wait for a slot, and may be late. Cancel-safe.
    pub(crate) async fn look_again(&self) {
        match self.look_interval() {
            Some(interval) => tokio::time::sleep(interval).await,
            None => std::future::pending().await,
        }
    }

    /// How soon to look again for runs that are late; `None` where none can be before something is fetched.
    fn look_interval(&self) -> Option<Duration> {
        let may_be_late = self.window.is_some() && self.process.run_queue.queued().any;
        may_be_late.then_some(LOOK_INTERVAL)
    }

    /// Whether runs have waited for a slot for too long.
    fn is_late(&mut self) -> bool {
        let Some(window) = &mut self.window else { return false };
        window.is_late(self.process.run_queue.queued(), self.began.elapsed())
    }

    /// Gives back what waits for a slot, and waits until a run has ended: before that, nothing that is fetched could
    /// begin. The consumer is paused first, so that it does not fetch the same messages again.
    async fn give_back(&mut self, consumer: &mut dyn Consumer) -> Result<()> {
        consumer.pause().await?;
        let (late, left) = self.process.run_queue.take_queued();
        tracing::debug!(
            messages = late.len(),
            running = left,
            "what was fetched ahead waits too long: it goes back to its queue"
        );
        // Each goes to the front of its queue, so that the one that came first goes last.
        self.process.completer.submit_all(late.iter().rev().map(Completion::requeue));
        if let Some(window) = &mut self.window {
            window.restart();
        }
        self.process.run_queue.wait_below(left.saturating_sub(1)).await;
        Ok(())
    }
}
