//! What a consumer knows in its process: the queues it reads, its in-flight deliveries, and how it is woken.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_transport::broker::consumer::ConsumeSpec;
use apium_transport::broker::settlement::{Receipt, Tag};
use apium_transport::clock::Moment;
use tokio::sync::Notify;

use crate::consumer::lock_file::LockFile;
use crate::store::topology::QueueRow;

/// The state of a consumer, shared by the consumer, its acker and the maintenance thread.
#[derive(Debug)]
pub(crate) struct ConsumerState {
    pub(crate) id: i64,
    pub(crate) node: String,
    pub(crate) lease: Duration,
    /// Wakes its `next`: there may be messages to claim or free prefetch, or the consumer was closed.
    pub(crate) notify: Notify,
    lock_file: LockFile,
    prefetch: AtomicUsize,
    closed: AtomicBool,
    renewed_at: Mutex<Moment>,
    queues: Mutex<Vec<Arc<QueueRow>>>,
    in_flight: Mutex<HashMap<u64, InFlight>>,
}

/// A delivery that is not settled.
#[derive(Debug, Clone, Copy)]
struct InFlight {
    fence: u64,
    /// Its slot in the lock file, once a run of it has started.
    slot: Option<usize>,
}

impl ConsumerState {
    pub(crate) fn new(
        id: i64,
        spec: ConsumeSpec,
        queues: Vec<Arc<QueueRow>>,
        lock_file: LockFile,
        now: Moment,
    ) -> Self {
        Self {
            id,
            node: spec.node,
            lease: spec.lease,
            notify: Notify::new(),
            lock_file,
            prefetch: AtomicUsize::new(spec.prefetch),
            closed: AtomicBool::new(false),
            renewed_at: Mutex::new(now),
            queues: Mutex::new(queues),
            in_flight: Mutex::default(),
        }
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<u64, InFlight>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_queues(&self) -> MutexGuard<'_, Vec<Arc<QueueRow>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queues, in the order of the next claim: each claim begins with another queue.
    pub(crate) fn queues_in_turn(&self) -> Vec<Arc<QueueRow>> {
        let mut queues = self.lock_queues();
        if queues.len() > 1 {
            queues.rotate_left(1);
        }
        queues.clone()
    }

    /// The queues, without a change of their order.
    pub(crate) fn queues(&self) -> Vec<Arc<QueueRow>> {
        self.lock_queues().clone()
    }

    /// Adds a queue. Returns whether it is new.
    pub(crate) fn add_queue(&self, queue: Arc<QueueRow>) -> bool {
        let mut queues = self.lock_queues();
        let new = queues.iter().all(|own| own.id != queue.id);
        if new {
            queues.push(queue);
        }
        new
    }

    /// Removes a queue and returns it, if it was there.
    pub(crate) fn remove_queue(&self, name: &str) -> Option<Arc<QueueRow>> {
        let mut queues = self.lock_queues();
        let at = queues.iter().position(|own| &*own.name == name)?;
        Some(queues.remove(at))
    }

    /// Whether the consumer reads one of these queues.
    pub(crate) fn reads_any(&self, ids: &[i64]) -> bool {
        self.lock_queues().iter().any(|queue| ids.contains(&queue.id))
    }

    /// How many more deliveries it may have in flight.
    pub(crate) fn free_prefetch(&self) -> usize {
        match self.prefetch.load(Ordering::Acquire) {
            0 => usize::MAX,
            prefetch => prefetch.saturating_sub(self.in_flight().len()),
        }
    }

    /// Sets how many deliveries it may have in flight; 0 is no bound.
    pub(crate) fn set_prefetch(&self, prefetch: usize) {
        self.prefetch.store(prefetch, Ordering::Release);
        self.notify.notify_one();
    }

    /// Adds deliveries (message id and fence) that were claimed for it.
    pub(crate) fn add_in_flight(&self, deliveries: impl Iterator<Item = (u64, u64)>) {
        let mut in_flight = self.in_flight();
        in_flight.extend(deliveries.map(|(id, fence)| (id, InFlight { fence, slot: None })));
    }

    /// Removes deliveries that were settled or turned out to be lost.
    pub(crate) fn remove_in_flight<'r>(&self, receipts: impl Iterator<Item = &'r Receipt>) {
        let mut slots = Vec::new();
        {
            let mut in_flight = self.in_flight();
            for receipt in receipts {
                if let Tag::Number(id) = receipt.tag
                    && in_flight.get(&id).is_some_and(|own| own.fence == receipt.fence)
                    && let Some(InFlight { slot: Some(slot), .. }) = in_flight.remove(&id)
                {
                    slots.push(slot);
                }
            }
        }
        if !slots.is_empty() {
            self.lock_file.free_slots(slots.into_iter());
        }
        self.notify.notify_one();
    }

    /// Writes to the lock file that runs of these deliveries start. Returns those that are not in flight.
    pub(crate) fn mark_started(&self, receipts: &[Receipt]) -> io::Result<Vec<Receipt>> {
        let mut lost = Vec::new();
        let mut started = Vec::with_capacity(receipts.len());
        let mut in_flight = self.in_flight();
        for receipt in receipts {
            match receipt.tag {
                Tag::Number(id) if in_flight.get(&id).is_some_and(|own| own.fence == receipt.fence) => {
                    if in_flight.get(&id).is_some_and(|own| own.slot.is_none()) {
                        started.push((id, receipt.fence));
                    }
                }
                _ => lost.push(receipt.clone()),
            }
        }
        let slots = self.lock_file.add_started(&started)?;
        for ((id, _), slot) in started.into_iter().zip(slots) {
            if let Some(own) = in_flight.get_mut(&id) {
                own.slot = Some(slot);
            }
        }
        Ok(lost)
    }

    /// Takes back what the lock file says of started runs.
    pub(crate) fn unmark_all(&self) -> io::Result<()> {
        let mut in_flight = self.in_flight();
        let slots: Vec<usize> = in_flight.values_mut().filter_map(|own| own.slot.take()).collect();
        self.lock_file.remove_started(slots)
    }

    /// The message ids and fences of the deliveries whose runs have started.
    pub(crate) fn started(&self) -> Vec<(i64, i64)> {
        let in_flight = self.in_flight();
        let started = in_flight.iter().filter(|(_, own)| own.slot.is_some());
        started.map(|(id, own)| (id.cast_signed(), own.fence.cast_signed())).collect()
    }

    /// Closes the consumer for good. Returns whether it was open.
    pub(crate) fn close(&self) -> bool {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        self.notify.notify_one();
        first
    }

    /// Whether the consumer was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// When its lease was renewed last.
    pub(crate) fn renewed_at(&self) -> Moment {
        *self.renewed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets when its lease was renewed last.
    pub(crate) fn set_renewed_at(&self, at: Moment) {
        *self.renewed_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Removes its lock file. Its row must be deleted already.
    pub(crate) fn remove_lock_file(&self) {
        self.lock_file.remove();
    }
}
