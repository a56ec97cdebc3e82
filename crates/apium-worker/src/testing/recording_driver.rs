//! A driver around another one, which records what is published, also as a follow-up of a settlement, and whose waits
//! for results do not wait in vain.

use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_transport::address::Address;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::backend::chord::FailedPart;
use apium_transport::broker::broadcast::Broadcast;
use apium_transport::broker::broker::{Broker, BrokerCapabilities, SharedBroker};
use apium_transport::broker::consumer::{ConsumeSpec, Consumer, Delivery};
use apium_transport::broker::dead_set::DeadSet;
use apium_transport::broker::demand::Demand;
use apium_transport::broker::fleet::FleetRecords;
use apium_transport::broker::follow_ups::{ChordContinuation, FollowUps};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::queue_admin::QueueAdmin;
use apium_transport::broker::settlement::{Acker, Acknowledgement, AtomicSettle, Disposition, Receipt, Settlement};
use apium_transport::broker::topology::Topology;
use apium_transport::driver::{Driver, DriverOptions, SharedDriver};
use apium_transport::error::{Error, ErrorKind, Result};
use apium_transport::health::Health;
use futures_util::future::BoxFuture;

use crate::testing::recorder::Recorder;
use crate::testing::standstill::Standstill;
use crate::testing::watched_backend::WatchedBackend;

/// A driver whose brokers record what is published.
pub(crate) struct RecordingDriver {
    pub(crate) inner: SharedDriver,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) standstill: Standstill,
}

impl Driver for RecordingDriver {
    fn schemes(&self) -> &'static [&'static str] {
        self.inner.schemes()
    }

    fn broker(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBroker>> {
        Box::pin(async move {
            let inner = self.inner.broker(address, options).await?;
            self.standstill.set_broker(&inner);
            let broker: SharedBroker = Arc::new(RecordingBroker { inner, recorder: self.recorder.clone() });
            Ok(broker)
        })
    }

    fn backend(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBackend>> {
        Box::pin(async move {
            let inner = self.inner.backend(address, options).await?;
            let standstill = self.standstill.clone();
            let backend: SharedBackend = Arc::new(WatchedBackend { inner, standstill });
            Ok(backend)
        })
    }
}

struct RecordingBroker {
    inner: SharedBroker,
    recorder: Arc<Recorder>,
}

impl Broker for RecordingBroker {
    fn capabilities(&self) -> BrokerCapabilities {
        self.inner.capabilities()
    }

    fn address(&self) -> &Address {
        self.inner.address()
    }

    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<()>> {
        self.inner.declare(topology)
    }

    fn publish(&self, batch: Vec<Outgoing>) -> BoxFuture<'_, Result<()>> {
        self.recorder.record(&batch);
        self.inner.publish(batch)
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>>> {
        Box::pin(async move {
            let inner = self.inner.consume(spec).await?;
            let consumer: Box<dyn Consumer> = Box::new(RecordingConsumer { inner, recorder: self.recorder.clone() });
            Ok(consumer)
        })
    }

    fn queues(&self) -> Option<&dyn QueueAdmin> {
        self.inner.queues()
    }

    fn dead(&self) -> Option<&dyn DeadSet> {
        self.inner.dead()
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        self.inner.broadcast()
    }

    fn fleet(&self) -> Option<&dyn FleetRecords> {
        self.inner.fleet()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.close()
    }
}

struct RecordingConsumer {
    inner: Box<dyn Consumer>,
    recorder: Arc<Recorder>,
}

impl Consumer for RecordingConsumer {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        self.inner.next(max)
    }

    fn acker(&self) -> Arc<dyn Acker> {
        Arc::new(RecordingAcker { inner: self.inner.acker(), recorder: self.recorder.clone() })
    }

    fn set_demand(&mut self, demand: Arc<dyn Demand>) {
        self.inner.set_demand(demand);
    }

    fn set_prefetch(&mut self, prefetch: usize) -> BoxFuture<'_, Result<()>> {
        self.inner.set_prefetch(prefetch)
    }

    fn pause(&mut self) -> BoxFuture<'_, Result<()>> {
        self.inner.pause()
    }

    fn subscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        self.inner.subscribe(queue)
    }

    fn unsubscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        self.inner.unsubscribe(queue)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        self.inner.close()
    }
}

struct RecordingAcker {
    inner: Arc<dyn Acker>,
    recorder: Arc<Recorder>,
}

impl Acker for RecordingAcker {
    fn ack(&self, receipts: Vec<Receipt>) -> BoxFuture<'_, Result<()>> {
        self.inner.ack(receipts)
    }

    fn reject(&self, receipts: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>> {
        for (_, how) in &receipts {
            if let Disposition::Delay(due) = how {
                self.recorder.record_due(*due);
            }
        }
        self.inner.reject(receipts)
    }

    fn mark_started<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
        self.inner.mark_started(receipts)
    }

    fn unmark_started(&self, receipts: &[Receipt]) {
        self.inner.unmark_started(receipts);
    }

    fn mark_suspect<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<()>> {
        self.inner.mark_suspect(receipt)
    }

    fn atomic(&self) -> Option<&dyn AtomicSettle> {
        self.inner.atomic().map(|_| self as &dyn AtomicSettle)
    }
}

impl AtomicSettle for RecordingAcker {
    fn shares_store_with(&self, backend: &Address) -> bool {
        self.inner.atomic().is_some_and(|inner| inner.shares_store_with(backend))
    }

    fn settle(&self, mut batch: Vec<Settlement>) -> BoxFuture<'_, Result<()>> {
        for part in &mut batch {
            self.recorder.record(&part.publish);
            if let Some((_, Acknowledgement::Reject(Disposition::Delay(due)))) = &part.delivery {
                self.recorder.record_due(*due);
            }
            if let Some(follow_ups) = &mut part.follow_ups {
                self.recorder.record(&follow_ups.publish);
                for end in &mut follow_ups.parts {
                    end.continuation = Arc::new(RecordingContinuation {
                        inner: end.continuation.clone(),
                        recorder: self.recorder.clone(),
                    });
                }
            }
        }
        match self.inner.atomic() {
            Some(inner) => inner.settle(batch),
            // Not reached: `atomic` returns this acker only where the inner one is atomic.
            None => Box::pin(async { Err(Error::new(ErrorKind::Other, "settle in one step")) }),
        }
    }
}

/// A continuation that records what it publishes when a store calls it.
struct RecordingContinuation {
    inner: Arc<dyn ChordContinuation>,
    recorder: Arc<Recorder>,
}

impl RecordingContinuation {
    fn recorded(&self, follow_ups: FollowUps) -> FollowUps {
        self.recorder.record(&follow_ups.publish);
        follow_ups
    }
}

impl ChordContinuation for RecordingContinuation {
    fn complete(&self, results: Vec<Json>) -> FollowUps {
        self.recorded(self.inner.complete(results))
    }

    fn failed(&self, part: FailedPart) -> FollowUps {
        self.recorded(self.inner.failed(part))
    }
}
