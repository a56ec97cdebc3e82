//! A consumer's place in its process: what it reads, what it holds, and how it is woken.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_transport::broker::consumer::ConsumeSpec;
use apium_transport::broker::settlement::{Receipt, Tag};
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::consumer::lock_file::Mark;
use crate::store::topology::QueueRow;

/// A consumer's place.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) id: i64,
    pub(crate) node: String,
    pub(crate) lease: Duration,
    pub(crate) max_crashes: u32,
    /// Wakes its `next`: there may be something to claim, or room, or an end.
    pub(crate) notify: Notify,
    mark: Mark,
    prefetch: AtomicUsize,
    left: AtomicBool,
    renewed_at: Mutex<Timestamp>,
    queues: Mutex<Vec<Arc<QueueRow>>>,
    held: Mutex<HashMap<u64, Held>>,
}

/// A delivery that is not settled.
#[derive(Debug, Clone, Copy)]
struct Held {
    fence: u64,
    /// Where it stands in the mark, once a run of it began.
    slot: Option<usize>,
}

impl Seat {
    pub(crate) fn new(id: i64, spec: ConsumeSpec, queues: Vec<Arc<QueueRow>>, mark: Mark, now: Timestamp) -> Self {
        Self {
            id,
            node: spec.node,
            lease: spec.lease,
            max_crashes: spec.max_crashes,
            notify: Notify::new(),
            mark,
            prefetch: AtomicUsize::new(spec.prefetch),
            left: AtomicBool::new(false),
            renewed_at: Mutex::new(now),
            queues: Mutex::new(queues),
            held: Mutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<u64, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_queues(&self) -> MutexGuard<'_, Vec<Arc<QueueRow>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queues, beginning with the one whose turn it is.
    pub(crate) fn queues_in_turn(&self) -> Vec<Arc<QueueRow>> {
        let mut queues = self.own_queues();
        if queues.len() > 1 {
            queues.rotate_left(1);
        }
        queues.clone()
    }

    /// The queues.
    pub(crate) fn queues(&self) -> Vec<Arc<QueueRow>> {
        self.own_queues().clone()
    }

    /// Adds a queue; says whether it is new.
    pub(crate) fn add_queue(&self, queue: Arc<QueueRow>) -> bool {
        let mut queues = self.own_queues();
        let new = queues.iter().all(|own| own.id != queue.id);
        if new {
            queues.push(queue);
        }
        new
    }

    /// Takes a queue away.
    pub(crate) fn remove_queue(&self, name: &str) -> Option<Arc<QueueRow>> {
        let mut queues = self.own_queues();
        let at = queues.iter().position(|own| &*own.name == name)?;
        Some(queues.remove(at))
    }

    /// Whether it reads one of these queues.
    pub(crate) fn reads_any(&self, ids: &[i64]) -> bool {
        self.own_queues().iter().any(|queue| ids.contains(&queue.id))
    }

    /// How many more deliveries it may hold.
    pub(crate) fn room(&self) -> usize {
        match self.prefetch.load(Ordering::Acquire) {
            0 => usize::MAX,
            prefetch => prefetch.saturating_sub(self.held().len()),
        }
    }

    /// Sets how many deliveries it may hold.
    pub(crate) fn set_prefetch(&self, prefetch: usize) {
        self.prefetch.store(prefetch, Ordering::Release);
        self.notify.notify_one();
    }

    /// Notes deliveries (id and fence) that were claimed for it.
    pub(crate) fn hold(&self, deliveries: impl Iterator<Item = (u64, u64)>) {
        let mut held = self.held();
        held.extend(deliveries.map(|(id, fence)| (id, Held { fence, slot: None })));
    }

    /// Notes that deliveries were settled, or turned out to be lost.
    pub(crate) fn release<'r>(&self, receipts: impl Iterator<Item = &'r Receipt>) {
        let mut ended = Vec::new();
        {
            let mut held = self.held();
            for receipt in receipts {
                if let Tag::Number(id) = receipt.tag
                    && held.get(&id).is_some_and(|own| own.fence == receipt.fence)
                    && let Some(Held { slot: Some(slot), .. }) = held.remove(&id)
                {
                    ended.push(slot);
                }
            }
        }
        if !ended.is_empty() {
            self.mark.end(ended.into_iter());
        }
        self.notify.notify_one();
    }

    /// Notes that runs of these begin; returns those it does not hold.
    pub(crate) fn begin(&self, receipts: &[Receipt]) -> io::Result<Vec<Receipt>> {
        let mut lost = Vec::new();
        let mut begun = Vec::with_capacity(receipts.len());
        let mut held = self.held();
        for receipt in receipts {
            match receipt.tag {
                Tag::Number(id) if held.get(&id).is_some_and(|own| own.fence == receipt.fence) => {
                    if held.get(&id).is_some_and(|own| own.slot.is_none()) {
                        begun.push((id, receipt.fence));
                    }
                }
                _ => lost.push(receipt.clone()),
            }
        }
        let slots = self.mark.begin(&begun)?;
        for ((id, _), slot) in begun.into_iter().zip(slots) {
            if let Some(own) = held.get_mut(&id) {
                own.slot = Some(slot);
            }
        }
        Ok(lost)
    }

    /// The ids and fences of the deliveries whose runs have begun.
    pub(crate) fn begun(&self) -> Vec<(i64, i64)> {
        let held = self.held();
        let begun = held.iter().filter(|(_, own)| own.slot.is_some());
        begun.map(|(id, own)| (id.cast_signed(), own.fence.cast_signed())).collect()
    }

    /// Leaves for good; says whether it had not before.
    pub(crate) fn leave(&self) -> bool {
        let first = !self.left.swap(true, Ordering::AcqRel);
        self.notify.notify_one();
        first
    }

    /// Whether it left.
    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// When its lease was renewed.
    pub(crate) fn renewed_at(&self) -> Timestamp {
        *self.renewed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes when its lease is renewed.
    pub(crate) fn set_renewed_at(&self, at: Timestamp) {
        *self.renewed_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Removes its mark of life; its row is gone.
    pub(crate) fn remove_mark(&self) {
        self.mark.remove();
    }
}
