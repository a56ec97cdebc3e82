//! The fetching loop. It owns the consumer, fetches deliveries in batches and gives them to the first step.
//!
//! Fetching, running and completing overlap: while this loop waits for the next batch, the slots run the present one
//! and the completer settles the last one. The prefetch limits how many deliveries are not settled: concurrency ×
//! multiplier, or a window with the multiplier `auto` ([`Prefetch`]). Late-ack tasks count until their run has ended,
//! early-ack tasks until it begins.

use std::sync::Arc;
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_transport::address::Address;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::consumer::{ConsumeSpec, Consumer};
use apium_transport::broker::settlement::{Disposition, Receipt};
use apium_transport::error::{Error, ErrorKind, Result};
use futures_util::FutureExt as _;
use tokio::sync::watch;

use crate::control::consumed_queues::{ConsumedQueues, Subscribed};
use crate::health::health::WorkerHealth;
use crate::pipeline::complete::outage::Outage;
use crate::pipeline::process::Process;
use crate::pipeline::task_run::DeliverySource;
use crate::prefetch::{MAX_BATCH, Prefetch};
use crate::shutdown::phase::Phase;

/// After an error, a fetch that waits this long without another error counts as working.
const WORKING_AFTER: Duration = Duration::from_secs(1);

/// The fetching loop.
pub(crate) struct Consume {
    pub(crate) broker: SharedBroker,
    /// What to consume, but for the queues.
    pub(crate) spec: ConsumeSpec,
    pub(crate) queues: Arc<ConsumedQueues>,
    /// The address of the app's result backend.
    pub(crate) results: Option<Address>,
    pub(crate) process: Arc<Process>,
    pub(crate) prefetch: Prefetch,
    pub(crate) health: Arc<WorkerHealth>,
}

/// A consumer, what settles its deliveries, and the prefetch that was set last.
struct OpenConsumer {
    consumer: Box<dyn Consumer>,
    source: Arc<DeliverySource>,
    prefetch: usize,
    subscribed: Subscribed,
}

impl Consume {
    /// Declares the queues and makes a consumer. Tries again while the broker cannot be reached.
    pub(crate) async fn connect(&self) -> Result<(Box<dyn Consumer>, Subscribed)> {
        let mut outage = Outage::default();
        loop {
            let began = tokio::time::Instant::now();
            match self.queues.connect(&self.broker, &self.spec).await {
                Err(error) if error.is_retryable() => {
                    let pause = outage.pause(&error, began);
                    if outage.warns() {
                        tracing::warn!(error = %with_causes(&error), broker = %self.broker.address(), "could not connect; trying again until it answers");
                    }
                    tokio::time::sleep(pause).await;
                }
                connected => return connected,
            }
        }
    }

    /// Fetches until `phase` changes, and closes the consumer at [`Phase::Close`]. When the broker fails, the runs go
    /// on and the loop tries again, with a new consumer if this one says that it is closed.
    pub(crate) async fn serve(mut self, consumer: (Box<dyn Consumer>, Subscribed), mut phase: watch::Receiver<Phase>) {
        let mut outage = Outage::default();
        let mut open = self.open_consumer(consumer);
        self.health.set_fetching();
        loop {
            let began = tokio::time::Instant::now();
            let Err(error) = self.fetch(&mut open, &mut phase, &mut outage).await else {
                self.health.set_stopped_fetching("the worker stops");
                tokio::select! {
                    biased;
                    _ = phase.wait_for(|phase| *phase == Phase::Close) => {}
                    () = self.requeue_unstarted(&mut open) => {}
                }
                break;
            };
            self.health.set_stopped_fetching(format!("could not {error:#}"));
            if error.is_final() {
                self.health.set_unusable(&error);
                // The health goes on saying why. An error means that the worker was dropped.
                let _ = phase.wait_for(|phase| *phase == Phase::Close).await;
                return close(open.consumer).await;
            }
            let pause = outage.pause(&error, began);
            if outage.warns() {
                tracing::warn!(error = %with_causes(&error), broker = %self.broker.address(), "could not fetch; trying again until it works");
            }
            let retry = async {
                tokio::time::sleep(pause).await;
                match error.kind() {
                    ErrorKind::Closed => Some(self.connect().await),
                    // The driver connects again by itself. The deliveries in flight stay this consumer's: closing it
                    // would requeue them, and their runs would be repeated.
                    _ => None,
                }
            };
            let connected = tokio::select! {
                connected = retry => connected,
                _ = phase.wait_for(|phase| *phase != Phase::Fetch) => break,
            };
            match connected {
                Some(Ok(consumer)) => {
                    self.health.set_fetching();
                    close(std::mem::replace(&mut open, self.open_consumer(consumer)).consumer).await;
                }
                Some(Err(error)) => {
                    tracing::error!(error = %with_causes(&error), "could not make a new consumer");
                    if error.is_final() {
                        self.health.set_unusable(&error);
                    }
                }
                None => {}
            }
        }
        self.health.set_stopped_fetching("the worker stops");
        // An error means that the worker was dropped. Then the consumer is closed at once.
        let _ = phase.wait_for(|phase| *phase == Phase::Close).await;
        close(open.consumer).await;
    }

    fn open_consumer(&self, (mut consumer, subscribed): (Box<dyn Consumer>, Subscribed)) -> OpenConsumer {
        consumer.set_demand(self.process.run_queue.clone());
        OpenConsumer { source: self.source(&*consumer), consumer, prefetch: self.spec.prefetch, subscribed }
    }

    /// Fetches until the phase changes, or until an error.
    async fn fetch(
        &mut self,
        open: &mut OpenConsumer,
        phase: &mut watch::Receiver<Phase>,
        outage: &mut Outage,
    ) -> std::result::Result<(), Error> {
        loop {
            self.queues.follow(&self.broker, &mut *open.consumer, &mut open.subscribed).await?;
            let free = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase != Phase::Fetch) => return Ok(()),
                () = self.queues.changed() => continue,
                free = self.prefetch.free_or_pause(&mut *open.consumer) => free?,
            };
            if let Some(prefetch) = self.prefetch.to_set(open.prefetch) {
                open.consumer.set_prefetch(prefetch).await?;
                open.prefetch = prefetch;
            }
            let batch = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase != Phase::Fetch) => return Ok(()),
                () = self.queues.changed() => continue,
                batch = open.consumer.next(free) => batch?,
                () = self.prefetch.look_again(), if self.health.is_fetching() => Vec::new(),
                () = tokio::time::sleep(WORKING_AFTER), if !self.health.is_fetching() => Vec::new(),
            };
            self.health.set_fetching();
            let not_accepted = self.process.take_in(batch, &open.source);
            self.requeue(&open.source, not_accepted.into_iter().map(|task_run| task_run.receipt).collect()).await;
            *outage = Outage::default();
        }
    }

    /// Unsubscribes from the queues, and requeues at once what was already on its way to this consumer. Other workers
    /// need not wait for the runs to end (the guarantee `warm-shutdown`).
    async fn requeue_unstarted(&self, OpenConsumer { consumer, source, subscribed, .. }: &mut OpenConsumer) {
        for queue in &subscribed.names {
            if let Err(error) = consumer.unsubscribe(queue).await {
                tracing::debug!(error = %with_causes(&error), queue, "could not unsubscribe from a queue");
                // The queue is still consumed, so a message that is requeued would be delivered here again.
                return;
            }
        }
        while let Some(Ok(batch)) = consumer.next(MAX_BATCH).now_or_never() {
            self.requeue(source, batch.into_iter().map(|delivery| delivery.receipt).collect()).await;
        }
    }

    /// Requeues deliveries that came after the stop. Where that fails, closing the consumer requeues them.
    async fn requeue(&self, source: &DeliverySource, receipts: Vec<Receipt>) {
        if receipts.is_empty() {
            return;
        }
        let count = receipts.len() as u64;
        source.acker.unmark_started(&receipts);
        let requeued =
            source.acker.reject(receipts.into_iter().map(|receipt| (receipt, Disposition::Requeue)).collect());
        match requeued.await {
            Ok(()) => self.process.counts.add_requeued(count),
            Err(error) => tracing::debug!(error = %with_causes(&error), "could not requeue what came after the stop"),
        }
    }

    fn source(&self, consumer: &dyn Consumer) -> Arc<DeliverySource> {
        let acker = consumer.acker();
        let shares_store = |backend: &Address| acker.atomic().is_some_and(|atomic| atomic.shares_store_with(backend));
        // Without a result backend no results are stored, so nothing lies in another store.
        let is_atomic = self.results.as_ref().map_or(acker.atomic().is_some(), shares_store);
        Arc::new(DeliverySource { acker, is_atomic })
    }
}

async fn close(consumer: Box<dyn Consumer>) {
    if let Err(error) = consumer.close().await {
        tracing::warn!(error = %with_causes(&error), "could not close the consumer; what it has in flight is delivered again when its lease expires");
    }
}
