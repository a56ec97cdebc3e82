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
//! Completions go in batches. A batch is whatever has come while the one before it was under way; nothing waits for a
//! batch to fill up. When a store cannot be reached, the batch is tried again until it can.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::dead_set::DeadReason;
use apium_transport::broker::settlement::{Acker, Acknowledgement, Disposition, Receipt};
use apium_transport::error::{Error, ErrorKind, Result};
use tokio::sync::{Notify, oneshot};
use tracing::Instrument as _;

use crate::backends::Backends;
use crate::follow_up::count_parts::count_parts;
use crate::pipeline::completion::{BatchProgress, Completion, CompletionStatus, Stage};
use crate::pipeline::errback_runner::ErrbackRunner;
use crate::pipeline::log;
use crate::pipeline::task_run::DeliverySource;
use crate::service::{Service, Stopping};

/// How many completions may be pending before runs wait for them. With early ack nothing else limits them.
const MAX_PENDING: usize = 4096;
/// How many completions go into one batch.
const MAX_BATCH: usize = 1024;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Takes completions, and does what they say in the background.
#[derive(Clone)]
pub(crate) struct Completer(Arc<Shared>);

struct Shared {
    queue: Mutex<VecDeque<Completion>>,
    wake: Notify,
    /// Wakes those who wait because too many completions are pending.
    has_room: Notify,
    pending: AtomicUsize,
    stop_retrying: AtomicBool,
    broker: SharedBroker,
    backends: Arc<Backends>,
    errbacks: Option<ErrbackRunner>,
}

impl Completer {
    pub(crate) fn new(broker: SharedBroker, backends: Arc<Backends>, errbacks: Option<ErrbackRunner>) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            wake: Notify::new(),
            has_room: Notify::new(),
            pending: AtomicUsize::new(0),
            stop_retrying: AtomicBool::new(false),
            broker,
            backends,
            errbacks,
        }))
    }

    /// Starts the service. When it is asked to stop, it does what is pending first.
    pub(crate) fn start(&self) -> Service {
        let completer = self.clone();
        Service::start("completer", |stopping| async move { completer.serve(stopping).await })
    }

    /// Adds a completion. Waits while too many are pending.
    pub(crate) async fn submit(&self, completion: Completion) {
        while self.0.pending.load(Ordering::Acquire) >= MAX_PENDING {
            let has_room = self.0.has_room.notified();
            if self.0.pending.load(Ordering::Acquire) < MAX_PENDING {
                break;
            }
            has_room.await;
        }
        self.submit_all([completion]);
    }

    /// Adds completions without waiting. For deliveries that do not run: the prefetch limits their number.
    pub(crate) fn submit_all(&self, completions: impl IntoIterator<Item = Completion>) {
        let mut queue = self.lock();
        let before = queue.len();
        queue.extend(completions);
        let added = queue.len() - before;
        self.0.pending.fetch_add(added, Ordering::AcqRel);
        drop(queue);
        if before == 0 && added > 0 {
            self.0.wake.notify_one();
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
        self.0.pending.load(Ordering::Acquire)
    }

    /// Stops trying again, since the process is about to end. What is not settled will be delivered again.
    pub(crate) fn stop_retrying(&self) {
        self.0.stop_retrying.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Completion>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, mut stopping: Stopping) {
        loop {
            let batch: Vec<Completion> = {
                let mut queue = self.lock();
                let count = queue.len().min(MAX_BATCH);
                queue.drain(..count).collect()
            };
            if batch.is_empty() {
                if stopping.is_set() {
                    return;
                }
                tokio::select! {
                    () = self.0.wake.notified() => {}
                    () = stopping.wait() => {}
                }
                continue;
            }
            let count = batch.len();
            self.complete(batch).await;
            self.0.pending.fetch_sub(count, Ordering::AcqRel);
            self.0.has_room.notify_waiters();
        }
    }

    /// Does a batch in order. Neighbours that can share a step are done as one group.
    async fn complete(&self, batch: Vec<Completion>) {
        let mut group: Vec<Completion> = Vec::with_capacity(batch.len());
        for completion in batch {
            if group.last().is_some_and(|last| !self.go_together(last, &completion)) {
                let previous = std::mem::replace(&mut group, Vec::with_capacity(1));
                self.complete_group(previous, BatchProgress::default()).await;
            }
            group.push(completion);
        }
        self.complete_group(group, BatchProgress::default()).await;
    }

    /// Does a group of completions that have the same source and the same backend. `progress` says what is done of it
    /// already.
    async fn complete_group(&self, mut group: Vec<Completion>, mut progress: BatchProgress) {
        let Some(first) = group.first() else { return };
        let source = first.source.clone();
        let own_backend = self.own_backend(first).cloned();
        let mut wait = FIRST_RETRY;
        loop {
            let step = tracing::trace_span!(target: "apium::walk", "complete", completions = group.len());
            let attempt = self.attempt(&source, own_backend.as_ref(), &group, &mut progress).instrument(step);
            let error = match attempt.await {
                Ok(()) => return self.notify_all(group, &progress.lost),
                Err(error) => error,
            };
            if error.is_retryable() && !self.0.stop_retrying.load(Ordering::Acquire) {
                tracing::warn!(error = %with_causes(&error), completions = group.len(), "could not settle; trying again in {wait:?}");
                self.pause(wait).await;
                wait = (wait * 2).min(LONGEST_RETRY);
            } else if group.len() > 1 {
                // One completion may be the cause of the error, so each is done alone. If the broker does not publish
                // atomically, follow-ups may be published a second time by this, under the same ids, as after a crash.
                for completion in group {
                    Box::pin(self.complete_group(vec![completion], progress.clone())).await;
                }
                return;
            } else if progress.stage < Stage::Stored
                && let Some(instead) = group.first_mut().and_then(|completion| completion.instead_of(&error))
            {
                group = vec![instead];
            } else {
                for completion in group.drain(..) {
                    self.give_up(completion, &error).await;
                }
                return;
            }
        }
    }

    /// The backend of the task's own, where it has one.
    fn own_backend(&self, completion: &Completion) -> Option<&SharedBackend> {
        completion.task.as_deref().and_then(|task| self.0.backends.own(task))
    }

    /// Whether two completions have the same source and the same backend.
    fn go_together(&self, one: &Completion, other: &Completion) -> bool {
        let has_same_backend = match (self.own_backend(one), self.own_backend(other)) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        has_same_backend && Arc::ptr_eq(&one.source, &other.source)
    }

    /// Waits before the next attempt, or until nothing is to be tried again.
    async fn pause(&self, wait: Duration) {
        let stopped = async {
            while !self.0.stop_retrying.load(Ordering::Acquire) {
                self.0.wake.notified().await;
            }
        };
        // The pause ends in both cases.
        let _ = tokio::time::timeout(wait, stopped).await;
    }

    /// Makes one attempt, in the order of the laws. It goes on where the attempt before it failed: a message that is
    /// published is not published again because the ack failed.
    async fn attempt(
        &self,
        source: &DeliverySource,
        own_backend: Option<&SharedBackend>,
        group: &[Completion],
        progress: &mut BatchProgress,
    ) -> Result<()> {
        if progress.stage < Stage::DeadLettered {
            let dead_letters: Vec<_> = group.iter().filter_map(|completion| completion.dead_letter.clone()).collect();
            if let Some(dead_set) = self.0.broker.dead().filter(|_| !dead_letters.is_empty()) {
                dead_set.add(dead_letters).await?;
            }
            progress.stage = Stage::DeadLettered;
        }
        if let Some(atomic) = source.acker.atomic().filter(|_| source.is_atomic && own_backend.is_none()) {
            let settled = atomic.settle(group.iter().map(|completion| completion.settlement.clone()).collect()).await;
            return progress.collect_lost(settled);
        }
        if progress.stage < Stage::Stored {
            let records: Vec<_> = group.iter().filter_map(|completion| completion.settlement.record.clone()).collect();
            if let Some(backend) = own_backend.or(self.0.backends.app()).filter(|_| !records.is_empty()) {
                backend.store(records).await?;
            }
            progress.stage = Stage::Stored;
        }
        if progress.stage < Stage::Published {
            let settlements = group.iter().map(|completion| &completion.settlement);
            let mut messages: Vec<_> =
                settlements.clone().flat_map(|settlement| settlement.publish.iter().cloned()).collect();
            // When publishing fails the parts are counted once more. The claim on a body is still this worker's then.
            progress.chords = count_parts(self.0.backends.app(), &self.0.broker, settlements, &mut messages).await?;
            if !messages.is_empty() {
                self.0.broker.publish(messages).await?;
            }
            progress.stage = Stage::Published;
        }
        while let Some(chord) = progress.chords.last() {
            chord.end(self.0.backends.app()).await?;
            progress.chords.pop();
        }
        settle_deliveries(&*source.acker, group, progress).await
    }

    /// Tells those who wait for the completions of a group, and starts the errbacks of what was settled.
    fn notify_all(&self, group: Vec<Completion>, lost: &HashSet<Receipt>) {
        for completion in group {
            let delivery = completion.settlement.delivery.as_ref();
            let status = match delivery {
                Some((receipt, _)) if lost.contains(receipt) => CompletionStatus::LeaseLost,
                _ => CompletionStatus::Settled,
            };
            if status == CompletionStatus::LeaseLost {
                log::lease_lost_at_end(&completion.label);
            } else if let (Some(runner), Some(pending)) = (&self.0.errbacks, &completion.errbacks) {
                runner.submit(pending.drain());
            }
            notify_waiter(completion.waiter, status);
        }
    }

    /// Gives up a completion that cannot be done. Its message goes to the dead set where it can, so that the task is
    /// not run again and again; back to its queue where the store alone is to blame.
    async fn give_up(&self, completion: Completion, error: &Error) {
        log::not_completed(&completion.label, error);
        if let Some((receipt, _)) = completion.settlement.delivery
            && !error.is_retryable()
            && error.kind() != ErrorKind::Closed
        {
            let text = format!("its end could not be stored, published or settled: {error:#}");
            let dead = match error.is_final() {
                // Nothing is wrong with the message, and this worker stops.
                true => Disposition::Requeue,
                false => Disposition::Dead(DeadReason::new("rejected", text)),
            };
            if let Err(error) = completion.source.acker.reject(vec![(receipt, dead)]).await {
                log::not_dead_lettered(&completion.label, &error);
            }
        }
        notify_waiter(completion.waiter, CompletionStatus::Failed);
    }
}

/// Acks and rejects the deliveries of a group.
async fn settle_deliveries(acker: &dyn Acker, group: &[Completion], progress: &mut BatchProgress) -> Result<()> {
    let (mut acks, mut rejects) = (Vec::with_capacity(group.len()), Vec::new());
    for completion in group {
        match &completion.settlement.delivery {
            Some((receipt, Acknowledgement::Ack)) => acks.push(receipt.clone()),
            Some((receipt, Acknowledgement::Reject(disposition))) => {
                rejects.push((receipt.clone(), disposition.clone()));
            }
            None => {}
        }
    }
    if progress.stage < Stage::Acked {
        if !acks.is_empty() {
            progress.collect_lost(acker.ack(acks).await)?;
        }
        progress.stage = Stage::Acked;
    }
    match rejects.is_empty() {
        true => Ok(()),
        false => progress.collect_lost(acker.reject(rejects).await),
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
    use apium_transport::broker::settlement::{AtomicSettle, Settlement, Tag, lease_lost};
    use apium_transport::clock::Clock;
    use apium_transport::driver::{Driver as _, DriverOptions};
    use apium_transport::memory::MemoryDriver;
    use futures_util::future::BoxFuture;
    use jiff::Timestamp;

    use super::*;
    use crate::pipeline::task_run::TaskLabel;

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
        let completer = Completer::new(broker.clone(), Arc::default(), None);
        let next_run = Outgoing::to_queue("celery", Message::default());
        let completion = completion(&acker, vec![next_run], receipt(1, 1), Acknowledgement::Ack);
        completer.complete_group(vec![completion], BatchProgress::default()).await;
        let stats = broker.queues().unwrap().counts().unwrap().stats().await.unwrap();
        assert_eq!(stats.iter().map(|queue| queue.ready).sum::<u64>(), 1);
        assert_eq!(*acker.acked.lock().unwrap(), [receipt(1, 1)]);
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
        let completer = Completer::new(broker, Arc::default(), None);
        let mut progress = BatchProgress::default();
        settle_deliveries(&*acker, &group[..2], &mut progress).await.unwrap();
        acker.refusals.store(2, Ordering::SeqCst);
        completer.complete_group(group, progress).await;
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
