//! The state of one consumer: its messages in flight, and how many more it may claim.
//!
//! In the server, each message in flight is in kombu's `unacked` and `unacked_index` under the tag
//! `apium.<consumer>.<number>`, which says whose it is without another key. The number is the fence of the receipt.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use apium_transport::broker::consumer::{ConsumeSpec, Delivery};
use apium_transport::broker::demand::{Demand, Wanted};
use apium_transport::broker::settlement::{Receipt, Tag};
use tokio::sync::{Notify, watch};

use crate::consumer::claim::{NextLimits, NextList, Reserved};
use crate::consumer::in_flight::{InFlight, server_tag};
use crate::consumer::lost_replies::LostReplies;

/// How many messages the claim of a settlement takes at most.
const MAX_NEXT: usize = 256;

/// The state of a consumer.
#[derive(Debug)]
pub(crate) struct ConsumerState {
    pub(crate) spec: ConsumeSpec,
    inner: Mutex<Inner>,
    /// Notified of each change: waiters look for free prefetch, a new id, or the end.
    pub(crate) changed: Notify,
    /// Notified when something was claimed.
    pub(crate) claimed: Notify,
    /// Tells the maintenance loop to send a heartbeat at once, since others seem to have taken this consumer for dead,
    /// since there are lost replies to look for, or since marks of started runs were taken back.
    pub(crate) suspected: Notify,
    /// How many consumers were registered when this one was.
    pub(crate) consumers: AtomicUsize,
    lifecycle: watch::Sender<Lifecycle>,
    lost_replies: Mutex<LostReplies>,
    demand: SetDemand,
    /// Held by whoever registers the consumer again.
    pub(crate) registering: tokio::sync::Mutex<()>,
}

/// The demand of the worker, once it is set.
#[derive(Default)]
struct SetDemand(OnceLock<Arc<dyn Demand>>);

impl fmt::Debug for SetDemand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SetDemand").field(&self.0.get().is_some()).finish()
    }
}

/// Whether a consumer is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    Open,
    Closed,
}

#[derive(Debug)]
struct Inner {
    id: Arc<str>,
    /// The id of the server's data when the consumer was registered.
    data_id: Arc<str>,
    in_flight: HashMap<u64, InFlight>,
    last_number: u64,
    prefetch: usize,
    /// How many messages were asked for, by claims without a reply yet.
    requested: usize,
    /// How many of those in flight are being settled.
    settling: usize,
    /// What was settled by calls that failed later. The callers will try again.
    settled: HashSet<u64>,
    queues: Vec<Arc<str>>,
    /// Deliveries that were claimed and not handed out, in order.
    buffer: VecDeque<Delivery>,
    next: NextClaims,
}

/// The claims of settlements: each takes what comes next.
#[derive(Debug, Default)]
struct NextClaims {
    /// Whether they may be made: from a call of `next` on, until a pause or a stop.
    is_open: bool,
    /// How many have no reply yet.
    running: usize,
    /// The lists of each queue, in the order of the steps.
    queues: Vec<Vec<NextList>>,
    /// Whether the queues take turns.
    rotates: bool,
}

/// Receipts, sorted by whose they are.
#[derive(Debug, Default)]
pub(crate) struct OwnedReceipts {
    /// Those of this consumer: number, tag in the server, and the message.
    pub(crate) owned: Vec<(u64, String, InFlight)>,
    /// Those that are not this consumer's, or not any more.
    pub(crate) lost: Vec<Receipt>,
    /// The numbers of those that were settled by a call that failed later.
    pub(crate) settled_before: Vec<u64>,
}

impl ConsumerState {
    /// The state of a new consumer, with a new id.
    pub(crate) fn new(spec: ConsumeSpec) -> Self {
        let inner = Inner {
            id: fresh_id(),
            data_id: "".into(),
            in_flight: HashMap::new(),
            last_number: 0,
            prefetch: spec.prefetch,
            requested: 0,
            settling: 0,
            settled: HashSet::new(),
            queues: Vec::new(),
            buffer: VecDeque::new(),
            next: NextClaims::default(),
        };
        Self {
            spec,
            inner: Mutex::new(inner),
            changed: Notify::new(),
            claimed: Notify::new(),
            suspected: Notify::new(),
            consumers: AtomicUsize::new(1),
            lifecycle: watch::Sender::new(Lifecycle::Open),
            lost_replies: Mutex::default(),
            demand: SetDemand::default(),
            registering: tokio::sync::Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, if `id` is still the consumer's id and it is open.
    fn lock_as(&self, id: &str) -> Option<MutexGuard<'_, Inner>> {
        let inner = self.lock();
        (&*inner.id == id && *self.lifecycle.borrow() == Lifecycle::Open).then_some(inner)
    }

    pub(crate) fn id(&self) -> Arc<str> {
        self.lock().id.clone()
    }

    /// The id of the server's data when the consumer was registered.
    pub(crate) fn data_id(&self) -> Arc<str> {
        self.lock().data_id.clone()
    }

    pub(crate) fn set_data_id(&self, data_id: Arc<str>) {
        self.lock().data_id = data_id;
    }

    /// The claims and waits without a reply.
    pub(crate) fn lost_replies(&self) -> MutexGuard<'_, LostReplies> {
        self.lost_replies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the consumer. Returns its id and what was in flight, for requeueing.
    pub(crate) fn close(&self) -> (Arc<str>, Vec<(u64, InFlight)>) {
        self.lifecycle.send_replace(Lifecycle::Closed);
        let mut inner = self.lock();
        let (id, all) = (inner.id.clone(), inner.in_flight.drain().collect());
        inner.settling = 0;
        inner.settled.clear();
        inner.buffer.clear();
        drop(inner);
        self.changed.notify_waiters();
        (id, all)
    }

    /// Returns when the consumer's id is not `id` any more.
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

    /// Returns when the consumer is closed.
    pub(crate) async fn wait_closed(&self) {
        let mut lifecycle = self.lifecycle.subscribe();
        // The sender lives in `self`.
        let _ = lifecycle.wait_for(|lifecycle| *lifecycle == Lifecycle::Closed).await;
    }

    /// The consumer was taken for dead: it gets a new id, and has nothing in flight any more. Returns how much it had.
    pub(crate) fn renew_id(&self, id: Arc<str>) -> usize {
        let mut inner = self.lock();
        inner.id = id;
        let lost = inner.in_flight.len();
        inner.in_flight.clear();
        inner.settling = 0;
        inner.settled.clear();
        inner.buffer.clear();
        drop(inner);
        self.changed.notify_waiters();
        lost
    }

    /// The server has lost its data: the consumer gets a new id, and keeps what it has in flight. Returns that, with
    /// the tags that it has from now on.
    pub(crate) fn move_to_id(&self, id: Arc<str>) -> Vec<(String, InFlight)> {
        let mut inner = self.lock();
        inner.id = id;
        let tagged = |(number, message): (&u64, &InFlight)| (server_tag(&inner.id, *number), message.clone());
        let in_flight = inner.in_flight.iter().map(tagged).collect();
        drop(inner);
        self.changed.notify_waiters();
        in_flight
    }

    /// Which of these are in flight here under another id than `id`.
    pub(crate) fn moved_from(&self, id: &str, numbers: impl IntoIterator<Item = u64>) -> HashSet<u64> {
        let inner = self.lock();
        if *inner.id == *id {
            return HashSet::new();
        }
        numbers.into_iter().filter(|number| inner.in_flight.contains_key(number)).collect()
    }

    /// How many more messages may be claimed. Those whose settlement is being sent do not count as in flight: the
    /// server does it before any claim that is sent later.
    pub(crate) fn free_prefetch(&self) -> usize {
        self.lock().free_prefetch()
    }

    pub(crate) fn set_prefetch(&self, prefetch: usize) {
        self.lock().prefetch = prefetch;
        self.changed.notify_waiters();
    }

    /// Sets whom to ask what is wanted. The first one stays.
    pub(crate) fn set_demand(&self, demand: Arc<dyn Demand>) {
        let _ = self.demand.0.set(demand);
    }

    /// What the worker wants; nothing if it does not say.
    pub(crate) fn wanted(&self) -> Wanted {
        self.demand.0.get().map(|demand| demand.wanted()).unwrap_or_default()
    }

    pub(crate) fn set_queues(&self, queues: Vec<Arc<str>>) {
        self.lock().queues = queues;
    }

    pub(crate) fn queues(&self) -> Vec<Arc<str>> {
        self.lock().queues.clone()
    }

    /// Reserves `count` numbers and as much prefetch for a claim. At most `marked` of its messages are marked as
    /// started, less what other claims may bring.
    pub(crate) fn reserve(&self, count: usize, marked: usize, now_micros: u64) -> Reserved {
        self.lock().reserve(count, marked, now_micros)
    }

    /// One number for a delivery that this consumer makes itself, and the consumer's id.
    pub(crate) fn next_number(&self, now_micros: u64) -> (u64, Arc<str>) {
        let mut inner = self.lock();
        inner.last_number = (inner.last_number + 1).max(now_micros);
        (inner.last_number, inner.id.clone())
    }

    /// For how long a server that is held up may still do what it was asked for.
    pub(crate) fn lost_reply_window(&self) -> Duration {
        self.spec.lease.max(Duration::from_secs(30)) * 2
    }

    /// Frees reserved prefetch when the claim has ended.
    pub(crate) fn release(&self, count: usize) {
        self.lock().requested -= count;
        self.changed.notify_waiters();
    }

    /// Adds what `id` has put in flight. Returns it if that is not this consumer's id any more, or if the consumer is
    /// closed.
    pub(crate) fn add_in_flight(&self, id: &str, claimed: Vec<(u64, InFlight)>) -> Result<(), Vec<(u64, InFlight)>> {
        let Some(mut inner) = self.lock_as(id) else { return Err(claimed) };
        inner.in_flight.extend(claimed);
        Ok(())
    }

    /// Adds what `id` claimed, as [`add_in_flight`](Self::add_in_flight) does, and what is handed out of it.
    pub(crate) fn add_claimed(
        &self,
        id: &str,
        claimed: Vec<(u64, InFlight)>,
        deliveries: Vec<Delivery>,
    ) -> Result<(), Vec<(u64, InFlight)>> {
        let Some(mut inner) = self.lock_as(id) else { return Err(claimed) };
        inner.in_flight.extend(claimed);
        inner.buffer.extend(deliveries);
        drop(inner);
        self.claimed.notify_one();
        Ok(())
    }

    /// Looks up receipts. One that is given twice is lost the second time.
    pub(crate) fn look_up(&self, receipts: impl IntoIterator<Item = Receipt>) -> OwnedReceipts {
        let inner = self.lock();
        let mut seen = HashSet::new();
        let mut sorted = OwnedReceipts::default();
        for receipt in receipts {
            let in_flight = inner
                .in_flight
                .get(&receipt.fence)
                .filter(|in_flight| matches!(&receipt.tag, Tag::Text(tag) if *tag == in_flight.tag));
            match in_flight {
                Some(in_flight) if seen.insert(receipt.fence) => {
                    sorted.owned.push((receipt.fence, server_tag(&inner.id, receipt.fence), in_flight.clone()));
                }
                None if inner.settled.contains(&receipt.fence) && seen.insert(receipt.fence) => {
                    sorted.settled_before.push(receipt.fence);
                }
                _ => sorted.lost.push(receipt),
            }
        }
        sorted
    }

    /// Settlements of these are being sent. With `next` it also reserves a claim for them; in one step, so that nobody
    /// else claims for the prefetch that becomes free.
    pub(crate) fn start_settling(
        &self,
        numbers: &[u64],
        next: Option<(NextLimits<'_>, u64)>,
    ) -> Option<(Reserved, Vec<NextList>)> {
        let mut inner = self.lock();
        inner.set_settling(numbers.iter().copied(), true);
        let is_open = *self.lifecycle.borrow() == Lifecycle::Open;
        let next = next.filter(|_| is_open).and_then(|(limits, now)| inner.reserve_next(&limits, now));
        drop(inner);
        self.changed.notify_waiters();
        next
    }

    /// Settlements of these are not being sent any more.
    pub(crate) fn end_settling(&self, numbers: &[u64]) {
        self.lock().set_settling(numbers.iter().copied(), false);
        self.changed.notify_waiters();
    }

    /// Sets the lists from which settlements claim: those of each queue, in the order of the steps.
    pub(crate) fn set_next_lists(&self, queues: Vec<Vec<NextList>>, rotates: bool) {
        let mut inner = self.lock();
        (inner.next.queues, inner.next.rotates) = (queues, rotates);
    }

    /// Takes at most `max` of the deliveries that are claimed and not handed out. Somebody wants them, so settlements
    /// may claim more.
    pub(crate) fn take_buffered(&self, max: usize) -> Vec<Delivery> {
        let mut inner = self.lock();
        inner.next.is_open = true;
        let count = inner.buffer.len().min(max);
        inner.buffer.drain(..count).collect()
    }

    /// All of them, each with what the consumer keeps of it, and the consumer's id.
    pub(crate) fn buffered(&self) -> (Arc<str>, Vec<(u64, InFlight)>) {
        let inner = self.lock();
        let number = |delivery: &Delivery| delivery.receipt.fence;
        let kept = |delivery| Some((number(delivery), inner.in_flight.get(&number(delivery))?.clone()));
        (inner.id.clone(), inner.buffer.iter().filter_map(kept).collect())
    }

    /// All of them are back in their lists.
    pub(crate) fn clear_buffer(&self) {
        let mut inner = self.lock();
        let buffered: Vec<u64> = inner.buffer.drain(..).map(|delivery| delivery.receipt.fence).collect();
        buffered.into_iter().for_each(|number| inner.remove(number));
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Lets settlements claim nothing more, until somebody asks for the next delivery.
    pub(crate) fn forbid_next_claims(&self) {
        self.lock().next.is_open = false;
    }

    /// Does that, and waits for the replies of those that have claimed.
    pub(crate) async fn stop_next_claims(&self) {
        self.forbid_next_claims();
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.has_next_claims() {
                return;
            }
            changed.await;
        }
    }

    /// Whether a settlement is on its way that claims something.
    pub(crate) fn has_next_claims(&self) -> bool {
        self.lock().next.running > 0
    }

    /// The claim of a settlement has ended: frees the prefetch that it had reserved.
    pub(crate) fn end_next_claim(&self, count: usize) {
        let mut inner = self.lock();
        inner.next.running -= 1;
        inner.requested -= count;
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Removes these: they are settled, or in flight at another consumer.
    pub(crate) fn remove(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut inner = self.lock();
        for number in numbers {
            inner.remove(number);
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Remembers that these were settled by a call that has failed, so that they are not lost for a second attempt.
    pub(crate) fn remember_settled(&self, numbers: impl IntoIterator<Item = u64>) {
        self.lock().settled.extend(numbers);
    }

    /// Forgets these, after the second attempt.
    pub(crate) fn forget_settled(&self, numbers: &[u64]) {
        if !numbers.is_empty() {
            let mut inner = self.lock();
            numbers.iter().for_each(|number| _ = inner.settled.remove(number));
        }
    }

    /// Removes those that others have reclaimed, except those that are being settled. Returns how many it removed.
    pub(crate) fn drop_lost(&self, numbers: &[u64]) -> usize {
        let mut inner = self.lock();
        let gone = |number: &&u64| inner.in_flight.get(number).is_some_and(|in_flight| !in_flight.settling);
        let gone: Vec<u64> = numbers.iter().filter(gone).copied().collect();
        let lost = gone.len();
        for number in gone {
            inner.remove(number);
        }
        drop(inner);
        self.changed.notify_waiters();
        lost
    }

    /// Marks these: a settlement got no reply.
    pub(crate) fn mark_unanswered(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut inner = self.lock();
        for number in numbers {
            if let Some(in_flight) = inner.in_flight.get_mut(&number) {
                in_flight.unanswered = true;
            }
        }
    }

    /// Marks these: their runs have started.
    pub(crate) fn mark_started(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut inner = self.lock();
        for number in numbers {
            if let Some(in_flight) = inner.in_flight.get_mut(&number) {
                (in_flight.started, in_flight.counts_crash) = (true, true);
            }
        }
    }

    /// Takes back the marks of these, whose runs do not begin now. The next heartbeat tells the server.
    pub(crate) fn unmark(&self, receipts: &[Receipt]) {
        let mut inner = self.lock();
        let mut changed = false;
        for receipt in receipts {
            if let Some(in_flight) = inner.in_flight.get_mut(&receipt.fence) {
                changed |= in_flight.counts_crash;
                (in_flight.started, in_flight.counts_crash) = (false, false);
            }
        }
        drop(inner);
        if changed {
            self.suspected.notify_one();
        }
    }

    /// Takes back the marks of all; returns the tags in the server of those that had one.
    pub(crate) fn unmark_all(&self) -> Vec<String> {
        let mut inner = self.lock();
        let id = inner.id.clone();
        let marked = inner.in_flight.iter_mut().filter(|(_, in_flight)| in_flight.counts_crash);
        let unmark = |(number, in_flight): (&u64, &mut InFlight)| {
            in_flight.counts_crash = false;
            server_tag(&id, *number)
        };
        marked.map(unmark).collect()
    }

    /// Everything in flight: number, tag in the server, whether its run counts as a crash if this process dies.
    pub(crate) fn in_flight(&self) -> Vec<(u64, String, bool)> {
        let inner = self.lock();
        inner
            .in_flight
            .iter()
            .map(|(number, in_flight)| (*number, server_tag(&inner.id, *number), in_flight.counts_crash))
            .collect()
    }

    /// The tags of a list made by [`in_flight`](Self::in_flight) of which it says what does not hold any more, each
    /// with whether its run counts now.
    pub(crate) fn marks_changed_since<'a>(&self, list: &'a [(u64, String, bool)]) -> Vec<(&'a str, bool)> {
        let inner = self.lock();
        let changed = |(number, tag, before): &'a (u64, String, bool)| {
            let now = inner.in_flight.get(number)?.counts_crash;
            (now != *before).then_some((tag.as_str(), now))
        };
        list.iter().filter_map(changed).collect()
    }

    /// The receipt of a message in flight.
    pub(crate) fn receipt(number: u64, in_flight: &InFlight) -> Receipt {
        Receipt::new(Tag::Text(in_flight.tag.clone()), number)
    }
}

impl Inner {
    fn free_prefetch(&self) -> usize {
        match self.prefetch {
            0 => usize::MAX,
            prefetch => prefetch.saturating_sub(self.in_flight.len() + self.requested - self.settling),
        }
    }

    /// How many messages are claimed and not handed out, or may be.
    fn on_the_way(&self) -> usize {
        self.requested + self.buffer.len()
    }

    /// Reserves a claim for a settlement, if it may claim anything. Returns the lists too, in their order.
    fn reserve_next(&mut self, limits: &NextLimits<'_>, now_micros: u64) -> Option<(Reserved, Vec<NextList>)> {
        let free = self.free_prefetch().min(limits.wanted.saturating_sub(self.on_the_way()));
        if !self.next.is_open || free == 0 {
            return None;
        }
        let steps = self.next.queues.iter().map(Vec::len).max().unwrap_or(0);
        let of_step = |step: usize| self.next.queues.iter().filter_map(move |lists| lists.get(step));
        let may_have_any =
            |list: &&NextList| !list.waited.is_running() || limits.published.contains(&list.queue_list.key.as_str());
        let lists: Vec<NextList> = (0..steps).flat_map(of_step).filter(may_have_any).cloned().collect();
        if lists.is_empty() {
            return None;
        }
        if self.next.rotates {
            self.next.queues.rotate_left(1);
        }
        self.next.running += 1;
        Some((self.reserve(free.min(MAX_NEXT), limits.marked, now_micros), lists))
    }

    fn set_settling(&mut self, numbers: impl IntoIterator<Item = u64>, settling: bool) {
        for number in numbers {
            let Some(in_flight) = self.in_flight.get_mut(&number).filter(|in_flight| in_flight.settling != settling)
            else {
                continue;
            };
            in_flight.settling = settling;
            self.settling = if settling { self.settling + 1 } else { self.settling - 1 };
        }
    }

    fn reserve(&mut self, wanted: usize, marked: usize, now_micros: u64) -> Reserved {
        // Numbers follow the clock, so that each later delivery of a message has a greater fence, at whichever worker.
        let first = (self.last_number + 1).max(now_micros);
        let begin = marked.saturating_sub(self.on_the_way()).min(wanted);
        self.last_number = first + wanted as u64;
        self.requested += wanted;
        Reserved { first, id: self.id.clone(), wanted, begin }
    }

    /// Removes a message from those in flight.
    fn remove(&mut self, number: u64) {
        if self.in_flight.remove(&number).is_some_and(|in_flight| in_flight.settling) {
            self.settling -= 1;
        }
    }
}

/// A new id for a consumer.
pub(crate) fn fresh_id() -> Arc<str> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    id[..16].into()
}
