//! The loop that owns the consumer: it fetches in batches and hands them to the first stop.
//!
//! Fetching, running and completing overlap: this loop asks for the next batch while slots run the present one and the
//! completer settles the last. How many deliveries may be out is the consumer's prefetch: concurrency × multiplier, where late ack
//! counts what runs (it is not settled), and early ack does not (it is).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use apium_transport::address::Address;
use apium_transport::broker::SharedBroker;
use apium_transport::consumer::{ConsumeSpec, Consumer, Disposition, Receipt};
use apium_transport::error::{Error, Result};
use apium_transport::topology::Topology;
use futures_util::FutureExt as _;
use tokio::sync::watch;

use crate::process::Process;
use crate::work::Source;

/// At most so many deliveries are asked for at once.
const BATCH: usize = 256;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

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
    pub(crate) async fn serve(self, mut consumer: Box<dyn Consumer>, mut phase: watch::Receiver<Phase>) {
        let mut wait = FIRST_WAIT;
        loop {
            let source = self.source(&*consumer);
            let Err(error) = self.fetch(&mut consumer, &source, &mut phase, &mut wait).await else {
                tokio::select! {
                    biased;
                    _ = phase.wait_for(|phase| *phase == Phase::Close) => {}
                    () = self.let_go(&mut *consumer, &source) => {}
                }
                break;
            };
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
                Some(Ok(fresh)) => close(std::mem::replace(&mut consumer, fresh)).await,
                Some(Err(error)) => tracing::error!(%error, "could not consume again"),
                None => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        // A dropped sender means that the worker is gone: then there is nothing to wait for.
        let _ = phase.wait_for(|phase| *phase == Phase::Close).await;
        close(consumer).await;
    }

    /// Fetches until the phase changes or an error comes.
    async fn fetch(
        &self,
        consumer: &mut Box<dyn Consumer>,
        source: &Arc<Source>,
        phase: &mut watch::Receiver<Phase>,
        wait: &mut Duration,
    ) -> std::result::Result<(), Error> {
        let mut prefetch = self.spec.prefetch;
        loop {
            // Each work that waits here for its eta makes room for one more, as in Celery. Not where the broker parks them.
            let wanted = if self.spec.prefetch == 0 { 0 } else { self.spec.prefetch + self.process.ready.etas() };
            if wanted != prefetch {
                consumer.set_prefetch(wanted).await?;
                prefetch = wanted;
            }
            let batch = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase != Phase::Fetch) => return Ok(()),
                batch = consumer.next(BATCH) => batch?,
            };
            let late = self.process.take_in(batch, source);
            self.give_back(source, late.into_iter().map(|work| work.receipt).collect()).await;
            *wait = FIRST_WAIT;
        }
    }

    /// Reads the queues no longer, and gives back at once what was on its way from them (P13): runs may last long.
    async fn let_go(&self, consumer: &mut dyn Consumer, source: &Source) {
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
    async fn give_back(&self, source: &Source, late: Vec<Receipt>) {
        if late.is_empty() {
            return;
        }
        let count = late.len() as u64;
        let requeued = source.acker.reject(late.into_iter().map(|receipt| (receipt, Disposition::Requeue)).collect());
        match requeued.await {
            Ok(()) => _ = self.process.counts.given_back.fetch_add(count, Ordering::Relaxed),
            Err(error) => tracing::debug!(%error, "could not give back what came after the stop"),
        }
    }

    fn source(&self, consumer: &dyn Consumer) -> Arc<Source> {
        let acker = consumer.acker();
        // Without a result backend there are no records that could lie elsewhere.
        let shares = |backend: &Address| acker.atomic().is_some_and(|atomic| atomic.shares_store_with(backend));
        let one_store = self.results.as_ref().map_or(acker.atomic().is_some(), shares);
        Arc::new(Source { acker, one_store })
    }
}

async fn close(consumer: Box<dyn Consumer>) {
    if let Err(error) = consumer.close().await {
        tracing::warn!(%error, "could not give back what was fetched; it comes back when its lease runs out");
    }
}
