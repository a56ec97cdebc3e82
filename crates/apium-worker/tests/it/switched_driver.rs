//! A driver around the memory driver. Tests break and mend its connections by switches, and read what the worker asked
//! of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{GroupDocument, ResultDocument};
use apium_transport::address::Address;
use apium_transport::backend::backend::{
    BackendCapabilities, GroupStore, ResultBackend, ResultRecord, ResultStream, SharedBackend, StoreResult,
    StoredResults,
};
use apium_transport::backend::chord::{ChordCount, ChordEnd, ChordHeader, ChordPart, ChordProgress, ChordStore};
use apium_transport::broker::broadcast::{Broadcast, BroadcastExchange, Mailbox, MailboxSpec};
use apium_transport::broker::broker::{Broker, BrokerCapabilities, SharedBroker};
use apium_transport::broker::consumer::{ConsumeSpec, Consumer, Delivery};
use apium_transport::broker::dead_set::DeadSet;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::queue_admin::QueueAdmin;
use apium_transport::broker::settlement::{Acker, AtomicSettle, Disposition, Receipt, Settlement};
use apium_transport::broker::topology::Topology;
use apium_transport::driver::{Driver, DriverOptions};
use apium_transport::error::{Error, ErrorKind, Result};
use apium_transport::health::Health;
use apium_transport::memory::MemoryDriver;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

/// The addresses of broker and backend.
pub(crate) const URL: &str = "switched://";
/// The address of a backend that a task has of its own.
pub(crate) const OWN_URL: &str = "switched://own";

/// The switches, and what the worker asked for so far.
#[derive(Clone, Default)]
pub(crate) struct Switches(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// The broker says that it cannot be reached.
    broker_red: AtomicBool,
    /// The backend says that it is read only.
    backend_red: AtomicBool,
    /// Consuming and fetching fail with a connection error.
    cut: AtomicBool,
    /// Publishing fails with a connection error.
    cut_publish: AtomicBool,
    /// Broadcasting fails with a connection error.
    cut_events: AtomicBool,
    /// A broadcast never ends.
    hang_events: AtomicBool,
    /// How often broadcasting failed.
    refused_events: AtomicUsize,
    /// Storing results fails with a connection error.
    cut_results: AtomicBool,
    /// Everything that is asked of the backend fails with a connection error.
    cut_backend: AtomicBool,
    /// The same of the backend at [`OWN_URL`].
    cut_own_results: AtomicBool,
    /// A read of results never ends.
    hang_reads: AtomicBool,
    /// Settling deliveries fails with a connection error.
    cut_acks: AtomicBool,
    /// Settling deliveries, the dead set included, is refused for good.
    refuse_acks: AtomicBool,
    /// Settling a delivery together with a result is refused for good.
    refuse_results: AtomicBool,
    /// Each fetch fails with this kind of error.
    fail_next: Mutex<Option<ErrorKind>>,
    /// The next fetch panics.
    panic_next: AtomicBool,
    /// Closing a consumer never ends.
    hang_close: AtomicBool,
    /// Queues and results are two stores: nothing is settled in one step.
    two_stores: AtomicBool,
    /// How often the backend was asked while it was cut off.
    refused_by_backend: AtomicUsize,
    /// How often an acker was asked to settle.
    settled: AtomicUsize,
    prefetches: Mutex<Vec<usize>>,
    /// How often a consumer was paused.
    pauses: AtomicUsize,
    /// The next read of the backend turns its health green.
    heals: AtomicBool,
    /// Broker and backend have closed themselves for good.
    over: AtomicBool,
}

impl Switches {
    pub(crate) fn broker_red(&self, red: bool) {
        self.0.broker_red.store(red, Ordering::SeqCst);
    }

    pub(crate) fn backend_red(&self, red: bool) {
        self.0.backend_red.store(red, Ordering::SeqCst);
    }

    pub(crate) fn cut(&self, cut: bool) {
        self.0.cut.store(cut, Ordering::SeqCst);
    }

    pub(crate) fn cut_publish(&self, cut: bool) {
        self.0.cut_publish.store(cut, Ordering::SeqCst);
    }

    pub(crate) fn cut_events(&self, cut: bool) {
        self.0.cut_events.store(cut, Ordering::SeqCst);
    }

    pub(crate) fn hang_events(&self, hang: bool) {
        self.0.hang_events.store(hang, Ordering::SeqCst);
    }

    /// How often broadcasting failed so far.
    pub(crate) fn refused_events(&self) -> usize {
        self.0.refused_events.load(Ordering::SeqCst)
    }

    pub(crate) fn cut_results(&self, cut: bool) {
        self.0.cut_results.store(cut, Ordering::SeqCst);
    }

    pub(crate) fn cut_backend(&self, cut: bool) {
        self.0.cut_backend.store(cut, Ordering::SeqCst);
    }

    pub(crate) fn cut_own_results(&self, cut: bool) {
        self.0.cut_own_results.store(cut, Ordering::SeqCst);
    }

    pub(crate) fn hang_reads(&self, hang: bool) {
        self.0.hang_reads.store(hang, Ordering::SeqCst);
    }

    pub(crate) fn cut_acks(&self, cut: bool) {
        self.0.cut_acks.store(cut, Ordering::SeqCst);
    }

    pub(crate) fn refuse_acks(&self, refuse: bool) {
        self.0.refuse_acks.store(refuse, Ordering::SeqCst);
    }

    pub(crate) fn refuse_results(&self, refuse: bool) {
        self.0.refuse_results.store(refuse, Ordering::SeqCst);
    }

    pub(crate) fn fail_next(&self, kind: Option<ErrorKind>) {
        *self.0.fail_next.lock().unwrap() = kind;
    }

    pub(crate) fn panic_next(&self) {
        self.0.panic_next.store(true, Ordering::SeqCst);
    }

    pub(crate) fn hang_close(&self) {
        self.0.hang_close.store(true, Ordering::SeqCst);
    }

    pub(crate) fn two_stores(&self) {
        self.0.two_stores.store(true, Ordering::SeqCst);
    }

    /// How often the backend was asked so far while it was cut off.
    pub(crate) fn refused_by_backend(&self) -> usize {
        self.0.refused_by_backend.load(Ordering::SeqCst)
    }

    /// How often an acker was asked to settle so far.
    pub(crate) fn settled(&self) -> usize {
        self.0.settled.load(Ordering::SeqCst)
    }

    /// Every prefetch that consumers were given so far, the first ones included.
    pub(crate) fn prefetches(&self) -> Vec<usize> {
        self.0.prefetches.lock().unwrap().clone()
    }

    /// How often consumers were paused so far.
    pub(crate) fn pauses(&self) -> usize {
        self.0.pauses.load(Ordering::SeqCst)
    }

    /// The next read of the backend turns its health green.
    pub(crate) fn heal(&self) {
        self.0.heals.store(true, Ordering::SeqCst);
    }

    /// From now on broker and backend have closed themselves for good.
    pub(crate) fn close_for_good(&self) {
        self.0.over.store(true, Ordering::SeqCst);
    }

    fn check_open(&self) -> Result<()> {
        match self.0.over.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Unusable, "use the store: it closed itself for good")),
            false => Ok(()),
        }
    }

    fn check(&self) -> Result<()> {
        self.check_open()?;
        check(&self.0.cut)
    }

    fn check_acks(&self) -> Result<()> {
        self.0.settled.fetch_add(1, Ordering::SeqCst);
        check(&self.0.cut_acks)?;
        match self.0.refuse_acks.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Refused, "write to the store: no space is left")),
            false => Ok(()),
        }
    }
}

fn check(cut: &AtomicBool) -> Result<()> {
    match cut.load(Ordering::SeqCst) {
        true => Err(Error::new(ErrorKind::Connection, "reach the broker: the cable is out")),
        false => Ok(()),
    }
}

fn health(red: &AtomicBool, reason: &str) -> Health {
    match red.load(Ordering::SeqCst) {
        true => Health::Red { since: Timestamp::UNIX_EPOCH, reason: reason.into() },
        false => Health::Green,
    }
}

/// The driver.
pub(crate) struct SwitchedDriver {
    inner: MemoryDriver,
    switches: Switches,
}

impl SwitchedDriver {
    pub(crate) fn new(switches: &Switches) -> Arc<Self> {
        Arc::new(Self { inner: MemoryDriver::new(), switches: switches.clone() })
    }
}

impl Driver for SwitchedDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &["switched"]
    }

    fn broker(&self, _: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBroker>> {
        Box::pin(async move {
            let inner = self.inner.broker(Address::parse("memory://")?, options).await?;
            Ok(Arc::new(SwitchedBroker { inner, switches: self.switches.clone() }) as SharedBroker)
        })
    }

    fn backend(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBackend>> {
        Box::pin(async move {
            let is_own = address.to_string() == OWN_URL;
            let inner = Address::parse(if is_own { "memory://own" } else { "memory://" })?;
            let inner = self.inner.backend(inner, options).await?;
            Ok(Arc::new(SwitchedBackend { inner, switches: self.switches.clone(), is_own }) as SharedBackend)
        })
    }
}

struct SwitchedBroker {
    inner: SharedBroker,
    switches: Switches,
}

impl Broadcast for SwitchedBroker {
    fn send<'a>(&'a self, exchange: &'a BroadcastExchange, batch: Vec<Outgoing>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if self.switches.0.hang_events.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if let Err(error) = check(&self.switches.0.cut_events) {
                self.switches.0.refused_events.fetch_add(1, Ordering::SeqCst);
                return Err(error);
            }
            self.inner.broadcast().expect("memory has broadcasts").send(exchange, batch).await
        })
    }

    fn listen(&self, spec: MailboxSpec) -> BoxFuture<'_, Result<Box<dyn Mailbox>>> {
        self.inner.broadcast().expect("memory has broadcasts").listen(spec)
    }
}

impl Broker for SwitchedBroker {
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
        match check(&self.switches.0.cut_publish) {
            Ok(()) => self.inner.publish(batch),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>>> {
        Box::pin(async move {
            self.switches.check()?;
            self.switches.0.prefetches.lock().unwrap().push(spec.prefetch);
            let inner = self.inner.consume(spec).await?;
            Ok(Box::new(SwitchedConsumer { inner, switches: self.switches.clone() }) as Box<dyn Consumer>)
        })
    }

    fn queues(&self) -> Option<&dyn QueueAdmin> {
        self.inner.queues()
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        Some(self)
    }

    fn dead(&self) -> Option<&dyn DeadSet> {
        self.inner.dead()
    }

    fn health(&self) -> Health {
        health(&self.switches.0.broker_red, "no answer")
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.close()
    }
}

struct SwitchedConsumer {
    inner: Box<dyn Consumer>,
    switches: Switches,
}

impl Consumer for SwitchedConsumer {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        Box::pin(async move {
            self.switches.check()?;
            if let Some(kind) = *self.switches.0.fail_next.lock().unwrap() {
                return Err(Error::new(kind, "fetch: the switch is set"));
            }
            let batch = self.inner.next(max).await?;
            assert!(!self.switches.0.panic_next.load(Ordering::SeqCst), "the driver panics on purpose");
            assert!(batch.len() <= max, "no more than asked for");
            Ok(batch)
        })
    }

    fn acker(&self) -> Arc<dyn Acker> {
        Arc::new(SwitchedAcker { inner: self.inner.acker(), switches: self.switches.clone() })
    }

    fn set_prefetch(&mut self, prefetch: usize) -> BoxFuture<'_, Result<()>> {
        self.switches.0.prefetches.lock().unwrap().push(prefetch);
        self.inner.set_prefetch(prefetch)
    }

    fn pause(&mut self) -> BoxFuture<'_, Result<()>> {
        self.switches.0.pauses.fetch_add(1, Ordering::SeqCst);
        self.inner.pause()
    }

    fn subscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        self.inner.subscribe(queue)
    }

    fn unsubscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        self.inner.unsubscribe(queue)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        match self.switches.0.hang_close.load(Ordering::SeqCst) {
            true => Box::pin(std::future::pending()),
            false => self.inner.close(),
        }
    }
}

struct SwitchedAcker {
    inner: Arc<dyn Acker>,
    switches: Switches,
}

impl Acker for SwitchedAcker {
    fn ack(&self, receipts: Vec<Receipt>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.switches.check_acks()?;
            self.inner.ack(receipts).await
        })
    }

    fn reject(&self, receipts: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.switches.check_acks()?;
            self.inner.reject(receipts).await
        })
    }

    fn mark_started<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
        self.inner.mark_started(receipts)
    }

    fn atomic(&self) -> Option<&dyn AtomicSettle> {
        let is_one_store = !self.switches.0.two_stores.load(Ordering::SeqCst);
        (is_one_store && self.inner.atomic().is_some()).then_some(self)
    }
}

impl AtomicSettle for SwitchedAcker {
    fn shares_store_with(&self, backend: &Address) -> bool {
        self.inner.atomic().unwrap().shares_store_with(backend)
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.switches.check_acks()?;
            let has_result = batch.iter().any(|settlement| settlement.record.is_some());
            if has_result && self.switches.0.refuse_results.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Refused, "write to the store: a key is of another type"));
            }
            self.inner.atomic().unwrap().settle(batch).await
        })
    }
}

struct SwitchedBackend {
    inner: SharedBackend,
    switches: Switches,
    is_own: bool,
}

impl SwitchedBackend {
    fn check(&self) -> Result<()> {
        self.check_reads()?;
        check(if self.is_own { &self.switches.0.cut_own_results } else { &self.switches.0.cut_results })
    }

    fn check_reads(&self) -> Result<()> {
        let cut = check(&self.switches.0.cut_backend);
        if cut.is_err() {
            self.switches.0.refused_by_backend.fetch_add(1, Ordering::SeqCst);
        }
        cut
    }

    /// What `ask` returns, unless the backend is cut off.
    fn unless_cut<'a, T: Send>(&'a self, ask: impl FnOnce() -> BoxFuture<'a, Result<T>>) -> BoxFuture<'a, Result<T>> {
        match self.check_reads() {
            Ok(()) => ask(),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }
}

impl ResultBackend for SwitchedBackend {
    fn capabilities(&self) -> BackendCapabilities {
        self.inner.capabilities()
    }

    fn address(&self) -> &Address {
        self.inner.address()
    }

    fn store(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<Vec<StoreResult>>> {
        match self.check() {
            Ok(()) => self.inner.store(records),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn watch(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<ResultStream>> {
        self.unless_cut(|| self.inner.watch(ids))
    }

    fn stored(&self) -> Option<&dyn StoredResults> {
        self.inner.stored().is_some().then_some(self)
    }

    fn groups(&self) -> Option<&dyn GroupStore> {
        self.inner.groups().is_some().then_some(self)
    }

    fn chords(&self) -> Option<&dyn ChordStore> {
        self.inner.chords().is_some().then_some(self)
    }

    fn health(&self) -> Health {
        health(&self.switches.0.backend_red, "read only")
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.close()
    }
}

impl StoredResults for SwitchedBackend {
    fn fetch<'a>(&'a self, ids: &'a [TaskId]) -> BoxFuture<'a, Result<Vec<Option<ResultDocument>>>> {
        if self.switches.0.heals.swap(false, Ordering::SeqCst) {
            self.switches.backend_red(false);
        }
        if self.switches.0.hang_reads.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        if let Err(error) = self.switches.check_open() {
            return Box::pin(async { Err(error) });
        }
        self.unless_cut(|| self.inner.stored().unwrap().fetch(ids))
    }

    fn forget(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<()>> {
        self.unless_cut(|| self.inner.stored().unwrap().forget(ids))
    }

    fn purge_expired(&self) -> BoxFuture<'_, Result<u64>> {
        self.inner.stored().unwrap().purge_expired()
    }
}

impl GroupStore for SwitchedBackend {
    fn save_group<'a>(&'a self, id: &'a str, group: GroupDocument, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        self.unless_cut(|| self.inner.groups().unwrap().save_group(id, group, ttl))
    }

    fn load_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<GroupDocument>>> {
        self.unless_cut(|| self.inner.groups().unwrap().load_group(id))
    }

    fn delete_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        self.unless_cut(|| self.inner.groups().unwrap().delete_group(id))
    }
}

impl ChordStore for SwitchedBackend {
    fn open(&self, header: ChordHeader) -> BoxFuture<'_, Result<()>> {
        self.unless_cut(|| self.inner.chords().unwrap().open(header))
    }

    fn part_done(&self, part: ChordPart) -> BoxFuture<'_, Result<ChordProgress>> {
        self.unless_cut(|| self.inner.chords().unwrap().part_done(part))
    }

    fn part_unless_last(&self, part: ChordPart) -> BoxFuture<'_, Result<Option<ChordProgress>>> {
        self.unless_cut(|| self.inner.chords().unwrap().part_unless_last(part))
    }

    fn grow<'a>(&'a self, group: &'a str, added: &'a TaskId, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        self.unless_cut(|| self.inner.chords().unwrap().grow(group, added, ttl))
    }

    fn count<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Option<ChordCount>>> {
        self.unless_cut(|| self.inner.chords().unwrap().count(group))
    }

    fn end<'a>(&'a self, group: &'a str, claimant: &'a str, end: ChordEnd) -> BoxFuture<'a, Result<bool>> {
        self.unless_cut(|| self.inner.chords().unwrap().end(group, claimant, end))
    }
}
