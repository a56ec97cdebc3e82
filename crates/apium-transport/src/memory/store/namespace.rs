//! One namespace: everything behind its one lock, and what is done under it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;

use crate::broker::broker::BrokerCapabilities;
use crate::broker::consumer::Content;
use crate::broker::outgoing::Outgoing;
use crate::broker::settlement::{Acknowledgement, Disposition, Receipt, Tag};
use crate::clock::Clock;
use crate::error::Result;
use crate::memory::store::after_unlock::AfterUnlock;
use crate::memory::store::chords::Chords;
use crate::memory::store::consumer_state::{ConsumerState, InFlight};
use crate::memory::store::dead_letters::DeadLetters;
use crate::memory::store::mailboxes::MailboxState;
use crate::memory::store::queue::{Entry, StoredMessage, StoredQueue};
use crate::memory::store::records::StoredRecords;
use crate::memory::store::results::Results;
use crate::memory::store::routing::Exchanges;

/// A namespace of the memory driver.
#[derive(Debug)]
pub(crate) struct SharedNamespace {
    /// What follows `memory://`.
    pub(crate) name: String,
    pub(crate) clock: Clock,
    namespace: Mutex<Namespace>,
}

impl SharedNamespace {
    pub(crate) fn new(name: String, clock: Clock) -> Self {
        Self { name, clock, namespace: Mutex::new(Namespace::default()) }
    }

    /// Takes the lock. No code under it leaves half a change when it panics, so a poisoned lock can be used.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Namespace> {
        self.namespace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message that a consumer has claimed. It becomes a delivery without the lock.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) receipt: Receipt,
    pub(crate) redelivered: bool,
    pub(crate) crashes: u32,
    pub(crate) queue: Arc<str>,
    pub(crate) message: Arc<StoredMessage>,
}

/// The content of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Namespace {
    pub(crate) queues: HashMap<Arc<str>, StoredQueue>,
    pub(crate) exchanges: Exchanges,
    pub(crate) consumers: BTreeMap<u64, ConsumerState>,
    /// How many consumers wait.
    waiting: usize,
    /// The consumer that was woken last, so that another one is next.
    last_woken: u64,
    pub(crate) dead: DeadLetters,
    pub(crate) results: Results,
    pub(crate) chords: Chords,
    pub(crate) mailboxes: Vec<Arc<MailboxState>>,
    pub(crate) fleet: StoredRecords,
    /// The last number given to a message, an order or a consumer.
    next: u64,
}

/// A message with its route, made before the lock is taken.
#[derive(Debug)]
pub(crate) struct RoutedMessage {
    message: Arc<StoredMessage>,
    priority: u8,
    eta: Option<Timestamp>,
}

impl RoutedMessage {
    /// Exchange and routing key.
    pub(crate) fn route(&self) -> (&str, &str) {
        (&self.message.exchange, &self.message.routing_key)
    }
}

impl From<Outgoing> for RoutedMessage {
    fn from(out: Outgoing) -> Self {
        Self {
            priority: out.message.properties.priority.unwrap_or(BrokerCapabilities::MISSING_PRIORITY),
            eta: out.eta,
            message: Arc::new(StoredMessage {
                exchange: out.exchange,
                routing_key: out.routing_key,
                content: Content::Message(out.message),
            }),
        }
    }
}

impl Namespace {
    /// A number never given before.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Checks that every message, by exchange and routing key, can be routed, so that a batch is published whole or not
    /// at all.
    pub(crate) fn check_routes<'a>(&self, mut routes: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
        routes.try_for_each(|(exchange, key)| match exchange {
            "" => Ok(()),
            exchange => self.exchanges.route(exchange, key).map(drop),
        })
    }

    /// Publishes messages whose routes were checked by [`check_routes`](Self::check_routes).
    pub(crate) fn publish(
        &mut self,
        routed: Vec<RoutedMessage>,
        now: Timestamp,
        after_unlock: &mut AfterUnlock,
    ) -> Result<()> {
        let mut routed = routed.into_iter().peekable();
        while let Some(first) = routed.next() {
            if !first.message.exchange.is_empty() {
                for queue in self.exchanges.route(&first.message.exchange, &first.message.routing_key)? {
                    self.enqueue(&queue, [&first].into_iter(), now, after_unlock);
                }
                continue;
            }
            let mut same_queue = vec![first];
            let key = same_queue[0].message.routing_key.clone();
            while let Some(next) =
                routed.next_if(|next| next.message.exchange.is_empty() && next.message.routing_key == key)
            {
                same_queue.push(next);
            }
            self.enqueue(&key, same_queue.iter(), now, after_unlock);
        }
        Ok(())
    }

    /// Adds messages to one queue, which is created if missing.
    fn enqueue<'a>(
        &mut self,
        name: &Arc<str>,
        routed: impl Iterator<Item = &'a RoutedMessage>,
        now: Timestamp,
        after_unlock: &mut AfterUnlock,
    ) {
        let queue = self.queues.entry(name.clone()).or_default();
        let (before, mut new_first) = (queue.ready(), false);
        for RoutedMessage { message, priority, eta } in routed {
            self.next += 1;
            let entry = Entry {
                id: self.next,
                order: self.next,
                fence: 0,
                priority: (*priority).min(queue.max_priority.unwrap_or(u8::MAX)),
                redelivered: false,
                crashes: 0,
                queue: name.clone(),
                message: message.clone(),
            };
            match *eta {
                Some(due) if due > now => new_first |= queue.delay(due, entry),
                _ => queue.push(entry),
            }
        }
        let new = queue.ready() - before;
        self.wake(name, if new_first { usize::MAX } else { new }, after_unlock);
    }

    /// Adds bytes that are not a message to a queue.
    pub(crate) fn insert_unreadable(
        &mut self,
        queue: &str,
        raw: Bytes,
        reason: &str,
        now: Timestamp,
        after_unlock: &mut AfterUnlock,
    ) {
        let name: Arc<str> = queue.into();
        let content = Content::Unreadable { raw, reason: reason.to_owned() };
        let message = Arc::new(StoredMessage { exchange: "".into(), routing_key: name.clone(), content });
        self.enqueue(&name, [RoutedMessage { message, priority: 0, eta: None }].iter(), now, after_unlock);
    }

    /// Makes ready what is due, in every queue.
    pub(crate) fn promote_due(&mut self, now: Timestamp) {
        for queue in self.queues.values_mut() {
            queue.promote_due(now, &mut self.next);
        }
    }

    /// Puts a message on its queue again, or delays it until `due`.
    pub(crate) fn put(&mut self, entry: Entry, due: Option<Timestamp>, now: Timestamp, after_unlock: &mut AfterUnlock) {
        let name = entry.queue.clone();
        let queue = self.queues.entry(name.clone()).or_default();
        let wanted = match due {
            Some(due) if due > now => match queue.delay(due, entry) {
                true => usize::MAX,
                false => 0,
            },
            _ => {
                queue.push(entry);
                1
            }
        };
        self.wake(&name, wanted, after_unlock);
    }

    /// Wakes up to `wanted` consumers of `queue` that wait and whose prefetch has room, in turn.
    fn wake(&mut self, queue: &str, mut wanted: usize, after_unlock: &mut AfterUnlock) {
        if self.waiting == 0 {
            return;
        }
        let start = self.last_woken + 1;
        for range in [start..u64::MAX, 0..start] {
            for (id, consumer) in self.consumers.range_mut(range) {
                if wanted == 0 || self.waiting == 0 {
                    return;
                }
                if consumer.waiting && consumer.free_prefetch() > 0 && consumer.reads(queue) {
                    consumer.waiting = false;
                    self.waiting -= 1;
                    self.last_woken = *id;
                    wanted -= 1;
                    after_unlock.wakes.push(consumer.wake.clone());
                }
            }
        }
    }

    /// Wakes others for what is still ready in the queues of the consumer `id`.
    pub(crate) fn wake_another(&mut self, id: u64, after_unlock: &mut AfterUnlock) {
        if self.waiting == 0 {
            return;
        }
        let queues = self.consumers.get(&id).map(|consumer| consumer.queues.clone()).unwrap_or_default();
        for name in queues {
            if let Some(ready) = self.queues.get(&name).map(StoredQueue::ready).filter(|ready| *ready > 0) {
                self.wake(&name, ready, after_unlock);
            }
        }
    }

    /// Claims up to `max` messages for the consumer `id`, from its queues in turn.
    pub(crate) fn claim(&mut self, id: u64, max: usize, now: Timestamp) -> Vec<Claimed> {
        let Some(consumer) = self.consumers.get_mut(&id) else { return Vec::new() };
        if consumer.waiting {
            consumer.waiting = false;
            self.waiting -= 1;
        }
        let mut ready = 0;
        for name in &consumer.queues {
            if let Some(queue) = self.queues.get_mut(name) {
                queue.promote_due(now, &mut self.next);
                ready += queue.ready();
            }
        }
        let room = consumer.free_prefetch().min(max).min(ready);
        let mut claimed = Vec::with_capacity(room);
        if let [only] = &*consumer.queues
            && let Some(queue) = self.queues.get_mut(only)
        {
            claimed.extend(
                std::iter::from_fn(|| queue.pop())
                    .take(room)
                    .map(|entry| add_in_flight(&mut consumer.in_flight, entry)),
            );
            return claimed;
        }
        while claimed.len() < room {
            consumer.turn = (consumer.turn + 1) % consumer.queues.len();
            if let Some(entry) = self.queues.get_mut(&consumer.queues[consumer.turn]).and_then(StoredQueue::pop) {
                claimed.push(add_in_flight(&mut consumer.in_flight, entry));
            }
        }
        claimed
    }

    /// Marks the consumer as waiting; returns until when at most. Without room it waits for a settlement only.
    pub(crate) fn start_waiting(&mut self, id: u64) -> Option<Timestamp> {
        let consumer = self.consumers.get_mut(&id)?;
        consumer.waiting = true;
        self.waiting += 1;
        if consumer.free_prefetch() == 0 {
            return None;
        }
        consumer.queues.iter().filter_map(|name| self.queues.get(name)?.earliest()).min()
    }

    /// Ends a wait that was dropped. If the consumer was woken already, another one is woken instead.
    pub(crate) fn stop_waiting(&mut self, id: u64, after_unlock: &mut AfterUnlock) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if consumer.waiting {
            consumer.waiting = false;
            self.waiting -= 1;
        } else {
            self.wake_another(id, after_unlock);
        }
    }

    /// Wakes the consumer `id` if it waits, since its prefetch has room again.
    pub(crate) fn has_room_again(&mut self, id: u64, after_unlock: &mut AfterUnlock) {
        if let Some(consumer) = self.consumers.get_mut(&id)
            && consumer.waiting
            && consumer.free_prefetch() > 0
            && consumer.queues.iter().filter_map(|name| self.queues.get(name)).any(|q| q.ready() > 0 || q.delayed() > 0)
        {
            consumer.waiting = false;
            self.waiting -= 1;
            after_unlock.wakes.push(consumer.wake.clone());
        }
    }

    /// Wakes every waiting consumer for which `which` is true.
    pub(crate) fn wake_where(&mut self, which: impl Fn(&ConsumerState) -> bool, after_unlock: &mut AfterUnlock) {
        for consumer in self.consumers.values_mut().filter(|consumer| consumer.waiting && which(consumer)) {
            consumer.waiting = false;
            self.waiting -= 1;
            after_unlock.wakes.push(consumer.wake.clone());
        }
    }

    /// Whether the consumer `id` has this delivery in flight.
    pub(crate) fn has_in_flight(&self, id: u64, receipt: &Receipt) -> bool {
        self.consumers.get(&id).is_some_and(|consumer| in_flight(consumer, receipt).is_some())
    }

    /// Settles one delivery of the consumer `id`; returns whether it was in flight.
    pub(crate) fn settle(
        &mut self,
        id: u64,
        receipt: &Receipt,
        how: Acknowledgement,
        now: Timestamp,
        after_unlock: &mut AfterUnlock,
    ) -> bool {
        let Some(consumer) = self.consumers.get_mut(&id) else { return false };
        let Some(number) = in_flight(consumer, receipt) else { return false };
        let Some(InFlight { mut entry, .. }) = consumer.in_flight.remove(&number) else { return false };
        match how {
            Acknowledgement::Ack | Acknowledgement::Reject(Disposition::Discard) => after_unlock.dropped.push(entry),
            Acknowledgement::Reject(Disposition::Requeue) => {
                entry.redelivered = true;
                self.put(entry, None, now, after_unlock);
            }
            Acknowledgement::Reject(Disposition::Delay(due)) => self.put(entry, Some(due), now, after_unlock),
            Acknowledgement::Reject(Disposition::Dead(reason)) => self.dead.add(entry, reason, now),
        }
        true
    }

    /// Marks a delivery of the consumer `id` as started; returns whether it is in flight.
    pub(crate) fn mark_started(&mut self, id: u64, receipt: &Receipt) -> bool {
        let Some(consumer) = self.consumers.get_mut(&id) else { return false };
        let number = in_flight(consumer, receipt);
        match number.and_then(|number| consumer.in_flight.get_mut(&number)) {
            Some(in_flight) => {
                in_flight.started = true;
                true
            }
            None => false,
        }
    }

    /// Takes back the marks of all deliveries of the consumer `id`.
    pub(crate) fn unmark_all(&mut self, id: u64) {
        for in_flight in self.consumers.get_mut(&id).into_iter().flat_map(|consumer| consumer.in_flight.values_mut()) {
            in_flight.started = false;
        }
    }

    /// Removes a consumer and requeues what it has in flight. If it `died`, each started run counts a crash.
    pub(crate) fn leave(&mut self, id: u64, died: bool, now: Timestamp, after_unlock: &mut AfterUnlock) {
        let Some(consumer) = self.consumers.remove(&id) else { return };
        if consumer.waiting {
            self.waiting -= 1;
        }
        for InFlight { mut entry, started } in consumer.in_flight.into_values() {
            entry.redelivered = true;
            entry.crashes += u32::from(died && started);
            self.put(entry, None, now, after_unlock);
        }
    }
}

fn in_flight(consumer: &ConsumerState, receipt: &Receipt) -> Option<u64> {
    let Tag::Number(number) = receipt.tag else { return None };
    consumer.in_flight.get(&number).filter(|in_flight| in_flight.entry.fence == receipt.fence).map(|_| number)
}

fn add_in_flight<S: std::hash::BuildHasher>(all: &mut HashMap<u64, InFlight, S>, mut entry: Entry) -> Claimed {
    entry.fence += 1;
    let claimed = Claimed {
        receipt: Receipt { tag: Tag::Number(entry.id), fence: entry.fence },
        redelivered: entry.redelivered,
        crashes: entry.crashes,
        queue: entry.queue.clone(),
        message: entry.message.clone(),
    };
    all.insert(entry.id, InFlight { entry, started: false });
    claimed
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use apium_protocol::message::message::Message;

    use super::*;
    use crate::broker::consumer::ConsumeSpec;

    fn consumers(namespace: &mut Namespace, count: usize, prefetch: usize) -> Vec<u64> {
        let spec = ConsumeSpec {
            queues: vec!["q".to_owned()],
            node: "n".to_owned(),
            prefetch,
            lease: Duration::from_secs(30),
        };
        let add = |_| {
            let id = namespace.number();
            namespace.consumers.insert(id, ConsumerState::new(&spec, vec!["q".into()], Arc::default()));
            id
        };
        (0..count).map(add).collect()
    }

    fn publish(namespace: &mut Namespace, count: usize, eta: Option<Timestamp>) -> usize {
        let out = || Outgoing::to_queue("q", Message::default()).at(eta);
        let mut after_unlock = AfterUnlock::default();
        let routed = (0..count).map(|_| RoutedMessage::from(out())).collect();
        namespace.publish(routed, Timestamp::UNIX_EPOCH, &mut after_unlock).unwrap();
        after_unlock.wakes.len()
    }

    #[test]
    fn one_message_wakes_one_consumer_and_each_in_turn() {
        let mut namespace = Namespace::default();
        let ids = consumers(&mut namespace, 5, 0);
        for id in &ids {
            namespace.start_waiting(*id);
        }
        assert_eq!(publish(&mut namespace, 1, None), 1);
        let first = namespace.last_woken;
        assert_eq!(namespace.waiting, 4);
        assert_eq!(publish(&mut namespace, 2, None), 2);
        assert_eq!(publish(&mut namespace, 100, None), 2, "all the others");
        assert_eq!(publish(&mut namespace, 1, None), 0, "nobody waits");
        assert_eq!(namespace.claim(first, 200, Timestamp::UNIX_EPOCH).len(), 104);
        for id in &ids {
            namespace.start_waiting(*id);
        }
        publish(&mut namespace, 1, None);
        assert_ne!(namespace.last_woken, ids[4], "the last one woken comes last in the next turn");
    }

    #[test]
    fn a_full_consumer_is_not_woken_for_others_messages() {
        let mut namespace = Namespace::default();
        let ids = consumers(&mut namespace, 2, 1);
        publish(&mut namespace, 1, None);
        assert_eq!(namespace.claim(ids[0], 10, Timestamp::UNIX_EPOCH).len(), 1);
        assert_eq!(namespace.start_waiting(ids[0]), None);
        namespace.start_waiting(ids[1]);
        assert_eq!(publish(&mut namespace, 2, None), 1);
        assert_eq!(namespace.last_woken, ids[1]);
    }

    #[test]
    fn a_wait_that_is_dropped_after_its_wake_wakes_another() {
        let mut namespace = Namespace::default();
        let ids = consumers(&mut namespace, 2, 0);
        for id in &ids {
            namespace.start_waiting(*id);
        }
        publish(&mut namespace, 1, None);
        let (woken, mut after_unlock) = (namespace.last_woken, AfterUnlock::default());
        namespace.stop_waiting(woken, &mut after_unlock);
        assert_eq!(after_unlock.wakes.len(), 1);
        assert_ne!(namespace.last_woken, woken);
        assert_eq!(namespace.waiting, 0);
    }

    #[test]
    fn only_an_eta_before_all_others_wakes_those_who_wait() {
        let mut namespace = Namespace::default();
        let ids = consumers(&mut namespace, 2, 0);
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        assert_eq!(publish(&mut namespace, 1, at(100)), 0);
        for id in &ids {
            assert_eq!(namespace.start_waiting(*id), at(100));
        }
        assert_eq!(publish(&mut namespace, 3, at(200)), 0);
        assert_eq!(publish(&mut namespace, 3, at(50)), 2);
        assert_eq!(namespace.start_waiting(ids[0]), at(50));
    }

    #[test]
    fn nobody_waits_after_everybody_left() {
        let mut namespace = Namespace::default();
        let ids = consumers(&mut namespace, 3, 0);
        let mut after_unlock = AfterUnlock::default();
        for id in &ids {
            namespace.start_waiting(*id);
            namespace.leave(*id, true, Timestamp::UNIX_EPOCH, &mut after_unlock);
        }
        assert_eq!((namespace.waiting, namespace.consumers.len()), (0, 0));
    }
}
