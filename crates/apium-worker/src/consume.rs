//! The loop that owns the consumer: it fetches in batches and hands them to the first stop.
//!
//! Fetching, running and completing overlap: this loop asks for the next batch while slots run the present one and the
//! completer settles the last. How many deliveries may be out is the consumer's prefetch: concurrency × multiplier, where late ack
//! counts what runs (it is not settled), and early ack does not (it is). With `auto` in place of the multiplier a
//! [`Window`] says how many, and the loop asks for no more than it has room for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apium_transport::address::Address;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::consumer::{ConsumeSpec, Consumer};
use apium_transport::broker::settlement::{Disposition, Receipt};
use apium_transport::broker::topology::Topology;
use apium_transport::error::{Error, Result};
use futures_util::FutureExt as _;
use tokio::sync::watch;

use crate::health::health::WorkerHealth;
use crate::limits::prefetch_window::{PrefetchWindow, differs_enough};
use crate::pipeline::process::Process;
use crate::pipeline::task_run::DeliverySource;

/// At most so many deliveries are asked for at once.
const BATCH: usize = 256;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// After an error, a fetch that waits this long without another one is taken for a sound one.
const SOUND: Duration = Duration::from_secs(1);
/// Who has no room for so long lets others have what comes.
const FULL: Duration = Duration::from_millis(50);

/// What the loop does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Fetch.
    Fetch,
    /// Fetch no more, keep what is out: its runs are being finished.
    Hold,
    /// Give back what is not settled, and end.
    Close,
}

/// The loop and what it consumes.
pub(crate) struct Consume {
    pub(crate) broker: SharedBroker,
    pub(crate) spec: ConsumeSpec,
    pub(crate) topology: Topology,
    /// Where the app's results are.
    pub(crate) results: Option<Address>,
    pub(crate) process: Arc<Process>,
    /// How far ahead it fetches, where the time says so.
    pub(crate) window: Option<PrefetchWindow>,
    /// What the window's times count from.
    pub(crate) began: Instant,
    pub(crate) health: Arc<WorkerHealth>,
}

/// A consumer with what settles its deliveries, and the prefetch that it was told last.
struct OpenConsumer {
    consumer: Box<dyn Consumer>,
    source: Arc<DeliverySource>,
    prefetch: usize,
}

impl Consume {
    /// Declares the queues and starts to consume; tries again while the broker cannot be reached.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Consumer>> {
        let mut wait = FIRST_WAIT;
        loop {
            match self.connect_once().await {
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, broker = %self.broker.address(), "could not connect; trying again in {wait:?}");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                connected => return connected,
            }
        }
    }

    async fn connect_once(&self) -> Result<Box<dyn Consumer>> {
        self.broker.declare(&self.topology).await?;
        self.broker.consume(self.spec.clone()).await
    }

    /// Consumes until the phase says otherwise. Whatever happens to the broker, runs go on and the loop comes back to it.
    pub(crate) async fn serve(mut self, consumer: Box<dyn Consumer>, mut phase: watch::Receiver<Phase>) {
        let mut wait = FIRST_WAIT;
        let mut open = self.open_consumer(consumer);
        self.health.set_fetching();
        loop {
            let Err(error) = self.fetch(&mut open, &mut phase, &mut wait).await else {
                self.health.set_stopped_fetching("the worker stops");
                tokio::select! {
                    biased;
                    _ = phase.wait_for(|phase| *phase == Phase::Close) => {}
                    () = self.requeue_unstarted(&mut *open.consumer, &open.source) => {}
                }
                break;
            };
            self.health.set_stopped_fetching(format!("could not {error}"));
            tracing::warn!(%error, broker = %self.broker.address(), "could not fetch; trying again in {wait:?}");
            let resting = async {
                tokio::time::sleep(wait).await;
                match error.is_retryable() {
                    // The driver connects again by itself and keeps what is out.
                    true => None,
                    false => Some(self.connect().await),
                }
            };
            let fresh = tokio::select! {
                fresh = resting => fresh,
                _ = phase.wait_for(|phase| *phase != Phase::Fetch) => break,
            };
            match fresh {
                Some(Ok(fresh)) => {
                    self.health.set_fetching();
                    close(std::mem::replace(&mut open, self.open_consumer(fresh)).consumer).await;
                }
                Some(Err(error)) => tracing::error!(%error, "could not consume again"),
                None => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        self.health.set_stopped_fetching("the worker stops");
        // A dropped sender means that the worker is gone: then there is nothing to wait for.
        let _ = phase.wait_for(|phase| *phase == Phase::Close).await;
        close(open.consumer).await;
    }

    fn open_consumer(&self, consumer: Box<dyn Consumer>) -> OpenConsumer {
        OpenConsumer { source: self.source(&*consumer), consumer, prefetch: self.spec.prefetch }
    }

    /// Fetches until the phase changes or an error comes.
    async fn fetch(
        &mut self,
        open: &mut OpenConsumer,
        phase: &mut watch::Receiver<Phase>,
        wait: &mut Duration,
    ) -> std::result::Result<(), Error> {
        loop {
            let room = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase != Phase::Fetch) => return Ok(()),
                room = self.free_prefetch_at(&mut *open.consumer) => room?,
            };
            if let Some(prefetch) = self.prefetch(open.prefetch) {
                open.consumer.set_prefetch(prefetch).await?;
                open.prefetch = prefetch;
            }
            let batch = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase != Phase::Fetch) => return Ok(()),
                batch = open.consumer.next(room) => batch?,
                () = tokio::time::sleep(SOUND), if !self.health.is_fetching() => Vec::new(),
            };
            self.health.set_fetching();
            let late = self.process.take_in(batch, &open.source);
            self.give_back(&open.source, late.into_iter().map(|task_run| task_run.receipt).collect()).await;
            *wait = FIRST_WAIT;
        }
    }

    /// The room, with the consumer at rest while there is none.
    async fn free_prefetch_at(&mut self, consumer: &mut dyn Consumer) -> Result<usize> {
        if let Ok(room) = tokio::time::timeout(FULL, self.free_prefetch()).await {
            return Ok(room);
        }
        consumer.pause().await?;
        Ok(self.free_prefetch().await)
    }

    /// How many deliveries to ask for; waits until there is room for some. Cancel-safe.
    async fn free_prefetch(&mut self) -> usize {
        let Some(window) = &mut self.window else { return BATCH };
        loop {
            window.measure(self.process.counts.totals(), self.began.elapsed());
            let mark = window.refill_at(BATCH);
            let load = self.process.run_queue.load(0);
            if load.local <= mark {
                return window.free(load).clamp(1, BATCH);
            }
            self.process.run_queue.wait_below(mark).await;
        }
    }

    /// The prefetch to tell the consumer, when it is another than the `present` one.
    fn prefetch(&self, present: usize) -> Option<usize> {
        // Each work that waits here for its eta makes room for one more, as in Celery. Not where the broker parks them.
        let etas = self.process.run_queue.delayed_len();
        match &self.window {
            Some(window) => {
                let wanted = etas + window.prefetch(self.process.run_queue.load(self.process.completer.pending()));
                differs_enough(present, wanted).then_some(wanted)
            }
            None if self.spec.prefetch == 0 => None,
            None => Some(self.spec.prefetch + etas).filter(|wanted| *wanted != present),
        }
    }

    /// Reads the queues no longer, and gives back at once what was on its way from them (P13): runs may last long.
    async fn requeue_unstarted(&self, consumer: &mut dyn Consumer, source: &DeliverySource) {
        for queue in &self.spec.queues {
            if let Err(error) = consumer.unsubscribe(queue).await {
                tracing::debug!(%error, queue, "could not leave a queue");
                // What it gave back would come again.
                return;
            }
        }
        while let Some(Ok(batch)) = consumer.next(BATCH).now_or_never() {
            self.give_back(source, batch.into_iter().map(|delivery| delivery.receipt).collect()).await;
        }
    }

    /// Gives back what came after the stop. What cannot be given back now is when the consumer is closed.
    async fn give_back(&self, source: &DeliverySource, late: Vec<Receipt>) {
        if late.is_empty() {
            return;
        }
        let count = late.len() as u64;
        let requeued = source.acker.reject(late.into_iter().map(|receipt| (receipt, Disposition::Requeue)).collect());
        match requeued.await {
            Ok(()) => self.process.counts.add_requeued(count),
            Err(error) => tracing::debug!(%error, "could not give back what came after the stop"),
        }
    }

    fn source(&self, consumer: &dyn Consumer) -> Arc<DeliverySource> {
        let acker = consumer.acker();
        // Without a result backend there are no records that could lie elsewhere.
        let shares = |backend: &Address| acker.atomic().is_some_and(|atomic| atomic.shares_store_with(backend));
        let one_store = self.results.as_ref().map_or(acker.atomic().is_some(), shares);
        Arc::new(DeliverySource { acker, is_atomic: one_store })
    }
}

async fn close(consumer: Box<dyn Consumer>) {
    if let Err(error) = consumer.close().await {
        tracing::warn!(%error, "could not give back what was fetched; it comes back when its lease runs out");
    }
}
