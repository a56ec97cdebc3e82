//! The sixth step: results are stored, messages published and deliveries settled. The two laws belong to this file;
//! ARCHITECTURE.md repeats them.
//!
//! (a) The order is *store the result → publish what follows → settle the delivery*: after a crash a step or the whole
//! run is repeated, and none is lost. Where queues and results are one store, the three are one atomic step.
//!
//! (b) Early ack settles the delivery before the run, by a completion of its own. The run then has no delivery, so what
//! late ack gets by a second delivery is stored as a message: its dead letter before its result, its part of a chord as
//! a recount.
//!
//! Completions go in batches, in a lane for each store. A batch is whatever has come while the one before it was under
//! way; nothing waits for a batch to fill up. When a store cannot be reached, the batch is tried again until it can,
//! and the lanes of other stores go on.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::settlement::Receipt;
use apium_transport::error::Result;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::backends::Backends;
use crate::observe::observer::Observer;
use crate::pipeline::complete::attempt::Stores;
use crate::pipeline::complete::lane::{Lane, Lanes};
use crate::pipeline::complete::outage::Outage;
use crate::pipeline::complete::refused::{Refused, RefusedCompletions};
use crate::pipeline::completion::{BatchProgress, Completion, CompletionStatus, Stage};
use crate::pipeline::errback_runner::ErrbackRunner;
use crate::pipeline::log;
use crate::pipeline::task_run::TaskLabel;
use crate::service::{Service, Stopping};
use crate::shutdown::faults::Faults;

/// What a store refused is tried again after this time, and then after twice as long each time, up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// How often a stop looks whether completions are done.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// Takes completions, and does what they say in the background.
#[derive(Clone)]
pub(crate) struct Completer(Arc<Shared>);

struct Shared {
    stores: Stores,
    lanes: Lanes,
    refused: RefusedCompletions,
    faults: Faults,
    /// How many completions are done, or given up.
    done: AtomicU64,
    stop_retrying: watch::Sender<bool>,
    /// Whether the service has ended: nothing more is done.
    is_closed: AtomicBool,
    /// The runs whose completions were given up because the worker stopped.
    unsettled: Mutex<Vec<TaskLabel>>,
    errbacks: Option<ErrbackRunner>,
    observer: Option<Arc<Observer>>,
}

/// Completions that were taken out of their lane. When they are dropped before they are done, their runs are unsettled.
struct Batch<'a> {
    shared: &'a Shared,
    lane: &'a Lane,
    left: VecDeque<Completion>,
}

impl Completer {
    pub(crate) fn new(
        broker: SharedBroker,
        backends: Arc<Backends>,
        errbacks: Option<ErrbackRunner>,
        faults: Faults,
        observer: Option<Arc<Observer>>,
    ) -> Self {
        Self(Arc::new(Shared {
            lanes: Lanes::new(&backends),
            stores: Stores { broker, backends },
            refused: RefusedCompletions::new(faults.clone()),
            faults,
            done: AtomicU64::new(0),
            stop_retrying: watch::Sender::new(false),
            is_closed: AtomicBool::new(false),
            unsettled: Mutex::default(),
            errbacks,
            observer,
        }))
    }

    /// Starts the service. When it is asked to stop, it does what is pending first.
    pub(crate) fn start(&self) -> Service {
        let completer = self.clone();
        Service::start("completer", |stopping| async move { completer.serve(stopping).await })
    }

    /// Adds a completion. Waits while too many are pending for its store.
    pub(crate) async fn submit(&self, completion: Completion) {
        if !self.0.is_closed.load(Ordering::Acquire) {
            self.lane_of(&completion).wait_for_room().await;
        }
        self.submit_all([completion]);
    }

    /// Adds completions without waiting. For deliveries that do not run: the prefetch limits their number.
    pub(crate) fn submit_all(&self, completions: impl IntoIterator<Item = Completion>) {
        let mut completions = completions.into_iter().peekable();
        while let Some(first) = completions.next() {
            let lane = self.lane_of(&first);
            let is_here = |next: &Completion| std::ptr::eq(self.lane_of(next), lane);
            lane.push(std::iter::once(first).chain(std::iter::from_fn(|| completions.next_if(is_here))));
        }
        if self.0.is_closed.load(Ordering::Acquire) {
            self.close();
        }
    }

    /// Adds a completion and waits until it is done.
    pub(crate) async fn submit_and_wait(&self, mut completion: Completion) -> CompletionStatus {
        let (waiter, status) = oneshot::channel();
        completion.waiter = Some(waiter);
        self.submit(completion).await;
        status.await.unwrap_or(CompletionStatus::Failed)
    }

    /// How many completions are not done.
    pub(crate) fn pending(&self) -> usize {
        self.0.lanes.iter().map(Lane::pending).sum::<usize>() + self.0.refused.len()
    }

    /// Does something at a store, and again while it cannot be reached, until the worker stops.
    pub(crate) async fn ask<T, F: Future<Output = Result<T>>>(&self, mut attempt: impl FnMut() -> F) -> Result<T> {
        let mut wait = FIRST_RETRY;
        loop {
            match attempt().await {
                Err(error) if error.is_retryable() && !*self.0.stop_retrying.borrow() => self.0.pause(wait).await,
                done => return done,
            }
            wait = (wait * 2).min(LONGEST_RETRY);
        }
    }

    /// Waits until nothing was done for this long. Cancel-safe.
    pub(crate) async fn stalled_for(&self, span: Duration) {
        let done = || self.0.done.load(Ordering::Acquire);
        let (mut seen, mut since) = (done(), Instant::now());
        while since.elapsed() < span {
            tokio::time::sleep(PROGRESS_INTERVAL.min(span)).await;
            if done() != seen {
                (seen, since) = (done(), Instant::now());
            }
        }
    }

    /// Stops trying again, since the process is about to end. Messages that are not settled are delivered again.
    pub(crate) fn stop_retrying(&self) {
        self.0.stop_retrying.send_replace(true);
    }

    /// Gives up everything, since nothing does it any more: the service has ended.
    pub(crate) fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        for lane in self.0.lanes.iter() {
            drop(Batch { shared: &self.0, lane, left: lane.drain() });
        }
        self.0.refused.drain().iter().for_each(|completion| self.0.add_unsettled(&completion.label));
    }

    /// The runs that were not settled, as far as they were given up.
    pub(crate) fn unsettled(&self) -> Vec<TaskLabel> {
        self.0.unsettled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A run ended in a way that leaves nothing to settle it.
    pub(crate) fn add_unsettled(&self, label: &TaskLabel) {
        self.0.add_unsettled(label);
    }

    fn lane_of(&self, completion: &Completion) -> &Lane {
        self.0.lanes.of(completion, &self.0.stores.backends)
    }

    pub(crate) async fn serve(&self, stopping: Stopping) {
        let mut lanes: FuturesUnordered<_> =
            self.0.lanes.iter().map(|lane| self.0.serve_lane(lane, stopping.clone())).collect();
        let lanes = async { while lanes.next().await.is_some() {} };
        tokio::pin!(lanes);
        tokio::select! {
            () = &mut lanes => {}
            () = self.0.try_refused() => {}
        }
        // What was refused has as long as everything else.
        let stopped = async {
            let mut stopped = self.0.stop_retrying.subscribe();
            // `self` holds the sender.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        tokio::select! {
            biased;
            () = stopped => {}
            () = self.0.until_none_refused() => {}
        }
    }
}

impl Shared {
    /// Does what comes into a lane, in order.
    async fn serve_lane(&self, lane: &Lane, mut stopping: Stopping) {
        loop {
            let mut batch = Batch { shared: self, lane, left: lane.next_batch() };
            if batch.left.is_empty() {
                if stopping.is_set() {
                    return;
                }
                tokio::select! {
                    () = lane.wake.notified() => {}
                    () = stopping.wait() => {}
                }
                continue;
            }
            // Neighbours that have the same source are done as one group.
            while let Some(group) = batch.next_group() {
                self.complete_group(group, BatchProgress::default()).await;
            }
        }
    }

    /// Does a group of completions that have the same source and lane. `progress` says what is done of it already.
    async fn complete_group(&self, mut group: Batch<'_>, mut progress: BatchProgress) {
        let own_backend = group.lane.own_backend.as_ref();
        let mut outage = Outage::default();
        loop {
            let began = Instant::now();
            let completions = group.left.make_contiguous();
            let step = tracing::trace_span!(target: "apium::walk", "complete", completions = completions.len());
            let attempt = self.stores.attempt(own_backend, completions, &mut progress).instrument(step);
            let error = match attempt.await {
                Ok(()) => {
                    self.observer.iter().for_each(|observer| observer.settled(group.left.len(), began.elapsed()));
                    return self.notify_all(group.take(), &progress.lost);
                }
                Err(error) => error,
            };
            let count = group.left.len();
            match error.is_retryable() {
                true if *self.stop_retrying.borrow() => {
                    log::not_settled(&error, count);
                    return;
                }
                true => {
                    let pause = outage.pause(&error, began);
                    if outage.warns() {
                        tracing::warn!(error = %with_causes(&error), completions = count, "could not settle; trying again until it works");
                    }
                    outage.set_fault(&self.faults, group.lane.name(), format!("could not {error:#}"));
                    self.pause(pause).await;
                }
                // One completion may be the cause of the error, so each is done alone. If the broker does not publish
                // atomically, follow-ups may be published a second time by this, under the same ids, as after a crash.
                false if count > 1 => {
                    while let Some(one) = group.split_first() {
                        Box::pin(self.complete_group(one, progress.clone())).await;
                    }
                    return;
                }
                false => {
                    let refused = group.left.front_mut().filter(|_| progress.stage < Stage::Stored);
                    if let Some(refused) = refused
                        && let Some(instead) = refused.instead_of(&error)
                    {
                        *refused = instead;
                        continue;
                    }
                    for mut completion in group.take() {
                        let waiter = completion.waiter.take();
                        let refused = Refused::new(completion, progress.clone(), own_backend.cloned());
                        self.refused.add(refused, &error, &self.stores).await;
                        notify_waiter(waiter, CompletionStatus::Failed);
                    }
                    return;
                }
            }
        }
    }

    /// Waits before the next attempt, or until nothing is to be tried again.
    async fn pause(&self, wait: Duration) {
        let mut stopped = self.stop_retrying.subscribe();
        // The pause ends in both cases.
        let _ = tokio::time::timeout(wait, stopped.wait_for(|stopped| *stopped)).await;
    }

    /// Tries again what stores refused. Runs until it is dropped.
    async fn try_refused(&self) {
        loop {
            self.refused.wake.notified().await;
            self.until_none_refused().await;
        }
    }

    /// Tries again what stores refused until nothing of it is left.
    async fn until_none_refused(&self) {
        let mut wait = FIRST_RETRY;
        while self.refused.len() > 0 {
            self.pause(wait).await;
            wait = (wait * 2).min(LONGEST_RETRY);
            let done = self.refused.try_again(&self.stores).await;
            self.done.fetch_add(done.len() as u64, Ordering::AcqRel);
            self.notify_all(done, &HashSet::new());
            if *self.stop_retrying.borrow() {
                return;
            }
        }
    }

    /// Tells those who wait for the completions of a group, and starts the errbacks of what was settled.
    fn notify_all(&self, group: impl IntoIterator<Item = Completion>, lost: &HashSet<Receipt>) {
        for completion in group {
            let delivery = completion.settlement.delivery.as_ref();
            let status = match delivery {
                Some((receipt, _)) if lost.contains(receipt) => CompletionStatus::LeaseLost,
                _ => CompletionStatus::Settled,
            };
            if status == CompletionStatus::LeaseLost {
                self.observer.iter().for_each(|observer| observer.lease_lost(&completion.label));
            } else if let (Some(runner), Some(pending)) = (&self.errbacks, &completion.errbacks) {
                runner.submit(pending.drain());
            }
            notify_waiter(completion.waiter, status);
        }
    }

    fn add_unsettled(&self, label: &TaskLabel) {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).push(label.clone());
    }
}

impl<'a> Batch<'a> {
    /// Takes the first completions that have one source.
    fn next_group(&mut self) -> Option<Self> {
        let first = self.left.front()?.source.clone();
        let count = self.left.iter().take_while(|completion| Arc::ptr_eq(&completion.source, &first)).count();
        Some(self.split(count))
    }

    /// Takes the first completion.
    fn split_first(&mut self) -> Option<Self> {
        (!self.left.is_empty()).then(|| self.split(1))
    }

    fn split(&mut self, count: usize) -> Self {
        let rest = self.left.split_off(count);
        Self { shared: self.shared, lane: self.lane, left: std::mem::replace(&mut self.left, rest) }
    }

    /// Takes the completions, which are done.
    fn take(&mut self) -> VecDeque<Completion> {
        self.shared.done.fetch_add(self.left.len() as u64, Ordering::AcqRel);
        self.lane.done(self.left.len());
        std::mem::take(&mut self.left)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for completion in &self.left {
            self.shared.add_unsettled(&completion.label);
        }
        self.lane.done(self.left.len());
    }
}

fn notify_waiter(waiter: Option<oneshot::Sender<CompletionStatus>>, status: CompletionStatus) {
    if let Some(waiter) = waiter {
        // An error means that nobody waits any more.
        let _ = waiter.send(status);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use apium_protocol::message::message::Message;
    use apium_transport::address::Address;
    use apium_transport::broker::outgoing::Outgoing;
    use apium_transport::broker::settlement::{
        Acker, Acknowledgement, AtomicSettle, Disposition, Settlement, Tag, lease_lost,
    };
    use apium_transport::clock::Clock;
    use apium_transport::driver::{Driver as _, DriverOptions};
    use apium_transport::error::{Error, ErrorKind, Result};
    use apium_transport::memory::MemoryDriver;
    use futures_util::future::BoxFuture;
    use jiff::Timestamp;

    use super::*;
    use crate::pipeline::complete::attempt::settle_deliveries;
    use crate::pipeline::task_run::DeliverySource;

    /// An acker whose first `refusals` calls fail with a connection error. Receipts of fence 9 are another consumer's.
    #[derive(Default)]
    struct Refusing {
        refusals: AtomicUsize,
        acked: Mutex<Vec<Receipt>>,
        rejected: Mutex<Vec<Receipt>>,
    }

    impl Refusing {
        fn settle(&self, list: &Mutex<Vec<Receipt>>, receipts: Vec<Receipt>) -> Result<()> {
            let refused = self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if refused.is_ok() {
                return Err(Error::new(ErrorKind::Connection, "reach the broker"));
            }
            let lost: Vec<Receipt> = receipts.iter().filter(|receipt| receipt.fence == 9).cloned().collect();
            let all = receipts.len();
            list.lock().unwrap().extend(receipts);
            if lost.is_empty() { Ok(()) } else { Err(lease_lost("settle", &lost, all)) }
        }
    }

    impl Acker for Refusing {
        fn ack(&self, receipts: Vec<Receipt>) -> BoxFuture<'_, Result<()>> {
            Box::pin(async move { self.settle(&self.acked, receipts) })
        }

        fn reject(&self, receipts: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>> {
            let receipts = receipts.into_iter().map(|(receipt, _)| receipt).collect();
            Box::pin(async move { self.settle(&self.rejected, receipts) })
        }

        fn mark_started<'a>(&'a self, _: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
            Box::pin(async { Ok(()) })
        }

        fn atomic(&self) -> Option<&dyn AtomicSettle> {
            None
        }
    }

    fn completer(broker: &SharedBroker) -> Completer {
        let faults = Faults::new(Clock::manual(Timestamp::UNIX_EPOCH));
        Completer::new(broker.clone(), Arc::default(), None, faults, None)
    }

    /// Does completions as the lane of the broker does.
    async fn complete(completer: &Completer, group: Vec<Completion>, progress: BatchProgress) {
        let lane = completer.0.lanes.iter().next().unwrap();
        lane.push(group);
        let batch = Batch { shared: &completer.0, lane, left: lane.next_batch() };
        completer.0.complete_group(batch, progress).await;
        assert_eq!(completer.pending(), 0);
    }

    fn receipt(number: u64, fence: u64) -> Receipt {
        Receipt::new(Tag::Number(number), fence)
    }

    fn completion(acker: &Arc<Refusing>, publish: Vec<Outgoing>, receipt: Receipt, how: Acknowledgement) -> Completion {
        let source = Arc::new(DeliverySource { acker: acker.clone(), is_atomic: false });
        let settlement = Settlement::default().publishing(publish).ending(Some((receipt, how)));
        Completion::new(TaskLabel::default(), source, settlement)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_published_is_not_published_again_when_the_ack_fails() {
        let address = Address::parse("memory://").unwrap();
        let options = DriverOptions::new(Clock::manual(Timestamp::UNIX_EPOCH));
        let broker = MemoryDriver::new().broker(address, options).await.unwrap();
        let acker = Arc::new(Refusing { refusals: AtomicUsize::new(3), ..Refusing::default() });
        let completer = completer(&broker);
        let next_run = Outgoing::to_queue("celery", Message::default());
        let completion = completion(&acker, vec![next_run], receipt(1, 1), Acknowledgement::Ack);
        complete(&completer, vec![completion], BatchProgress::default()).await;
        let stats = broker.queues().unwrap().counts().unwrap().stats().await.unwrap();
        assert_eq!(stats.iter().map(|queue| queue.ready).sum::<u64>(), 1);
        assert_eq!(*acker.acked.lock().unwrap(), [receipt(1, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_was_away_for_long_is_tried_as_often_as_one_that_was_away_for_a_second() {
        let address = Address::parse("memory://").unwrap();
        let options = DriverOptions::new(Clock::manual(Timestamp::UNIX_EPOCH));
        let broker = MemoryDriver::new().broker(address, options).await.unwrap();
        let acker = Arc::new(Refusing { refusals: AtomicUsize::new(100), ..Refusing::default() });
        let (completer, began) = (completer(&broker), Instant::now());
        let completion = completion(&acker, Vec::new(), receipt(1, 1), Acknowledgement::Ack);
        complete(&completer, vec![completion], BatchProgress::default()).await;
        assert_eq!(acker.acked.lock().unwrap().len(), 1);
        assert!(began.elapsed() <= Duration::from_millis(500) * 100, "{:?} for 100 attempts", began.elapsed());
    }

    #[tokio::test]
    async fn what_comes_after_the_end_of_the_service_is_unsettled_and_nobody_waits_for_it() {
        let options = DriverOptions::new(Clock::manual(Timestamp::UNIX_EPOCH));
        let broker = MemoryDriver::new().broker(Address::parse("memory://").unwrap(), options).await.unwrap();
        let (acker, completer) = (Arc::new(Refusing::default()), completer(&broker));
        let late = |number| completion(&acker, Vec::new(), receipt(number, 1), Acknowledgement::Ack);
        completer.submit_all([late(1)]);
        completer.close();
        assert_eq!((completer.unsettled().len(), completer.pending()), (1, 0));
        assert_eq!(completer.submit_and_wait(late(2)).await, CompletionStatus::Failed);
        assert_eq!((completer.unsettled().len(), completer.pending()), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn rejects_are_done_after_a_lost_ack_and_only_its_own_waiter_learns_of_it() {
        let address = Address::parse("memory://").unwrap();
        let options = DriverOptions::new(Clock::manual(Timestamp::UNIX_EPOCH));
        let broker = MemoryDriver::new().broker(address, options).await.unwrap();
        let acker = Arc::new(Refusing::default());
        let mut group = vec![
            completion(&acker, Vec::new(), receipt(1, 9), Acknowledgement::Ack),
            completion(&acker, Vec::new(), receipt(2, 1), Acknowledgement::Ack),
            completion(&acker, Vec::new(), receipt(3, 1), Acknowledgement::Reject(Disposition::Requeue)),
            completion(&acker, Vec::new(), receipt(4, 9), Acknowledgement::Reject(Disposition::Requeue)),
        ];
        let source = group[0].source.clone();
        let mut waits = Vec::new();
        for completion in &mut group {
            let (waiter, wait) = oneshot::channel();
            (completion.source, completion.waiter) = (source.clone(), Some(waiter));
            waits.push(wait);
        }
        // The acks are done; the rejects fail twice.
        let completer = completer(&broker);
        let mut progress = BatchProgress::default();
        settle_deliveries(&*acker, &group[..2], &mut progress).await.unwrap();
        acker.refusals.store(2, Ordering::SeqCst);
        complete(&completer, group, progress).await;
        let mut statuses = Vec::new();
        for wait in waits {
            statuses.push(wait.await.unwrap());
        }
        assert_eq!(
            statuses,
            [
                CompletionStatus::LeaseLost,
                CompletionStatus::Settled,
                CompletionStatus::Settled,
                CompletionStatus::LeaseLost
            ]
        );
        assert_eq!(*acker.acked.lock().unwrap(), [receipt(1, 9), receipt(2, 1)], "once");
        assert_eq!(*acker.rejected.lock().unwrap(), [receipt(3, 1), receipt(4, 9)]);
    }
}
