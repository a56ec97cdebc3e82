//! What a driver gives the suite for one case.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::backend::backend::{GroupStore, SharedBackend, StoredResults};
use crate::backend::chord::ChordStore;
use crate::broker::broker::SharedBroker;
use crate::broker::consumer::{ConsumeSpec, Consumer};
use crate::broker::dead_set::DeadSet;
use crate::broker::queue_admin::{ConsumerCounts, QueueAdmin, QueueCounts, QueuePeek};
use crate::clock::Clock;

/// A second pair of handles on the same store, as another process would have.
#[non_exhaustive]
pub struct Handles {
    /// The broker.
    pub broker: SharedBroker,
    /// The result backend.
    pub backend: SharedBackend,
}

impl Handles {
    /// A pair of handles on one store.
    pub fn new(broker: SharedBroker, backend: SharedBackend) -> Self {
        Self { broker, backend }
    }
}

impl fmt::Debug for Handles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handles").field("broker", self.broker.address()).finish_non_exhaustive()
    }
}

type Reopen = Box<dyn Fn() -> BoxFuture<'static, Handles> + Send + Sync>;
type InsertUnreadable = Box<dyn Fn(String, Bytes, String) -> BoxFuture<'static, ()> + Send + Sync>;

/// An empty store, seen through a broker and a result backend of the driver.
///
/// The results that cases store have the `reply_to` `conformance`: a backend that only delivers results must deliver
/// these to itself.
#[non_exhaustive]
pub struct Fixture {
    /// The broker.
    pub broker: SharedBroker,
    /// The result backend, of the same store where the driver has that.
    pub backend: SharedBackend,
    /// The clock that both were opened with.
    pub clock: Clock,
    /// The lease of the cases' consumers.
    pub lease: Duration,
    reopen: Option<Reopen>,
    insert_unreadable: Option<InsertUnreadable>,
    dropped_last: Vec<Box<dyn Any + Send + Sync>>,
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

    /// A fixture of these handles, and the clock that they were opened with: a manual one if the driver can follow it.
    pub fn new(broker: SharedBroker, backend: SharedBackend, clock: Clock) -> Self {
        let lease = if clock.is_manual() { Duration::from_secs(30) } else { Duration::from_secs(1) };
        Self { broker, backend, clock, lease, reopen: None, insert_unreadable: None, dropped_last: Vec::new() }
    }

    /// With a function that opens the same store again.
    #[must_use]
    pub fn reopening(mut self, reopen: impl Fn() -> BoxFuture<'static, Handles> + Send + Sync + 'static) -> Self {
        self.reopen = Some(Box::new(reopen));
        self
    }

    /// With a function that puts bytes that are not a message on a queue: queue, bytes, the reason that the driver
    /// gives.
    #[must_use]
    pub fn inserting_unreadable(
        mut self,
        insert: impl Fn(String, Bytes, String) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        self.insert_unreadable = Some(Box::new(insert));
        self
    }

    /// With something, such as a temporary folder, that is dropped after the handles.
    #[must_use]
    pub fn keeping(mut self, thing: impl Any + Send + Sync) -> Self {
        self.dropped_last.push(Box::new(thing));
        self
    }

    pub(crate) fn can_reopen(&self) -> bool {
        self.reopen.is_some()
    }

    pub(crate) fn can_insert_unreadable(&self) -> bool {
        self.insert_unreadable.is_some()
    }

    /// Opens the same store again.
    pub(crate) async fn reopen(&self) -> Handles {
        (self.reopen.as_ref().expect("the store can be opened again"))().await
    }

    /// Puts bytes that are not a message on a queue.
    pub(crate) async fn insert_unreadable(&self, queue: &str, raw: &'static [u8], reason: &str) {
        let insert = self.insert_unreadable.as_ref().expect("there is a way to insert bytes");
        insert(queue.to_owned(), Bytes::from_static(raw), reason.to_owned()).await;
    }

    pub(crate) fn queues(&self) -> &dyn QueueAdmin {
        self.broker.queues().expect("a broker administers its queues")
    }

    pub(crate) fn messages(&self) -> &dyn QueuePeek {
        self.queues().messages().expect("messages can be read")
    }

    pub(crate) fn counts(&self) -> &dyn QueueCounts {
        self.queues().counts().expect("queues are counted")
    }

    pub(crate) fn consumers(&self) -> &dyn ConsumerCounts {
        self.queues().consumers().expect("consumers are counted")
    }

    pub(crate) fn dead(&self) -> &dyn DeadSet {
        self.broker.dead().expect("there is a dead set")
    }

    pub(crate) fn stored(&self) -> &dyn StoredResults {
        self.backend.stored().expect("results are stored")
    }

    pub(crate) fn groups(&self) -> &dyn GroupStore {
        self.backend.groups().expect("groups are stored")
    }

    pub(crate) fn chords(&self) -> &dyn ChordStore {
        self.backend.chords().expect("chords are counted")
    }

    /// A span that passes only by [`advance`](Self::advance) on a manual clock. The machine's clock is not turned, so
    /// the span is short there, and a case may come too late to see what was before.
    pub(crate) fn tick(&self) -> Duration {
        if self.clock.is_manual() { Duration::from_secs(60) } else { Duration::from_millis(500) }
    }

    /// A span that is over at once on the machine's clock.
    pub(crate) fn moment(&self) -> Duration {
        if self.clock.is_manual() { self.tick() } else { Duration::from_millis(5) }
    }

    /// The instant `span` from now.
    pub(crate) fn after(&self, span: Duration) -> Timestamp {
        self.clock.now().saturating_add(span).unwrap_or(Timestamp::MAX)
    }

    /// Turns a manual clock. The machine's clock goes by itself: the case waits for what the time brings.
    pub(crate) fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }

    /// Kills a consumer: it is not closed, sends no more heartbeats, and its lease runs out.
    pub(crate) fn kill(&self, consumer: Box<dyn Consumer>) {
        drop(consumer);
        self.advance(self.lease * 2);
    }

    /// What a case consumes with: no prefetch limit.
    pub(crate) fn spec(&self, queues: &[&str]) -> ConsumeSpec {
        ConsumeSpec {
            queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
            node: "case@conformance".to_owned(),
            prefetch: 0,
            lease: self.lease,
        }
    }

    /// A consumer of `queues`.
    pub(crate) async fn consumer(&self, queues: &[&str]) -> Box<dyn Consumer> {
        self.broker.consume(self.spec(queues)).await.expect("could not consume")
    }

    /// A consumer of `queue` that may have `prefetch` deliveries in flight.
    pub(crate) async fn limited(&self, queue: &str, prefetch: usize) -> Box<dyn Consumer> {
        let spec = ConsumeSpec { prefetch, ..self.spec(&[queue]) };
        self.broker.consume(spec).await.expect("could not consume")
    }
}
