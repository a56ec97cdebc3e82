//! The fourth stop: what was decided is done. The two laws stand here and nowhere else.
//!
//! (a) The order is *store the result → publish what follows → settle the delivery*: a crash repeats work and never loses it.
//! Where broker and backend are one store, all three are one step.
//! (b) Early ack settles the delivery before the run and changes nothing else: it comes here as an end of its own that holds
//! nothing but the ack.
//!
//! Ends are handled in batches without lingering: whatever came while the last batch was on its way makes the next one. What
//! cannot reach its store waits and is tried again; it is never dropped for that.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::dead_set::DeadReason;
use apium_transport::broker::settlement::{Acker, Acknowledgement, Disposition, Receipt, lost_receipts};
use apium_transport::error::{Error, ErrorKind, Result};
use tokio::sync::{Notify, oneshot};
use tracing::Instrument as _;

use crate::backends::Backends;
use crate::follow_up::count_parts::{EndedChord, count_parts};
use crate::pipeline::completion::{Completion, CompletionStatus};
use crate::pipeline::errback_runner::ErrbackRunner;
use crate::pipeline::task_run::{DeliverySource, TaskLabel};
use crate::service::{Service, Stopping};

/// How many ends may wait before runs wait for them: with early ack nothing else bounds them.
const BACKLOG: usize = 4096;
/// How many ends go into one batch.
const BATCH: usize = 1024;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Takes ends and does what they say.
#[derive(Clone)]
pub(crate) struct Completer(Arc<Shared>);

struct Shared {
    queue: Mutex<VecDeque<Completion>>,
    wake: Notify,
    room: Notify,
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
            room: Notify::new(),
            pending: AtomicUsize::new(0),
            stop_retrying: AtomicBool::new(false),
            broker,
            backends,
            errbacks,
        }))
    }

    /// Starts the part that does the work.
    pub(crate) fn start(&self) -> Service {
        let completer = self.clone();
        Service::start("completer", |stopping| async move { completer.serve(stopping).await })
    }

    /// Hands over an end; waits while too many are pending.
    pub(crate) async fn submit(&self, completion: Completion) {
        while self.0.pending.load(Ordering::Acquire) >= BACKLOG {
            let room = self.0.room.notified();
            if self.0.pending.load(Ordering::Acquire) < BACKLOG {
                break;
            }
            room.await;
        }
        self.submit_all([completion]);
    }

    /// Hands over ends that take no room of others: what the intake turns away.
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

    /// Hands over an end and waits until it is done.
    pub(crate) async fn submit_and_wait(&self, mut completion: Completion) -> CompletionStatus {
        let (done, wait) = oneshot::channel();
        completion.done = Some(done);
        self.submit(completion).await;
        wait.await.unwrap_or(CompletionStatus::Failed)
    }

    /// How many ends are not done yet.
    pub(crate) fn pending(&self) -> usize {
        self.0.pending.load(Ordering::Acquire)
    }

    /// From now on nothing is tried again: the process is about to end, and what is not settled will be delivered again.
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
                let count = queue.len().min(BATCH);
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
            self.0.room.notify_waiters();
        }
    }

    /// Does a batch: runs of ends that can go in one step go together, in the order in which they came.
    async fn complete(&self, batch: Vec<Completion>) {
        let mut group: Vec<Completion> = Vec::with_capacity(batch.len());
        for completion in batch {
            if group.last().is_some_and(|last| !self.go_together(last, &completion)) {
                self.group(std::mem::replace(&mut group, Vec::with_capacity(1)), BatchProgress::default()).await;
            }
            group.push(completion);
        }
        self.group(group, BatchProgress::default()).await;
    }

    /// Ends of one source and one way of storing, of which `progress` was made before.
    async fn group(&self, mut group: Vec<Completion>, mut progress: BatchProgress) {
        let Some(first) = group.first() else { return };
        let source = first.source.clone();
        let own = self.own_backend(first).cloned();
        let mut wait = FIRST_RETRY;
        loop {
            let stop = tracing::trace_span!(target: "apium::walk", "complete", ends = group.len());
            let error = match self.attempt(&source, own.as_ref(), &group, &mut progress).instrument(stop).await {
                Ok(()) => return self.finished(group, &progress.lost),
                Err(error) => error,
            };
            if error.is_retryable() && !self.0.stop_retrying.load(Ordering::Acquire) {
                tracing::warn!(%error, ends = group.len(), "could not settle; trying again in {wait:?}");
                self.pause(wait).await;
                wait = (wait * 2).min(LONGEST_RETRY);
            } else if group.len() > 1 {
                // One of them spoils the batch: each alone. If the broker does not publish atomically, some follow-ups may be
                // published a second time by this, with the same ids, as after a crash.
                for completion in group {
                    Box::pin(self.group(vec![completion], progress.clone())).await;
                }
                return;
            } else {
                for completion in group.drain(..) {
                    self.give_up(completion, &error).await;
                }
                return;
            }
        }
    }

    /// The backend that the task of `completion` alone has.
    fn own_backend(&self, completion: &Completion) -> Option<&SharedBackend> {
        completion.task.as_deref().and_then(|task| self.0.backends.own(task))
    }

    /// Whether both can go in one batch.
    fn go_together(&self, one: &Completion, other: &Completion) -> bool {
        let has_same_backend = match (self.own_backend(one), self.own_backend(other)) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        has_same_backend && Arc::ptr_eq(&one.source, &other.source)
    }

    async fn pause(&self, wait: Duration) {
        let pause = tokio::time::timeout(wait, async {
            while !self.0.stop_retrying.load(Ordering::Acquire) {
                self.0.wake.notified().await;
            }
        });
        // Time is up or the stop is near: both end the pause.
        let _ = pause.await;
    }

    /// The laws. One attempt, which goes on where the one before it failed: what is published is not published again because
    /// the ack found no connection.
    async fn attempt(
        &self,
        source: &DeliverySource,
        own: Option<&SharedBackend>,
        group: &[Completion],
        progress: &mut BatchProgress,
    ) -> Result<()> {
        if progress.step < Stage::Kept {
            let kept: Vec<_> = group.iter().filter_map(|completion| completion.dead_letter.clone()).collect();
            if let Some(dead) = self.0.broker.dead().filter(|_| !kept.is_empty()) {
                dead.add(kept).await?;
            }
            progress.step = Stage::Kept;
        }
        if let Some(atomic) = source.acker.atomic().filter(|_| source.is_atomic && own.is_none()) {
            let settled = atomic.settle(group.iter().map(|completion| completion.settlement.clone()).collect()).await;
            return progress.note_lost(settled);
        }
        if progress.step < Stage::Stored {
            let records: Vec<_> = group.iter().filter_map(|completion| completion.settlement.record.clone()).collect();
            if let Some(backend) = own.or(self.0.backends.app()).filter(|_| !records.is_empty()) {
                backend.store(records).await?;
            }
            progress.step = Stage::Stored;
        }
        if progress.step < Stage::Published {
            let mut follow_ups: Vec<_> =
                group.iter().flat_map(|completion| completion.settlement.publish.iter().cloned()).collect();
            let settlements = group.iter().map(|completion| &completion.settlement);
            // Counting is repeated where publishing failed: who counts again under its name has the claim still.
            progress.ended = count_parts(self.0.backends.app(), &self.0.broker, settlements, &mut follow_ups).await?;
            if !follow_ups.is_empty() {
                self.0.broker.publish(follow_ups).await?;
            }
            progress.step = Stage::Published;
        }
        while let Some(chord) = progress.ended.last() {
            chord.end(self.0.backends.app()).await?;
            progress.ended.pop();
        }
        settle_deliveries(&*source.acker, group, progress).await
    }

    /// Tells who waits, and the log about what was lost.
    fn finished(&self, group: Vec<Completion>, lost: &HashSet<Receipt>) {
        for completion in group {
            let is_lost =
                !lost.is_empty() && completion.settlement.delivery.as_ref().is_some_and(|(r, _)| lost.contains(r));
            if is_lost {
                let id = completion.label.id.as_ref().map_or("?", |id| id.as_str());
                let task = completion.label.task.as_deref().unwrap_or("?");
                tracing::warn!(
                    id,
                    task,
                    "task {task}[{id}] was given to another worker before this one was done with it: its lease ran out"
                );
            } else if let (Some(errbacks), Some(late)) = (&self.0.errbacks, &completion.errbacks) {
                errbacks.submit(late.take());
            }
            notify_waiter(
                completion.done,
                if is_lost { CompletionStatus::LeaseLost } else { CompletionStatus::Settled },
            );
        }
    }

    /// The end cannot be done. Its message is kept in the dead set rather than run again and again.
    async fn give_up(&self, completion: Completion, error: &Error) {
        let TaskLabel { id, task } = &completion.label;
        let id = id.as_ref().map_or("?", |id| id.as_str());
        let task = task.as_deref().unwrap_or("?");
        tracing::error!(id, task, %error, "could not finish task {task}[{id}]");
        if let Some((receipt, _)) = completion.settlement.delivery
            && !error.is_retryable()
            && error.kind() != ErrorKind::Closed
        {
            let text = format!("its end could not be stored, published or settled: {error}");
            let dead = Disposition::Dead(DeadReason::new("rejected", text));
            if let Err(error) = completion.source.acker.reject(vec![(receipt, dead)]).await {
                tracing::error!(id, task, %error, "could not put task {task}[{id}] into the dead set; it will be delivered again");
            }
        }
        notify_waiter(completion.done, CompletionStatus::Failed);
    }
}

/// What is done of a group of ends.
#[derive(Debug, Clone, Default)]
struct BatchProgress {
    step: Stage,
    /// Deliveries that turned out to be another consumer's.
    lost: HashSet<Receipt>,
    /// Chords whose bodies are published, and that are still to be ended.
    ended: Vec<EndedChord>,
}

/// The last step of the laws that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Stage {
    #[default]
    Nothing,
    /// What goes to the dead set without being a delivery is there.
    Kept,
    Stored,
    Published,
    Acked,
}

impl BatchProgress {
    /// A lost lease of some is no reason to leave the others: it is noted.
    fn note_lost(&mut self, settled: Result<()>) -> Result<()> {
        match settled {
            Err(error) if error.kind() == ErrorKind::LeaseLost => {
                self.lost.extend(lost_receipts(&error).iter().cloned());
                Ok(())
            }
            settled => settled,
        }
    }
}

async fn settle_deliveries(acker: &dyn Acker, group: &[Completion], progress: &mut BatchProgress) -> Result<()> {
    let (mut acks, mut rejects) = (Vec::with_capacity(group.len()), Vec::new());
    for completion in group {
        match &completion.settlement.delivery {
            Some((receipt, Acknowledgement::Ack)) => acks.push(receipt.clone()),
            Some((receipt, Acknowledgement::Reject(how))) => rejects.push((receipt.clone(), how.clone())),
            None => {}
        }
    }
    if progress.step < Stage::Acked {
        if !acks.is_empty() {
            progress.note_lost(acker.ack(acks).await)?;
        }
        progress.step = Stage::Acked;
    }
    match rejects.is_empty() {
        true => Ok(()),
        false => progress.note_lost(acker.reject(rejects).await),
    }
}

fn notify_waiter(waiter: Option<oneshot::Sender<CompletionStatus>>, done: CompletionStatus) {
    if let Some(waiter) = waiter {
        // Who waited may have been cancelled.
        let _ = waiter.send(done);
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

    /// An acker whose first `refusals` acks and rejects find no connection, and to which fence 9 is somebody else's.
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

    fn end(acker: &Arc<Refusing>, publish: Vec<Outgoing>, receipt: Receipt, how: Acknowledgement) -> Completion {
        let source = Arc::new(DeliverySource { acker: acker.clone(), is_atomic: false });
        let settlement = Settlement::default().publishing(publish).ending(Some((receipt, how)));
        Completion::new(TaskLabel::default(), source, settlement)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_published_is_not_published_again_when_the_ack_finds_no_connection() {
        let address = Address::parse("memory://").unwrap();
        let options = DriverOptions::new(Clock::manual(Timestamp::UNIX_EPOCH));
        let broker = MemoryDriver::new().broker(address, options).await.unwrap();
        let acker = Arc::new(Refusing { refusals: AtomicUsize::new(3), ..Refusing::default() });
        let completer = Completer::new(broker.clone(), Arc::default(), None);
        let next_run = Outgoing::to_queue("celery", Message::default());
        completer
            .group(vec![end(&acker, vec![next_run], receipt(1, 1), Acknowledgement::Ack)], BatchProgress::default())
            .await;
        let stats = broker.queues().unwrap().counts().unwrap().stats().await.unwrap();
        assert_eq!(stats.iter().map(|queue| queue.ready).sum::<u64>(), 1);
        assert_eq!(*acker.acked.lock().unwrap(), [receipt(1, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_ack_leaves_no_reject_undone_and_is_told_to_its_own_waiter_only() {
        let address = Address::parse("memory://").unwrap();
        let options = DriverOptions::new(Clock::manual(Timestamp::UNIX_EPOCH));
        let broker = MemoryDriver::new().broker(address, options).await.unwrap();
        let acker = Arc::new(Refusing::default());
        let mut ends = vec![
            end(&acker, Vec::new(), receipt(1, 9), Acknowledgement::Ack),
            end(&acker, Vec::new(), receipt(2, 1), Acknowledgement::Ack),
            end(&acker, Vec::new(), receipt(3, 1), Acknowledgement::Reject(Disposition::Requeue)),
            end(&acker, Vec::new(), receipt(4, 9), Acknowledgement::Reject(Disposition::Requeue)),
        ];
        let source = ends[0].source.clone();
        let mut told = Vec::new();
        for end in &mut ends {
            let (done, wait) = oneshot::channel();
            (end.source, end.done) = (source.clone(), Some(done));
            told.push(wait);
        }
        // The acks go through, the rejects find no connection at first.
        let completer = Completer::new(broker, Arc::default(), None);
        let mut progress = BatchProgress::default();
        settle_deliveries(&*acker, &ends[..2], &mut progress).await.unwrap();
        acker.refusals.store(2, Ordering::SeqCst);
        completer.group(ends, progress).await;
        let mut seen = Vec::new();
        for wait in told {
            seen.push(wait.await.unwrap());
        }
        assert_eq!(
            seen,
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
