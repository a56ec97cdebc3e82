//! What a driver gives the suite for one case.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::backend::backend::SharedBackend;
use crate::broker::broker::SharedBroker;
use crate::broker::consumer::{ConsumeSpec, Consumer};
use crate::clock::Clock;

/// One more pair of handles on the same store, as another process would have.
pub struct Handles {
    /// The broker.
    pub broker: SharedBroker,
    /// The result backend.
    pub backend: SharedBackend,
}

impl fmt::Debug for Handles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handles").field("broker", self.broker.address()).finish_non_exhaustive()
    }
}

type Reopen = Box<dyn Fn() -> BoxFuture<'static, Handles> + Send + Sync>;
type Plant = Box<dyn Fn(String, Bytes, String) -> BoxFuture<'static, ()> + Send + Sync>;

/// A fresh store, seen through a broker and a result backend of the driver.
pub struct Fixture {
    /// The broker.
    pub broker: SharedBroker,
    /// The result backend, of the same store where the driver has that.
    pub backend: SharedBackend,
    /// The clock that both were opened with.
    pub clock: Clock,
    /// The lease that cases ask for.
    pub lease: Duration,
    reopen: Option<Reopen>,
    plant: Option<Plant>,
    keep: Vec<Box<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").field("broker", self.broker.address()).finish_non_exhaustive()
    }
}

impl Fixture {
    /// The instant at which the manual clock of a fixture should start.
    pub fn start() -> Timestamp {
        Timestamp::from_second(1_767_323_045).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// A fixture with these handles and the clock that they were opened with (manual wherever the driver can follow one).
    pub fn new(broker: SharedBroker, backend: SharedBackend, clock: Clock) -> Self {
        let lease = if clock.is_manual() { Duration::from_secs(30) } else { Duration::from_secs(1) };
        Self { broker, backend, clock, lease, reopen: None, plant: None, keep: Vec::new() }
    }

    /// Adds a way to open the same store again. Without it the cases about several handles do nothing.
    #[must_use]
    pub fn reopening(mut self, reopen: impl Fn() -> BoxFuture<'static, Handles> + Send + Sync + 'static) -> Self {
        self.reopen = Some(Box::new(reopen));
        self
    }

    /// Adds a way to put bytes that are no message on a queue: queue, bytes, the reason that the driver will give.
    #[must_use]
    pub fn planting(
        mut self,
        plant: impl Fn(String, Bytes, String) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        self.plant = Some(Box::new(plant));
        self
    }

    /// Keeps something (a temporary folder) until the case is over.
    #[must_use]
    pub fn keeping(mut self, thing: impl Any + Send + Sync) -> Self {
        self.keep.push(Box::new(thing));
        self
    }

    /// Opens the same store again, where the driver can.
    pub(crate) async fn reopen(&self) -> Option<Handles> {
        match &self.reopen {
            Some(reopen) => Some(reopen().await),
            None => None,
        }
    }

    /// Puts bytes that are no message on a queue; says whether the driver can.
    pub(crate) async fn plant(&self, queue: &str, raw: &'static [u8], reason: &str) -> bool {
        match &self.plant {
            Some(plant) => {
                plant(queue.to_owned(), Bytes::from_static(raw), reason.to_owned()).await;
                true
            }
            None => false,
        }
    }

    /// A span that is long against what a case does: it only passes by [`pass`](Self::pass).
    pub(crate) fn tick(&self) -> Duration {
        if self.clock.is_manual() { Duration::from_secs(60) } else { Duration::from_millis(500) }
    }

    /// The instant `span` from now.
    pub(crate) fn after(&self, span: Duration) -> Timestamp {
        self.clock.now().saturating_add(span).unwrap_or(Timestamp::MAX)
    }

    /// Lets time pass: turns the manual clock, or waits on the machine's.
    pub(crate) async fn pass(&self, span: Duration) {
        match self.clock.is_manual() {
            true => self.clock.advance(span),
            false => self.clock.sleep(span).await,
        }
    }

    /// Kills a consumer: no close, no more sign of life, its lease runs out.
    pub(crate) async fn kill(&self, consumer: Box<dyn Consumer>) {
        drop(consumer);
        self.pass(self.lease * 2).await;
    }

    /// What a case consumes with: no prefetch limit, no crash limit.
    pub(crate) fn spec(&self, queues: &[&str]) -> ConsumeSpec {
        ConsumeSpec {
            queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
            node: "case@conformance".to_owned(),
            prefetch: 0,
            lease: self.lease,
            max_crashes: 0,
        }
    }

    /// A consumer of `queues`.
    pub(crate) async fn consumer(&self, queues: &[&str]) -> Box<dyn Consumer> {
        self.broker.consume(self.spec(queues)).await.expect("could not consume")
    }

    /// A consumer of `queue` that may hold `prefetch` deliveries.
    pub(crate) async fn limited(&self, queue: &str, prefetch: usize) -> Box<dyn Consumer> {
        let spec = ConsumeSpec { prefetch, ..self.spec(&[queue]) };
        self.broker.consume(spec).await.expect("could not consume")
    }
}
