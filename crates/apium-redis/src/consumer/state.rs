//! What one consumer holds: the deliveries that are out and not settled, and how many more it may take.
//!
//! In the server every delivery stands in kombu's `unacked` and `unacked_index` under a tag of this driver's making,
//! `apium.<consumer>.<number>`: so it is known whose it is without a further key. The number is the fence of the receipt.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_transport::broker::consumer::ConsumeSpec;
use apium_transport::broker::settlement::{Receipt, Tag};
use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::consumer::lost_replies::LostReplies;
use crate::keys::broker_keys::Keys;
use crate::keys::queue_list::QueueList;

/// A delivery that is out.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    pub(crate) tag: Arc<str>,
    pub(crate) queue_list: Arc<QueueList>,
    /// The envelope as it was taken.
    pub(crate) raw: Bytes,
    pub(crate) redelivered: bool,
    pub(crate) started: bool,
    /// A settlement of it was sent and not answered: it may be done.
    pub(crate) unanswered: bool,
    /// A settlement of it is on its way.
    pub(crate) settling: bool,
}

/// A consumer's place.
#[derive(Debug)]
pub(crate) struct ConsumerState {
    pub(crate) spec: ConsumeSpec,
    inner: Mutex<Inner>,
    /// Wakes who waits for room, or for the end.
    pub(crate) changed: Notify,
    /// Tells the attendant that others seem to take this consumer for dead.
    pub(crate) suspected: Notify,
    lifecycle: watch::Sender<Lifecycle>,
    lost_replies: Mutex<LostReplies>,
}

/// How a consumer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    Open,
    Closed,
}

#[derive(Debug)]
struct Inner {
    id: Arc<str>,
    in_flight: HashMap<u64, InFlight>,
    last_number: u64,
    prefetch: usize,
    /// Asked of the server and not answered.
    requested: usize,
    /// How many of the held are being settled.
    settling: usize,
    /// What was settled by calls that failed later, and will be asked for once more.
    settled: HashSet<u64>,
    queues: Vec<Arc<str>>,
}

/// Receipts that are this seat's, with what they name, and the others.
#[derive(Debug, Default)]
pub(crate) struct OwnedReceipts {
    pub(crate) owned: Vec<(u64, String, InFlight)>,
    pub(crate) lost: Vec<Receipt>,
    /// Settled before, by a call that failed later.
    pub(crate) settled_before: Vec<u64>,
}

impl ConsumerState {
    /// A seat with a new id.
    pub(crate) fn new(spec: ConsumeSpec) -> Self {
        let state = Inner {
            id: fresh_id(),
            in_flight: HashMap::new(),
            last_number: 0,
            prefetch: spec.prefetch,
            requested: 0,
            settling: 0,
            settled: HashSet::new(),
            queues: Vec::new(),
        };
        Self {
            spec,
            inner: Mutex::new(state),
            changed: Notify::new(),
            suspected: Notify::new(),
            lifecycle: watch::Sender::new(Lifecycle::Open),
            lost_replies: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn id(&self) -> Arc<str> {
        self.lock().id.clone()
    }

    /// What may have happened without an answer.
    pub(crate) fn lost_replies(&self) -> MutexGuard<'_, LostReplies> {
        self.lost_replies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No more: what is held is somebody else's from now on.
    pub(crate) fn close(&self) -> (Arc<str>, Vec<(u64, InFlight)>) {
        self.lifecycle.send_replace(Lifecycle::Closed);
        let mut state = self.lock();
        let (id, all) = (state.id.clone(), state.in_flight.drain().collect());
        state.settling = 0;
        state.settled.clear();
        drop(state);
        self.changed.notify_waiters();
        (id, all)
    }

    /// Ends when the consumer's id is not `id` any more.
    pub(crate) async fn wait_renamed(&self, id: &str) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if *self.id() != *id {
                return;
            }
            changed.await;
        }
    }

    /// Ends when the seat is closed.
    pub(crate) async fn wait_closed(&self) {
        let mut life = self.lifecycle.subscribe();
        // The sender lives in `self`.
        let _ = life.wait_for(|life| *life == Lifecycle::Closed).await;
    }

    /// The consumer was taken for dead: it goes on under a new id, and nothing that it held is its own.
    pub(crate) fn renew_id(&self, id: Arc<str>) -> usize {
        let mut state = self.lock();
        state.id = id;
        let lost = state.in_flight.len();
        state.in_flight.clear();
        state.settling = 0;
        state.settled.clear();
        drop(state);
        self.changed.notify_waiters();
        lost
    }

    /// How many more deliveries may be taken. Those whose settlement is on its way do not count: the server does it before a claim
    /// that is sent behind it.
    pub(crate) fn free_prefetch(&self) -> usize {
        let state = self.lock();
        match state.prefetch {
            0 => usize::MAX,
            prefetch => prefetch.saturating_sub(state.in_flight.len() + state.requested - state.settling),
        }
    }

    pub(crate) fn set_prefetch(&self, prefetch: usize) {
        self.lock().prefetch = prefetch;
        self.changed.notify_waiters();
    }

    pub(crate) fn set_queues(&self, queues: Vec<Arc<str>>) {
        self.lock().queues = queues;
    }

    pub(crate) fn queues(&self) -> Vec<Arc<str>> {
        self.lock().queues.clone()
    }

    /// Keeps `count` numbers, and as much room, for what will be taken. Their first, and who takes.
    pub(crate) fn reserve(&self, count: usize, now_micros: u64) -> (u64, Arc<str>) {
        let mut state = self.lock();
        // Later deliveries of a message have larger fences, also those of other workers: the numbers follow the clock.
        let first = (state.last_number + 1).max(now_micros);
        state.last_number = first + count as u64;
        state.requested += count;
        (first, state.id.clone())
    }

    /// One number for a delivery that this consumer makes itself, and who it is.
    pub(crate) fn next_number(&self, now_micros: u64) -> (u64, Arc<str>) {
        let mut state = self.lock();
        state.last_number = (state.last_number + 1).max(now_micros);
        (state.last_number, state.id.clone())
    }

    /// For how long a server may be held up and then do what it was asked for.
    pub(crate) fn lost_reply_window(&self) -> Duration {
        self.spec.lease.max(Duration::from_secs(30)) * 2
    }

    /// What was reserved came, or not.
    pub(crate) fn release(&self, count: usize) {
        self.lock().requested -= count;
        self.changed.notify_waiters();
    }

    /// Enters what was taken by `id`; gives it back when that is not this consumer's id any more.
    pub(crate) fn add_in_flight(&self, id: &str, taken: Vec<(u64, InFlight)>) -> Result<(), Vec<(u64, InFlight)>> {
        let mut state = self.lock();
        if &*state.id != id || *self.lifecycle.borrow() != Lifecycle::Open {
            return Err(taken);
        }
        state.in_flight.extend(taken);
        Ok(())
    }

    /// Looks receipts up; one that stands twice is lost the second time.
    pub(crate) fn look_up(&self, receipts: impl IntoIterator<Item = Receipt>) -> OwnedReceipts {
        let state = self.lock();
        let mut seen = HashSet::new();
        let mut sorted = OwnedReceipts::default();
        for receipt in receipts {
            let held = state
                .in_flight
                .get(&receipt.fence)
                .filter(|held| matches!(&receipt.tag, Tag::Text(tag) if *tag == held.tag));
            match held {
                Some(held) if seen.insert(receipt.fence) => {
                    sorted.owned.push((receipt.fence, server_tag(&state.id, receipt.fence), held.clone()));
                }
                None if state.settled.contains(&receipt.fence) && seen.insert(receipt.fence) => {
                    sorted.settled_before.push(receipt.fence);
                }
                _ => sorted.lost.push(receipt),
            }
        }
        sorted
    }

    /// Settlements of these are on their way, or not any more.
    pub(crate) fn set_settling(&self, numbers: impl IntoIterator<Item = u64>, settling: bool) {
        let mut state = self.lock();
        for number in numbers {
            let Some(held) = state.in_flight.get_mut(&number).filter(|held| held.settling != settling) else {
                continue;
            };
            held.settling = settling;
            state.settling = if settling { state.settling + 1 } else { state.settling - 1 };
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// These are settled.
    pub(crate) fn remove(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut state = self.lock();
        for number in numbers {
            state.remove(number);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// These were settled by a call that has failed: whoever tries it again does not lose them.
    pub(crate) fn remember_settled(&self, numbers: impl IntoIterator<Item = u64>) {
        self.lock().settled.extend(numbers);
    }

    /// Nobody will ask for these once more.
    pub(crate) fn forget_settled(&self, numbers: &[u64]) {
        if !numbers.is_empty() {
            let mut state = self.lock();
            numbers.iter().for_each(|number| _ = state.settled.remove(number));
        }
    }

    /// Others have taken these; answers how many of them were held, and not being settled just now.
    pub(crate) fn drop_lost(&self, numbers: &[u64]) -> usize {
        let mut state = self.lock();
        let gone = |number: &&u64| state.in_flight.get(number).is_some_and(|held| !held.settling);
        let gone: Vec<u64> = numbers.iter().filter(gone).copied().collect();
        let lost = gone.len();
        for number in gone {
            state.remove(number);
        }
        drop(state);
        self.changed.notify_waiters();
        lost
    }

    /// Whether these are settled is not known.
    pub(crate) fn mark_unanswered(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut state = self.lock();
        for number in numbers {
            if let Some(held) = state.in_flight.get_mut(&number) {
                held.unanswered = true;
            }
        }
    }

    /// Runs of these have begun.
    pub(crate) fn mark_started(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut state = self.lock();
        for number in numbers {
            if let Some(held) = state.in_flight.get_mut(&number) {
                held.started = true;
            }
        }
    }

    /// Everything that is held: number, tag in the server, whether its run has begun.
    pub(crate) fn in_flight(&self) -> Vec<(u64, String, bool)> {
        let state = self.lock();
        state.in_flight.iter().map(|(number, held)| (*number, server_tag(&state.id, *number), held.started)).collect()
    }

    /// The receipt of a delivery.
    pub(crate) fn receipt(number: u64, held: &InFlight) -> Receipt {
        Receipt::new(Tag::Text(held.tag.clone()), number)
    }
}

impl Inner {
    /// A delivery is out no more.
    fn remove(&mut self, number: u64) {
        if self.in_flight.remove(&number).is_some_and(|held| held.settling) {
            self.settling -= 1;
        }
    }
}

/// An id for a consumer.
pub(crate) fn fresh_id() -> Arc<str> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    id[..16].into()
}

/// The tag of a delivery in the server.
pub(crate) fn server_tag(id: &str, number: u64) -> String {
    format!("{}{number}", Keys::tag_prefix(id))
}
