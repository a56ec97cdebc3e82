//! Deliveries that were settled while nobody could tell the server, or shortly before the connection was lost. When
//! such a message comes again, it is settled at once instead of being run again.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use apium_protocol::message::message::Message;

/// How many are remembered; the oldest go.
const MOST: usize = 8192;

/// Names the runs of a message: the same task, in the same queue, with the same number of retries. What waited in the
/// queues of delays, or in the dead set, still has the key of the message that it took the place of: crashes count on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MessageKey {
    queue: Arc<str>,
    id: Arc<str>,
    retries: u32,
}

impl MessageKey {
    /// The key of a message; `None` if it has no id.
    pub(crate) fn of(queue: &Arc<str>, message: &Message) -> Option<Self> {
        let id = message.headers.id.as_ref().map(|id| id.shared());
        let id = id.or_else(|| message.properties.correlation_id.clone())?;
        Some(Self { queue: queue.clone(), id, retries: message.headers.retries })
    }

    /// The key as a record names it.
    pub(crate) fn from_wire(queue: &str, id: &str, retries: u32) -> Self {
        Self { queue: queue.into(), id: id.into(), retries }
    }

    /// What [`from_wire`](Self::from_wire) makes it from.
    pub(crate) fn to_wire(&self) -> (&str, &str, u32) {
        (&self.queue, &self.id, self.retries)
    }

    /// A number that stands for it in receipts.
    pub(crate) fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// Names one message over its deliveries. A message that took the place of another one has a number of its own beside
/// the key. Without it, the settlement of the first would be taken for one of the second, which would be lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OneMessage {
    pub(crate) key: MessageKey,
    copy: i64,
}

impl OneMessage {
    /// The name of a message; `copy` is 0, or its number (`copy_number`).
    pub(crate) fn new(key: MessageKey, copy: i64) -> Self {
        Self { key, copy }
    }
}

/// How a delivery was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It was acked, or what became of it is elsewhere.
    Acked,
    /// It is to be dropped (or to be dead-lettered by the server, where its queue says so).
    Discarded,
}

/// What was settled last.
#[derive(Debug, Default)]
pub(crate) struct LateSettlements {
    /// With the epoch in which it was settled.
    by_message: HashMap<OneMessage, VecDeque<(u64, Settled)>>,
    order: VecDeque<OneMessage>,
}

impl LateSettlements {
    /// A message was settled in this epoch.
    pub(crate) fn add(&mut self, message: OneMessage, epoch: u64, settled: Settled) {
        self.order.push_back(message.clone());
        self.by_message.entry(message).or_default().push_back((epoch, settled));
        while self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget_oldest(&oldest);
        }
    }

    /// How a message was settled in an epoch before this one. It is forgotten then.
    pub(crate) fn take(&mut self, message: &OneMessage, epoch: u64) -> Option<Settled> {
        let all = self.by_message.get_mut(message)?;
        let found = all.front().filter(|(settled_in, _)| *settled_in < epoch).map(|(_, settled)| *settled)?;
        self.forget_oldest(message);
        Some(found)
    }

    fn forget_oldest(&mut self, message: &OneMessage) {
        if let Some(all) = self.by_message.get_mut(message) {
            all.pop_front();
            if all.is_empty() {
                self.by_message.remove(message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> OneMessage {
        OneMessage::new(MessageKey { queue: "q".into(), id: id.into(), retries: 0 }, 0)
    }

    #[test]
    fn only_what_was_settled_before_the_cut_counts() {
        let mut late = LateSettlements::default();
        late.add(key("a"), 1, Settled::Acked);
        assert_eq!(late.take(&key("a"), 1), None);
        assert_eq!(late.take(&key("b"), 2), None);
        assert_eq!(late.take(&key("a"), 2), Some(Settled::Acked));
        assert_eq!(late.take(&key("a"), 2), None, "once");
    }

    #[test]
    fn what_took_the_place_of_a_message_is_another_one() {
        let mut late = LateSettlements::default();
        late.add(key("a"), 1, Settled::Acked);
        let copy = OneMessage { copy: 7, ..key("a") };
        assert_eq!(late.take(&copy, 2), None);
        assert_eq!(late.take(&key("a"), 2), Some(Settled::Acked));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut late = LateSettlements::default();
        for n in 0..=MOST {
            late.add(key(&n.to_string()), 1, Settled::Discarded);
        }
        assert_eq!(late.take(&key("0"), 2), None);
        assert_eq!(late.take(&key("1"), 2), Some(Settled::Discarded));
        assert_eq!(late.by_message.len(), MOST - 1);
    }
}
