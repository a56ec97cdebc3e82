//! Lanes: completions of different stores do not wait for each other. Those of one lane are done in their order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use apium_transport::backend::backend::SharedBackend;

use crate::backends::Backends;
use crate::limits::sync::{Mutex, MutexGuard, Notify};
use crate::pipeline::completion::Completion;

/// How many completions of a lane may be pending before runs wait for them. With early ack nothing else limits them.
const MAX_PENDING: usize = 4096;
/// How many completions go into one batch.
const MAX_BATCH: usize = 1024;

/// The completions that wait for one store.
pub(crate) struct Lane {
    /// The result backend of a task's own; `None` for the broker and the app's backend.
    pub(crate) own_backend: Option<SharedBackend>,
    queue: Mutex<VecDeque<Completion>>,
    /// Wakes the lane's loop.
    pub(crate) wake: Notify,
    /// Wakes those who wait because too many completions are pending.
    has_room: Notify,
    pending: AtomicUsize,
    /// How many completions may be pending before runs wait for them.
    bound: usize,
}

impl Lane {
    fn new(own_backend: Option<SharedBackend>) -> Self {
        Self::bounded(own_backend, MAX_PENDING)
    }

    fn bounded(own_backend: Option<SharedBackend>, bound: usize) -> Self {
        let (queue, wake, has_room) = (Mutex::default(), Notify::new(), Notify::new());
        Self { own_backend, queue, wake, has_room, pending: AtomicUsize::new(0), bound }
    }

    /// Names what is done in it.
    pub(crate) fn name(&self) -> String {
        match &self.own_backend {
            Some(backend) => format!("settle what is stored at {}", backend.address()),
            None => "settle".to_owned(),
        }
    }

    /// Adds completions at the end.
    pub(crate) fn push(&self, completions: impl IntoIterator<Item = Completion>) {
        let mut queue = self.lock();
        let before = queue.len();
        queue.extend(completions);
        let added = queue.len() - before;
        self.pending.fetch_add(added, Ordering::AcqRel);
        drop(queue);
        if before == 0 && added > 0 {
            self.wake.notify_one();
        }
    }

    /// Takes the next batch; empty when nothing waits.
    pub(crate) fn next_batch(&self) -> VecDeque<Completion> {
        let mut queue = self.lock();
        let count = queue.len().min(MAX_BATCH);
        queue.drain(..count).collect()
    }

    /// Takes everything that waits.
    pub(crate) fn drain(&self) -> VecDeque<Completion> {
        std::mem::take(&mut *self.lock())
    }

    /// Completions that were taken are done, or given up.
    pub(crate) fn done(&self, count: usize) {
        self.pending.fetch_sub(count, Ordering::AcqRel);
        self.has_room.notify_waiters();
    }

    /// How many completions are not done.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    /// Waits while too many completions are pending.
    pub(crate) async fn wait_for_room(&self) {
        while self.pending() >= self.bound {
            let has_room = self.has_room.notified();
            if self.pending() < self.bound {
                return;
            }
            has_room.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Completion>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lanes of a worker: one for the broker, one for the app's result backend, and one for each backend that tasks
/// have of their own.
pub(crate) struct Lanes(Vec<Lane>);

const BROKER: usize = 0;
const APP_BACKEND: usize = 1;

impl Lanes {
    pub(crate) fn new(backends: &Backends) -> Self {
        let mut lanes = vec![Lane::new(None), Lane::new(None)];
        for backend in backends.of_tasks() {
            let is_new =
                lanes.iter().filter_map(|lane| lane.own_backend.as_ref()).all(|own| !Arc::ptr_eq(own, backend));
            if is_new {
                lanes.push(Lane::new(Some(backend.clone())));
            }
        }
        Self(lanes)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.0.iter()
    }

    /// The lane of a completion. What comes after another completion of its run waits for that one before it is
    /// submitted, so the order within a run is kept although its lanes differ.
    pub(crate) fn of(&self, completion: &Completion, backends: &Backends) -> &Lane {
        let settlement = &completion.settlement;
        let own =
            completion.task.as_deref().and_then(|task| backends.own(task)).filter(|_| settlement.record.is_some());
        let lane = match own {
            Some(own) => {
                self.0.iter().find(|lane| lane.own_backend.as_ref().is_some_and(|lane| Arc::ptr_eq(lane, own)))
            }
            None => {
                let stores = settlement.record.is_some() || settlement.follow_ups.is_some();
                // Where queues and results are one store, there is one lane for both.
                self.0.get(if stores && !completion.source.is_atomic { APP_BACKEND } else { BROKER })
            }
        };
        // There is a lane for each backend, so this is found.
        lane.unwrap_or(&self.0[BROKER])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use apium_protocol::message::task_id::TaskId;
    use apium_transport::address::Address;
    use apium_transport::broker::broker::SharedBroker;
    use apium_transport::broker::settlement::{
        Acker, Acknowledgement, AtomicSettle, Disposition, Receipt, Settlement, Tag,
    };
    use apium_transport::clock::Clock;
    use apium_transport::driver::{Driver as _, DriverOptions};
    use apium_transport::error::Result;
    use apium_transport::memory::MemoryDriver;
    use futures_util::future::BoxFuture;
    use jiff::Timestamp;

    use super::*;
    use crate::limits::sync::model;
    use crate::pipeline::completer::Completer;
    use crate::pipeline::completion::CompletionStatus;
    use crate::pipeline::task_run::{DeliverySource, TaskLabel};
    use crate::service::stopping;
    use crate::shutdown::faults::Faults;

    /// An acker that lets others go on before it answers, and keeps what it was given.
    #[derive(Default)]
    struct Slow(std::sync::Mutex<Vec<Receipt>>);

    impl Acker for Slow {
        fn ack(&self, receipts: Vec<Receipt>) -> BoxFuture<'_, Result<()>> {
            Box::pin(async move {
                shuttle::future::yield_now().await;
                self.0.lock().unwrap().extend(receipts);
                Ok(())
            })
        }

        fn reject(&self, _: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>> {
            unreachable!("nothing is rejected")
        }

        fn mark_started<'a>(&'a self, _: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
            unreachable!("nothing is marked")
        }

        fn atomic(&self) -> Option<&dyn AtomicSettle> {
            None
        }
    }

    fn completion(source: &Arc<DeliverySource>, number: u64) -> Completion {
        let label = TaskLabel { id: Some(TaskId::from(number.to_string())), task: None };
        let ack = Some((Receipt::new(Tag::Number(number), 1), Acknowledgement::Ack));
        Completion::new(label, source.clone(), Settlement::default().ending(ack))
    }

    fn source(acker: &Arc<Slow>) -> Arc<DeliverySource> {
        Arc::new(DeliverySource { acker: acker.clone(), is_atomic: false })
    }

    /// A lane that has room for one completion: those who wait for room and the loop that makes some never wait for
    /// each other.
    #[test]
    fn a_lane_hands_on_everything_once_in_any_interleaving() {
        model::check(1_500, || {
            let lane = Arc::new(Lane::bounded(None, 1));
            let senders: Vec<_> = [0, 10]
                .map(|first| {
                    let lane = lane.clone();
                    shuttle::future::spawn(async move {
                        let source = source(&Arc::default());
                        for number in first..first + 3 {
                            lane.wait_for_room().await;
                            lane.push([completion(&source, number)]);
                        }
                    })
                })
                .into();
            let taken = shuttle::future::block_on(async {
                let mut taken: Vec<u64> = Vec::new();
                while taken.len() < 6 {
                    let batch = lane.next_batch();
                    if batch.is_empty() {
                        lane.wake.notified().await;
                        continue;
                    }
                    shuttle::future::yield_now().await;
                    lane.done(batch.len());
                    let number =
                        |completion: &Completion| completion.label.id.as_ref().unwrap().as_str().parse::<u64>().ok();
                    taken.extend(batch.iter().filter_map(number));
                }
                for sender in senders {
                    sender.await.unwrap();
                }
                taken
            });
            let of = |first: u64| taken.iter().copied().filter(|n| *n / 10 == first).collect::<Vec<_>>();
            assert_eq!((of(0), of(1)), (vec![0, 1, 2], vec![10, 11, 12]), "in each one's order");
            assert_eq!((lane.pending(), lane.next_batch().len()), (0, 0));
        });
    }

    async fn completer() -> Completer {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let address = Address::parse("memory://").unwrap();
        let broker: SharedBroker =
            MemoryDriver::new().broker(address, DriverOptions::new(clock.clone())).await.unwrap();
        Completer::new(broker, Arc::default(), None, Faults::new(clock), None)
    }

    /// Slots submit and wait while the completer works, is asked to stop and is closed: each learns what became of its
    /// completion, and none is left.
    #[test]
    fn whoever_waits_for_a_completion_gets_an_answer_in_any_interleaving_with_a_stop() {
        model::check(1_500, || {
            shuttle::future::block_on(async {
                let (acker, completer) = (Arc::new(Slow::default()), completer().await);
                let source = source(&acker);
                let (stop, stopping) = stopping();
                let serving = {
                    let completer = completer.clone();
                    shuttle::future::spawn(async move {
                        completer.serve(stopping).await;
                        completer.close();
                    })
                };
                let waiting: Vec<_> = (1..=3)
                    .map(|number| {
                        let (completer, source) = (completer.clone(), source.clone());
                        shuttle::future::spawn(
                            async move { completer.submit_and_wait(completion(&source, number)).await },
                        )
                    })
                    .collect();
                completer.submit_all([completion(&source, 4), completion(&source, 5)]);
                shuttle::future::yield_now().await;
                stop.send_replace(true);
                let mut settled = 0;
                for waiting in waiting {
                    let status = waiting.await.unwrap();
                    assert_ne!(status, CompletionStatus::LeaseLost);
                    settled += usize::from(status == CompletionStatus::Settled);
                }
                serving.await.unwrap();
                let acked = acker.0.lock().unwrap().clone();
                assert_eq!(acked.iter().collect::<HashSet<_>>().len(), acked.len(), "each is acked once");
                assert_eq!(acked.len() + completer.unsettled().len(), 5, "each is settled, or named as unsettled");
                assert!(acked.len() >= settled && completer.pending() == 0);
            });
        });
    }
}
