//! One namespace: everything behind its one lock, and what happens under it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;

use crate::broker::consumer::{Content, Disposition, Receipt, Settle, Tag};
use crate::broker::outgoing::Outgoing;
use crate::clock::Clock;
use crate::error::Result;
use crate::memory::store::after_unlock::Later;
use crate::memory::store::chords::Chords;
use crate::memory::store::consumer_state::{Held, Seat};
use crate::memory::store::dead_letters::Graveyard;
use crate::memory::store::queue::{Entry, Letter, Queue};
use crate::memory::store::results::Results;
use crate::memory::store::routing::Exchanges;

/// A namespace of the memory driver.
#[derive(Debug)]
pub(crate) struct Store {
    /// What stands behind `memory://`.
    pub(crate) name: String,
    pub(crate) clock: Clock,
    world: Mutex<World>,
}

impl Store {
    pub(crate) fn new(name: String, clock: Clock) -> Self {
        Self { name, clock, world: Mutex::new(World::default()) }
    }

    /// Takes the lock. No code under it can leave the world half changed by a panic, so a poisoned lock is used on.
    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message that a consumer took, to be made into a delivery outside the lock.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) receipt: Receipt,
    pub(crate) redelivered: bool,
    pub(crate) queue: Arc<str>,
    pub(crate) letter: Arc<Letter>,
}

/// The content of a namespace.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) queues: HashMap<Arc<str>, Queue>,
    pub(crate) exchanges: Exchanges,
    pub(crate) seats: BTreeMap<u64, Seat>,
    /// How many seats wait.
    waiting: usize,
    /// The seat that was woken last, so that the next one is another.
    last_woken: u64,
    pub(crate) dead: Graveyard,
    pub(crate) results: Results,
    pub(crate) chords: Chords,
    /// Counts messages, places and seats.
    next: u64,
}

/// A message with its route, made before the lock is taken.
#[derive(Debug)]
pub(crate) struct Posting {
    letter: Arc<Letter>,
    priority: u8,
    eta: Option<Timestamp>,
}

impl Posting {
    /// Exchange and routing key.
    pub(crate) fn route(&self) -> (&str, &str) {
        (&self.letter.exchange, &self.letter.routing_key)
    }
}

impl From<Outgoing> for Posting {
    fn from(out: Outgoing) -> Self {
        Self {
            priority: out.message.properties.priority.unwrap_or(0),
            eta: out.eta,
            letter: Arc::new(Letter {
                exchange: out.exchange,
                routing_key: out.routing_key,
                content: Content::Message(out.message),
            }),
        }
    }
}

impl World {
    /// A number never given before.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Checks that every message, by exchange and routing key, has a place to go, so that a batch is published whole or not at all.
    pub(crate) fn check_routes<'a>(&self, mut routes: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
        routes.try_for_each(|(exchange, key)| match exchange {
            "" => Ok(()),
            exchange => self.exchanges.route(exchange, key).map(drop),
        })
    }

    /// Publishes what [`check_routes`](Self::check_routes) let through.
    pub(crate) fn publish(&mut self, postings: Vec<Posting>, now: Timestamp, later: &mut Later) -> Result<()> {
        let mut postings = postings.into_iter().peekable();
        while let Some(first) = postings.next() {
            if !first.letter.exchange.is_empty() {
                for queue in self.exchanges.route(&first.letter.exchange, &first.letter.routing_key)? {
                    self.post(&queue, [&first].into_iter(), now, later);
                }
                continue;
            }
            let mut run = vec![first];
            let key = run[0].letter.routing_key.clone();
            while let Some(next) =
                postings.next_if(|next| next.letter.exchange.is_empty() && next.letter.routing_key == key)
            {
                run.push(next);
            }
            self.post(&key, run.iter(), now, later);
        }
        Ok(())
    }

    /// Adds messages to one queue, which is made when missing.
    fn post<'a>(
        &mut self,
        name: &Arc<str>,
        postings: impl Iterator<Item = &'a Posting>,
        now: Timestamp,
        later: &mut Later,
    ) {
        let queue = self.queues.entry(name.clone()).or_default();
        let (before, mut new_first) = (queue.ready(), false);
        for Posting { letter, priority, eta } in postings {
            self.next += 1;
            let entry = Entry {
                id: self.next,
                order: self.next,
                fence: 0,
                priority: (*priority).min(queue.max_priority.unwrap_or(u8::MAX)),
                redelivered: false,
                crashes: 0,
                queue: name.clone(),
                letter: letter.clone(),
            };
            match *eta {
                Some(due) if due > now => new_first |= queue.park(due, entry),
                _ => queue.push(entry),
            }
        }
        let new = queue.ready() - before;
        self.wake(name, if new_first { usize::MAX } else { new }, later);
    }

    /// Adds bytes that are no message to a queue.
    pub(crate) fn plant(&mut self, queue: &str, raw: Bytes, reason: &str, now: Timestamp, later: &mut Later) {
        let name: Arc<str> = queue.into();
        let content = Content::Unreadable { raw, reason: reason.to_owned() };
        let letter = Arc::new(Letter { exchange: "".into(), routing_key: name.clone(), content });
        self.post(&name, [Posting { letter, priority: 0, eta: None }].iter(), now, later);
    }

    /// Makes ready what is due, in every queue.
    pub(crate) fn ripen_all(&mut self, now: Timestamp) {
        for queue in self.queues.values_mut() {
            queue.ripen(now, &mut self.next);
        }
    }

    /// Puts a message (back) at its place, or keeps it until `due`.
    pub(crate) fn put(&mut self, entry: Entry, due: Option<Timestamp>, now: Timestamp, later: &mut Later) {
        let name = entry.queue.clone();
        let queue = self.queues.entry(name.clone()).or_default();
        let wanted = match due {
            Some(due) if due > now => match queue.park(due, entry) {
                true => usize::MAX,
                false => 0,
            },
            _ => {
                queue.push(entry);
                1
            }
        };
        self.wake(&name, wanted, later);
    }

    /// Wakes up to `wanted` consumers of `queue` that wait and have room, in turn.
    fn wake(&mut self, queue: &str, mut wanted: usize, later: &mut Later) {
        if self.waiting == 0 {
            return;
        }
        let start = self.last_woken + 1;
        for range in [start..u64::MAX, 0..start] {
            for (id, seat) in self.seats.range_mut(range) {
                if wanted == 0 || self.waiting == 0 {
                    return;
                }
                if seat.waiting && seat.room() > 0 && seat.reads(queue) {
                    seat.waiting = false;
                    self.waiting -= 1;
                    self.last_woken = *id;
                    wanted -= 1;
                    later.wakes.push(seat.wake.clone());
                }
            }
        }
    }

    /// Wakes others for what is left in the queues of the seat `id`.
    pub(crate) fn pass_on(&mut self, id: u64, later: &mut Later) {
        if self.waiting == 0 {
            return;
        }
        let queues = self.seats.get(&id).map(|seat| seat.queues.clone()).unwrap_or_default();
        for name in queues {
            if let Some(ready) = self.queues.get(&name).map(Queue::ready).filter(|ready| *ready > 0) {
                self.wake(&name, ready, later);
            }
        }
    }

    /// Hands up to `max` messages to the seat `id`, its queues in turn.
    pub(crate) fn take(&mut self, id: u64, max: usize, now: Timestamp) -> Vec<Taken> {
        let Some(seat) = self.seats.get_mut(&id) else { return Vec::new() };
        if seat.waiting {
            seat.waiting = false;
            self.waiting -= 1;
        }
        let mut ready = 0;
        for name in &seat.queues {
            if let Some(queue) = self.queues.get_mut(name) {
                queue.ripen(now, &mut self.next);
                ready += queue.ready();
            }
        }
        let room = seat.room().min(max).min(ready);
        let mut taken = Vec::with_capacity(room);
        if let [only] = &*seat.queues
            && let Some(queue) = self.queues.get_mut(only)
        {
            taken.extend(std::iter::from_fn(|| queue.pop()).take(room).map(|entry| hold(&mut seat.held, entry)));
            return taken;
        }
        while taken.len() < room {
            seat.turn = (seat.turn + 1) % seat.queues.len();
            if let Some(entry) = self.queues.get_mut(&seat.queues[seat.turn]).and_then(Queue::pop) {
                taken.push(hold(&mut seat.held, entry));
            }
        }
        taken
    }

    /// Notes that the seat waits, and says until when at most. A seat without room waits for a settlement alone.
    pub(crate) fn start_waiting(&mut self, id: u64) -> Option<Timestamp> {
        let seat = self.seats.get_mut(&id)?;
        seat.waiting = true;
        self.waiting += 1;
        if seat.room() == 0 {
            return None;
        }
        seat.queues.iter().filter_map(|name| self.queues.get(name)?.earliest()).min()
    }

    /// Ends a wait that was given up. A wake that was promised to it goes to another.
    pub(crate) fn stop_waiting(&mut self, id: u64, later: &mut Later) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if seat.waiting {
            seat.waiting = false;
            self.waiting -= 1;
        } else {
            self.pass_on(id, later);
        }
    }

    /// Wakes the seat `id` when it waits, since it has room again.
    pub(crate) fn has_room_again(&mut self, id: u64, later: &mut Later) {
        if let Some(seat) = self.seats.get_mut(&id)
            && seat.waiting
            && seat.room() > 0
            && seat.queues.iter().filter_map(|name| self.queues.get(name)).any(|q| q.ready() > 0 || q.parked() > 0)
        {
            seat.waiting = false;
            self.waiting -= 1;
            later.wakes.push(seat.wake.clone());
        }
    }

    /// Wakes every seat for which `which` holds.
    pub(crate) fn wake_where(&mut self, which: impl Fn(&Seat) -> bool, later: &mut Later) {
        for seat in self.seats.values_mut().filter(|seat| seat.waiting && which(seat)) {
            seat.waiting = false;
            self.waiting -= 1;
            later.wakes.push(seat.wake.clone());
        }
    }

    /// Whether `receipt` is held by the seat `id`.
    pub(crate) fn holds(&self, id: u64, receipt: &Receipt) -> bool {
        self.seats.get(&id).is_some_and(|seat| held(seat, receipt).is_some())
    }

    /// Settles one delivery of the seat `id`; says whether the seat held it.
    pub(crate) fn settle(
        &mut self,
        id: u64,
        receipt: &Receipt,
        how: Settle,
        now: Timestamp,
        later: &mut Later,
    ) -> bool {
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        let Some(number) = held(seat, receipt) else { return false };
        let Some(Held { mut entry, .. }) = seat.held.remove(&number) else { return false };
        match how {
            Settle::Ack | Settle::Reject(Disposition::Discard) => later.dropped.push(entry),
            Settle::Reject(Disposition::Requeue) => {
                entry.redelivered = true;
                self.put(entry, None, now, later);
            }
            Settle::Reject(Disposition::Park(due)) => self.put(entry, Some(due), now, later),
            Settle::Reject(Disposition::Dead(reason)) => self.dead.bury(entry, reason, now),
        }
        true
    }

    /// Notes that a run of this delivery begins; says whether the seat holds it.
    pub(crate) fn begin(&mut self, id: u64, receipt: &Receipt) -> bool {
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        let number = held(seat, receipt);
        match number.and_then(|number| seat.held.get_mut(&number)) {
            Some(held) => {
                held.begun = true;
                true
            }
            None => false,
        }
    }

    /// Removes a seat and gives back what it holds. Where the consumer `died`, each run that had begun counts a crash.
    pub(crate) fn leave(&mut self, id: u64, died: bool, now: Timestamp, later: &mut Later) {
        let Some(seat) = self.seats.remove(&id) else { return };
        if seat.waiting {
            self.waiting -= 1;
        }
        for Held { mut entry, begun } in seat.held.into_values() {
            entry.redelivered = true;
            if died && begun {
                entry.crashes += 1;
                if seat.max_crashes > 0 && entry.crashes >= seat.max_crashes {
                    self.dead.bury_crashed(entry, now);
                    continue;
                }
            }
            self.put(entry, None, now, later);
        }
    }
}

fn held(seat: &Seat, receipt: &Receipt) -> Option<u64> {
    let Tag::Number(number) = receipt.tag else { return None };
    seat.held.get(&number).filter(|held| held.entry.fence == receipt.fence).map(|_| number)
}

fn hold<S: std::hash::BuildHasher>(all: &mut HashMap<u64, Held, S>, mut entry: Entry) -> Taken {
    entry.fence += 1;
    let taken = Taken {
        receipt: Receipt { tag: Tag::Number(entry.id), fence: entry.fence },
        redelivered: entry.redelivered,
        queue: entry.queue.clone(),
        letter: entry.letter.clone(),
    };
    all.insert(entry.id, Held { entry, begun: false });
    taken
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use apium_protocol::message::message::Message;

    use super::*;
    use crate::broker::consumer::ConsumeSpec;

    fn seats(world: &mut World, count: usize, prefetch: usize) -> Vec<u64> {
        let spec = ConsumeSpec {
            queues: vec!["q".to_owned()],
            node: "n".to_owned(),
            prefetch,
            lease: Duration::from_secs(30),
            max_crashes: 0,
        };
        let sit = |_| {
            let id = world.number();
            world.seats.insert(id, Seat::new(&spec, vec!["q".into()], Arc::default()));
            id
        };
        (0..count).map(sit).collect()
    }

    fn post(world: &mut World, count: usize, eta: Option<Timestamp>) -> usize {
        let out = || Outgoing::to_queue("q", Message::default()).at(eta);
        let mut later = Later::default();
        let postings = (0..count).map(|_| Posting::from(out())).collect();
        world.publish(postings, Timestamp::UNIX_EPOCH, &mut later).unwrap();
        later.wakes.len()
    }

    #[test]
    fn one_message_wakes_one_consumer_and_each_in_turn() {
        let mut world = World::default();
        let ids = seats(&mut world, 5, 0);
        for id in &ids {
            world.start_waiting(*id);
        }
        assert_eq!(post(&mut world, 1, None), 1);
        let first = world.last_woken;
        assert_eq!(world.waiting, 4);
        assert_eq!(post(&mut world, 2, None), 2);
        assert_eq!(post(&mut world, 100, None), 2, "all the others");
        assert_eq!(post(&mut world, 1, None), 0, "nobody waits");
        assert_eq!(world.take(first, 200, Timestamp::UNIX_EPOCH).len(), 104);
        for id in &ids {
            world.start_waiting(*id);
        }
        post(&mut world, 1, None);
        assert_ne!(world.last_woken, ids[4], "the last one woken comes last in the next turn");
    }

    #[test]
    fn a_full_consumer_is_not_woken_for_others_messages() {
        let mut world = World::default();
        let ids = seats(&mut world, 2, 1);
        post(&mut world, 1, None);
        assert_eq!(world.take(ids[0], 10, Timestamp::UNIX_EPOCH).len(), 1);
        assert_eq!(world.start_waiting(ids[0]), None);
        world.start_waiting(ids[1]);
        assert_eq!(post(&mut world, 2, None), 1);
        assert_eq!(world.last_woken, ids[1]);
    }

    #[test]
    fn a_wait_that_is_given_up_after_its_wake_passes_the_wake_on() {
        let mut world = World::default();
        let ids = seats(&mut world, 2, 0);
        for id in &ids {
            world.start_waiting(*id);
        }
        post(&mut world, 1, None);
        let (woken, mut later) = (world.last_woken, Later::default());
        world.stop_waiting(woken, &mut later);
        assert_eq!(later.wakes.len(), 1);
        assert_ne!(world.last_woken, woken);
        assert_eq!(world.waiting, 0);
    }

    #[test]
    fn only_an_eta_before_all_others_wakes_those_who_wait() {
        let mut world = World::default();
        let ids = seats(&mut world, 2, 0);
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        assert_eq!(post(&mut world, 1, at(100)), 0);
        for id in &ids {
            assert_eq!(world.start_waiting(*id), at(100));
        }
        assert_eq!(post(&mut world, 3, at(200)), 0);
        assert_eq!(post(&mut world, 3, at(50)), 2);
        assert_eq!(world.start_waiting(ids[0]), at(50));
    }

    #[test]
    fn nobody_waits_after_everybody_left() {
        let mut world = World::default();
        let ids = seats(&mut world, 3, 0);
        let mut later = Later::default();
        for id in &ids {
            world.start_waiting(*id);
            world.leave(*id, true, Timestamp::UNIX_EPOCH, &mut later);
        }
        assert_eq!((world.waiting, world.seats.len()), (0, 0));
    }
}
