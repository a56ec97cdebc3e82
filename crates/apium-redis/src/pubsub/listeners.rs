//! Those in this process who listen to broadcasts, and what waits for each of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::pubsub::channels::ChannelName;

/// How many bytes of messages wait for one listener at most, besides the last message.
const MOST_BYTES: usize = 64 << 20;

/// A message as it came, and its channel.
#[derive(Debug)]
pub(crate) struct HeardMessage {
    pub(crate) channel: Arc<str>,
    pub(crate) envelope: Bytes,
}

/// A listener.
#[derive(Debug)]
pub(crate) struct ListenerState {
    /// No two of them match the same channel, so each message comes once.
    pub(crate) names: Vec<ChannelName>,
    capacity: usize,
    waiting: Mutex<Waiting>,
    pub(crate) wake: Notify,
}

/// What waits for a listener.
#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<HeardMessage>,
    bytes: usize,
    missed: bool,
    /// Whether it has begun to listen: its names are subscribed.
    begun: bool,
}

impl ListenerState {
    pub(crate) fn new(names: Vec<ChannelName>, capacity: usize) -> Arc<Self> {
        Arc::new(Self { names, capacity: capacity.max(1), waiting: Mutex::default(), wake: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its names are subscribed. What came before was not meant for it.
    pub(crate) fn begin(&self) {
        *self.lock() = Waiting { begun: true, ..Waiting::default() };
    }

    fn add(&self, message: HeardMessage) {
        let waiting = &mut *self.lock();
        waiting.bytes += message.envelope.len();
        waiting.messages.push_back(message);
        while waiting.messages.len() > self.capacity || (waiting.bytes > MOST_BYTES && waiting.messages.len() > 1) {
            let Some(oldest) = waiting.messages.pop_front() else { break };
            waiting.bytes -= oldest.envelope.len();
            waiting.missed = true;
        }
    }

    /// Takes the first messages, at most `most`, and whether some before them may be missing.
    pub(crate) fn take(&self, most: usize) -> (Vec<HeardMessage>, bool) {
        let waiting = &mut *self.lock();
        let count = waiting.messages.len().min(most);
        if count == 0 {
            // It is said with the next messages.
            return (Vec::new(), false);
        }
        let messages: Vec<HeardMessage> = waiting.messages.drain(..count).collect();
        waiting.bytes -= messages.iter().map(|message| message.envelope.len()).sum::<usize>();
        if waiting.messages.is_empty() {
            // A burst must not keep its memory.
            waiting.messages = VecDeque::new();
        }
        (messages, std::mem::take(&mut waiting.missed))
    }
}

/// All listeners of a broker, by the names that they need.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Mutex<HashMap<ChannelName, Vec<Arc<ListenerState>>>>);

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelName, Vec<Arc<ListenerState>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, state: &Arc<ListenerState>) {
        let mut listeners = self.lock();
        for name in &state.names {
            listeners.entry(name.clone()).or_default().push(state.clone());
        }
    }

    pub(crate) fn remove(&self, state: &Arc<ListenerState>) {
        let mut listeners = self.lock();
        for name in &state.names {
            if let Some(states) = listeners.get_mut(name) {
                states.retain(|other| !Arc::ptr_eq(other, state));
                if states.is_empty() {
                    listeners.remove(name);
                }
            }
        }
    }

    /// Passes a message to everybody who needs the name by which it came.
    pub(crate) fn hand_on(&self, name: &ChannelName, channel: &str, envelope: &Bytes) {
        let listeners = self.lock();
        let Some(states) = listeners.get(name) else { return };
        let channel: Arc<str> = channel.into();
        for state in states {
            state.add(HeardMessage { channel: channel.clone(), envelope: envelope.clone() });
            state.wake.notify_one();
        }
    }

    /// The connection broke: what is sent until there is a new one is lost.
    pub(crate) fn lost(&self) {
        for state in self.lock().values().flatten() {
            let waiting = &mut *state.lock();
            waiting.missed |= waiting.begun;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::Channel(name.to_owned())
    }

    fn sizes(state: &ListenerState) -> (Vec<usize>, bool) {
        let (messages, missed) = state.take(usize::MAX);
        (messages.iter().map(|message| message.envelope.len()).collect(), missed)
    }

    fn send(listeners: &Listeners, name: &str, size: usize) {
        listeners.hand_on(&channel(name), name, &Bytes::from(vec![0; size]));
    }

    #[test]
    fn a_listener_has_bounds_in_messages_and_bytes() {
        let listeners = Listeners::default();
        let (few, small) =
            (ListenerState::new(vec![channel("few")], 2), ListenerState::new(vec![channel("small")], 1000));
        for state in [&few, &small] {
            listeners.add(state);
            state.begin();
        }
        for size in [1, 2, 3] {
            send(&listeners, "few", size);
        }
        assert_eq!(sizes(&few), (vec![2, 3], true));
        send(&listeners, "few", 4);
        assert_eq!(sizes(&few), (vec![4], false), "it is said once");
        for size in [MOST_BYTES / 2, MOST_BYTES / 2, 1, MOST_BYTES * 2] {
            send(&listeners, "small", size);
        }
        assert_eq!(sizes(&small), (vec![MOST_BYTES * 2], true), "the last one always has room");
        send(&listeners, "small", MOST_BYTES);
        assert_eq!(sizes(&small), (vec![MOST_BYTES], false), "what was taken makes room");
    }

    #[test]
    fn a_lost_connection_is_told_to_those_who_listened_before() {
        let listeners = Listeners::default();
        let (old, new) = (ListenerState::new(vec![channel("c")], 9), ListenerState::new(vec![channel("c")], 9));
        listeners.add(&old);
        old.begin();
        listeners.add(&new);
        listeners.lost();
        new.begin();
        send(&listeners, "c", 1);
        assert_eq!(sizes(&old), (vec![1], true));
        assert_eq!(sizes(&new), (vec![1], false));
        listeners.remove(&old);
        send(&listeners, "c", 2);
        assert_eq!(sizes(&old), (vec![], false));
        assert_eq!(sizes(&new), (vec![2], false));
        listeners.remove(&new);
        assert!(listeners.lock().is_empty());
    }
}
