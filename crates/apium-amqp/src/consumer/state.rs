//! What a consumer has in flight. A delivery belongs to the channel it came by; when that is lost, the server delivers
//! the message again, and if it comes to this consumer, the run that goes on here takes the new delivery over.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use apium_transport::broker::settlement::Receipt;
use bytes::Bytes;
use lapin::BasicProperties;

use crate::connection::live_channel::LiveChannel;
use crate::consumer::late_settlements::{LateSettlements, MessageKey, OneMessage, Settled};
use crate::consumer::mark_ledger::MarkedRun;

/// How long after a channel was opened its messages may be those that were settled before the cut. The server delivers
/// them first. Later, one that came again may be another one of the same task, as after a replay.
const AFTER_CUT: Duration = Duration::from_secs(60);

/// A message as it came, to be sent on.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
}

/// A delivery that was handed out and is not settled.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    /// Its delivery tag on the present channel; `None` while the server has taken it back.
    pub(crate) tag: Option<u64>,
    message: Option<OneMessage>,
    pub(crate) queue: Arc<str>,
    pub(crate) carried: Arc<Carried>,
    redelivered: bool,
    /// How many crashes its message had when it came.
    pub(crate) crashes: u32,
    /// Whether its run was marked as started.
    started: bool,
}

/// A message that came.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Its delivery tag on the present channel.
    pub(crate) tag: u64,
    /// The fence of its receipt, if it is handed out.
    pub(crate) fence: u64,
    pub(crate) redelivered: bool,
    pub(crate) crashes: u32,
    pub(crate) message: Option<OneMessage>,
    pub(crate) queue: Arc<str>,
    pub(crate) carried: Arc<Carried>,
}

/// What becomes of a message that comes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is handed out.
    New,
    /// A run that goes on here took it over. If that was marked as started, its mark is lost.
    Attached(Option<MarkedRun>),
    /// It was settled here already.
    Settled(Settled),
}

/// What a consumer has in flight, shared with its acker.
#[derive(Debug, Default)]
pub(crate) struct ConsumerState(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Counts the channels. What belongs to an earlier one is void.
    epoch: u64,
    channel: Option<LiveChannel>,
    opened: Option<Instant>,
    /// The delivery tags of the present channel that are not settled, also of what is not handed out.
    outstanding: BTreeSet<u64>,
    /// By the fence of the receipt.
    in_flight: HashMap<u64, InFlight>,
    /// The fences of runs whose delivery the server has taken back.
    orphans: HashMap<OneMessage, Vec<u64>>,
    late: LateSettlements,
    /// How many deliveries may be in flight; 0 is unlimited.
    prefetch: usize,
    waker: Option<Waker>,
}

/// What was taken to be settled.
#[derive(Debug, Default)]
pub(crate) struct ToSettle {
    /// The channel, and the tags on it.
    pub(crate) channel: Option<LiveChannel>,
    pub(crate) tags: Vec<u64>,
    /// Receipts that are void.
    pub(crate) lost: Vec<Receipt>,
    /// Those of them that had crashes.
    pub(crate) crashed: HashSet<MessageKey>,
}

/// What was taken to be marked as started.
#[derive(Debug, Default)]
pub(crate) struct ToMark {
    pub(crate) runs: Vec<MarkedRun>,
    /// Whether one of them has come again.
    pub(crate) redelivered: bool,
    /// Receipts that are void.
    pub(crate) lost: Vec<Receipt>,
}

impl ConsumerState {
    pub(crate) fn new(prefetch: usize) -> Self {
        Self(Mutex::new(Inner { prefetch, ..Inner::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channel is lost. What was in flight on it waits for the message to come again.
    pub(crate) fn lose_channel(&self) {
        let inner = &mut *self.lock();
        inner.epoch += 1;
        inner.channel = None;
        inner.opened = None;
        inner.outstanding.clear();
        let Inner { in_flight, orphans, .. } = inner;
        // A message without an id cannot be recognised: its next delivery is a new run.
        in_flight.retain(|fence, delivery| {
            if delivery.tag.take().is_some()
                && let Some(message) = &delivery.message
            {
                orphans.entry(message.clone()).or_default().push(*fence);
            }
            delivery.message.is_some()
        });
    }

    /// A channel was opened.
    pub(crate) fn set_channel(&self, channel: LiveChannel) {
        let mut inner = self.lock();
        inner.channel = Some(channel);
        inner.opened.get_or_insert_with(Instant::now);
    }

    /// A message came by the present channel.
    pub(crate) fn received(&self, tag: u64) {
        self.lock().outstanding.insert(tag);
    }

    /// What becomes of a message that came.
    pub(crate) fn arrive(&self, incoming: Incoming) -> Arrival {
        let Incoming { tag, fence, redelivered, crashes, message, queue, carried } = incoming;
        let inner = &mut *self.lock();
        if let Some(message) = message.as_ref().filter(|_| redelivered) {
            if let Some(fences) = inner.orphans.get_mut(message) {
                let orphan = fences.pop();
                if fences.is_empty() {
                    inner.orphans.remove(message);
                }
                if let Some(fence) = orphan
                    && let Some(delivery) = inner.in_flight.get_mut(&fence)
                {
                    delivery.tag = Some(tag);
                    return Arrival::Attached(delivery.started.then(|| (fence, message.key.clone())));
                }
            }
            let is_soon = inner.opened.is_none_or(|opened| opened.elapsed() < AFTER_CUT);
            if let Some(settled) = inner.late.take(message, inner.epoch).filter(|_| is_soon) {
                return Arrival::Settled(settled);
            }
        }
        let delivery = InFlight { tag: Some(tag), message, queue, carried, redelivered, crashes, started: false };
        inner.in_flight.insert(fence, delivery);
        Arrival::New
    }

    /// How many more deliveries may be handed out.
    pub(crate) fn room(&self) -> usize {
        let inner = self.lock();
        match inner.prefetch {
            0 => usize::MAX,
            prefetch => prefetch.saturating_sub(inner.in_flight.len()),
        }
    }

    /// Wakes the waiting consumer when there may be room again.
    pub(crate) fn wake_with(&self, waker: &Waker) {
        self.lock().waker = Some(waker.clone());
    }

    pub(crate) fn set_prefetch(&self, prefetch: usize) {
        self.lock().prefetch = prefetch;
    }

    /// Looks at deliveries that are in flight, and leaves them there; and the receipts that are void.
    pub(crate) fn look<'a>(
        &self,
        receipts: impl Iterator<Item = &'a Receipt>,
    ) -> (Vec<(Receipt, InFlight)>, Vec<Receipt>) {
        let inner = self.lock();
        let (mut found, mut lost) = (Vec::new(), Vec::new());
        for receipt in receipts {
            match inner.in_flight.get(&receipt.fence) {
                Some(delivery) => found.push((receipt.clone(), delivery.clone())),
                None => lost.push(receipt.clone()),
            }
        }
        (found, lost)
    }

    /// Takes note that these runs are started; those of messages that can be recognised, to be marked.
    pub(crate) fn start(&self, receipts: &[Receipt]) -> ToMark {
        let mut inner = self.lock();
        let mut taken = ToMark::default();
        for receipt in receipts {
            let Some(delivery) = inner.in_flight.get_mut(&receipt.fence) else {
                taken.lost.push(receipt.clone());
                continue;
            };
            delivery.started = true;
            taken.redelivered |= delivery.redelivered;
            if let Some(message) = delivery.message.as_ref().filter(|_| delivery.tag.is_some()) {
                taken.runs.push((receipt.fence, message.key.clone()));
            }
        }
        taken
    }

    /// Takes note that no run counts as started.
    pub(crate) fn unstart_all(&self) {
        self.lock().in_flight.values_mut().for_each(|delivery| delivery.started = false);
    }

    /// Takes deliveries that are settled in this way. Those that the server has taken back are settled when they come
    /// again.
    pub(crate) fn take(&self, receipts: &[Receipt], settled: Option<Settled>) -> ToSettle {
        let inner = &mut *self.lock();
        let mut taken = ToSettle { channel: inner.channel.clone(), ..ToSettle::default() };
        for receipt in receipts {
            let Some(delivery) = inner.in_flight.remove(&receipt.fence) else {
                taken.lost.push(receipt.clone());
                continue;
            };
            if delivery.tag.is_none()
                && let Some(message) = &delivery.message
                && let Some(fences) = inner.orphans.get_mut(message)
            {
                fences.retain(|fence| *fence != receipt.fence);
                if fences.is_empty() {
                    inner.orphans.remove(message);
                }
            }
            taken.tags.extend(delivery.tag);
            if let Some(message) = delivery.message.as_ref().filter(|_| delivery.crashes > 0) {
                taken.crashed.insert(message.key.clone());
            }
            if let (Some(message), Some(settled)) = (delivery.message, settled) {
                // An orphan counts as settled in an earlier epoch, and so does one whose ack may still be lost.
                let epoch = if delivery.tag.is_none() { inner.epoch.saturating_sub(1) } else { inner.epoch };
                inner.late.add(message, epoch, settled);
            }
        }
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
        taken
    }

    /// Groups tags that are settled: each group is one command, which settles all up to its tag if it says so.
    pub(crate) fn group(&self, mut tags: Vec<u64>) -> Vec<(u64, bool)> {
        tags.sort_unstable();
        let outstanding = &mut self.lock().outstanding;
        // The first tags of all that are outstanding are settled by one command.
        let run = outstanding.iter().zip(&tags).take_while(|(outstanding, tag)| outstanding == tag).count();
        let (first, others) = tags.split_at(run);
        let mut groups: Vec<(u64, bool)> = first.last().map(|last| (*last, run > 1)).into_iter().collect();
        groups.extend(others.iter().filter(|tag| outstanding.contains(tag)).map(|tag| (*tag, false)));
        for tag in &tags {
            outstanding.remove(tag);
        }
        groups
    }

    /// The consumer is gone: all its receipts are void.
    pub(crate) fn close(&self) {
        let inner = &mut *self.lock();
        *inner = Inner { epoch: inner.epoch + 1, ..Inner::default() };
    }

    /// How many deliveries are in flight.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().in_flight.len()
    }
}

#[cfg(test)]
mod tests {
    use apium_protocol::message::message::Message;
    use apium_transport::broker::settlement::Tag;

    use super::*;

    fn key(id: &str) -> Option<MessageKey> {
        let mut message = Message::default();
        message.headers.id = Some(id.into());
        MessageKey::of(&"q".into(), &message)
    }

    fn arrive(state: &ConsumerState, tag: u64, fence: u64, redelivered: bool, id: &str) -> Arrival {
        arrive_by(state, tag, fence, redelivered, one(id, 0))
    }

    fn one(id: &str, copy: i64) -> Option<OneMessage> {
        key(id).map(|key| OneMessage::new(key, copy))
    }

    fn arrive_by(
        state: &ConsumerState,
        tag: u64,
        fence: u64,
        redelivered: bool,
        message: Option<OneMessage>,
    ) -> Arrival {
        let carried = Arc::new(Carried { properties: BasicProperties::default(), body: Bytes::new() });
        state.received(tag);
        state.arrive(Incoming { tag, fence, redelivered, crashes: 0, message, queue: "q".into(), carried })
    }

    fn receipt(fence: u64) -> Receipt {
        Receipt::new(Tag::Number(1), fence)
    }

    #[test]
    fn a_message_that_comes_again_goes_to_the_run_that_goes_on() {
        let state = ConsumerState::new(0);
        assert_eq!(arrive(&state, 1, 100, false, "a"), Arrival::New);
        state.lose_channel();
        assert_eq!(arrive(&state, 1, 101, true, "a"), Arrival::Attached(None));
        let taken = state.take(&[receipt(100)], Some(Settled::Acked));
        assert_eq!((taken.tags, taken.lost.len()), (vec![1], 0));
        assert_eq!(state.len(), 0);
    }

    #[test]
    fn a_run_that_goes_on_is_marked_again() {
        let state = ConsumerState::new(0);
        arrive(&state, 1, 100, false, "a");
        let taken = state.start(&[receipt(100), receipt(7)]);
        assert_eq!((taken.runs, taken.lost), (vec![(100, key("a").unwrap())], vec![receipt(7)]));
        state.lose_channel();
        assert_eq!(state.start(&[receipt(100)]).runs, [], "the server has taken it back");
        let arrival = arrive(&state, 1, 101, true, "a");
        assert_eq!(arrival, Arrival::Attached(Some((100, key("a").unwrap()))));
    }

    #[test]
    fn what_was_settled_meanwhile_is_settled_when_it_comes() {
        let state = ConsumerState::new(0);
        assert_eq!(arrive(&state, 1, 100, false, "a"), Arrival::New);
        state.lose_channel();
        let taken = state.take(&[receipt(100)], Some(Settled::Acked));
        assert_eq!((taken.tags.len(), taken.lost.len()), (0, 0));
        assert_eq!(arrive(&state, 1, 101, true, "a"), Arrival::Settled(Settled::Acked));
        assert_eq!(arrive(&state, 2, 102, true, "a"), Arrival::New, "another message of the same task");
    }

    #[test]
    fn an_ack_that_may_be_lost_is_sent_again() {
        let state = ConsumerState::new(0);
        assert_eq!(arrive(&state, 1, 100, false, "a"), Arrival::New);
        state.take(&[receipt(100)], Some(Settled::Acked));
        assert_eq!(arrive(&state, 2, 101, true, "a"), Arrival::New, "the channel is the same: it was requeued by hand");
        state.take(&[receipt(101)], None);
        state.lose_channel();
        assert_eq!(arrive(&state, 1, 102, true, "a"), Arrival::Settled(Settled::Acked));
    }

    #[test]
    fn what_took_the_place_of_a_message_is_run_though_that_one_was_settled() {
        let state = ConsumerState::new(0);
        // One waits in the queues of delays, and its ack may be lost. The other waits there, and is not settled yet.
        arrive(&state, 1, 100, false, "a");
        arrive(&state, 2, 101, false, "b");
        state.take(&[receipt(100)], Some(Settled::Acked));
        state.lose_channel();
        // They come from there by way of another worker, which died.
        assert_eq!(arrive_by(&state, 1, 102, true, one("a", 7)), Arrival::New);
        assert_eq!(arrive_by(&state, 2, 103, true, one("b", 8)), Arrival::New);
        assert_eq!(arrive(&state, 3, 104, true, "a"), Arrival::Settled(Settled::Acked));
        assert_eq!(arrive(&state, 4, 105, true, "b"), Arrival::Attached(None));
    }

    #[test]
    fn a_message_without_an_id_is_a_new_run() {
        let state = ConsumerState::new(0);
        assert_eq!(arrive_by(&state, 1, 100, false, None), Arrival::New);
        state.lose_channel();
        assert_eq!(state.take(&[receipt(100)], Some(Settled::Acked)).lost, [receipt(100)]);
    }

    #[test]
    fn contiguous_tags_are_one_command() {
        let state = ConsumerState::new(0);
        (1..=6).for_each(|tag| state.received(tag));
        assert_eq!(state.group(vec![2, 1, 3, 5]), [(3, true), (5, false)]);
        assert_eq!(state.group(vec![6]), [(6, false)]);
        assert_eq!(state.group(vec![4]), [(4, false)]);
        assert_eq!(state.group(vec![4]), []);
    }

    #[test]
    fn the_prefetch_counts_what_is_in_flight() {
        let state = ConsumerState::new(2);
        arrive(&state, 1, 100, false, "a");
        assert_eq!(state.room(), 1);
        arrive(&state, 2, 101, false, "b");
        assert_eq!(state.room(), 0);
        state.take(&[receipt(100)], Some(Settled::Acked));
        assert_eq!(state.room(), 1);
        state.set_prefetch(0);
        assert_eq!(state.room(), usize::MAX);
    }
}
