//! The channels to which a broker subscribes: for its consumers, whose messages `publish/fanout` stores, and for those
//! who listen to broadcasts.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use apium_transport::clock::Clock;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::connection::background::Background;
use crate::options::target::Target;
use crate::pubsub::channels::ChannelName;
use crate::pubsub::listeners::Listeners;
use crate::pubsub::subscriber::{ChannelMessage, Subscriber, SubscriberEvent};

/// The instant in microseconds at which the first delayed message is due; 0 if it must be looked up.
pub(crate) type NextEta = Option<f64>;

/// A message of a fanout exchange that is to be stored: the name by which it came, and its envelope.
pub(crate) type ToBeStored = (ChannelName, Bytes);

/// The subscriptions of a broker. The first consumer or listener opens them.
#[derive(Debug)]
pub(crate) struct BrokerChannels {
    /// The channel that announces an eta earlier than all others.
    eta_channel: String,
    pub(crate) next_eta: watch::Sender<NextEta>,
    /// Whether a consumer needs the announcements of etas.
    needs_etas: AtomicBool,
    subscriber: OnceLock<Subscriber>,
    /// Where messages of fanout exchanges go that are to be stored, and the task that stores them.
    pub(crate) storing: OnceLock<(mpsc::Sender<ToBeStored>, Background)>,
    /// The queues in which the messages that come by a name are stored.
    fanouts: Mutex<HashMap<ChannelName, BTreeSet<String>>>,
    pub(crate) listeners: Listeners,
}

impl BrokerChannels {
    pub(crate) fn new(eta_channel: String) -> Self {
        Self {
            eta_channel,
            next_eta: watch::Sender::new(None),
            needs_etas: AtomicBool::new(false),
            subscriber: OnceLock::new(),
            storing: OnceLock::new(),
            fanouts: Mutex::default(),
            listeners: Listeners::default(),
        }
    }

    /// The subscriber. The first call makes it; it connects when a name is needed.
    pub(crate) fn subscriber(self: &Arc<Self>, target: &Target, clock: &Clock) -> &Subscriber {
        self.subscriber.get_or_init(|| {
            let channels = Arc::downgrade(self);
            let listener = Box::new(move |event| {
                if let Some(channels) = channels.upgrade() {
                    channels.on_event(event);
                }
            });
            // Seldom, since nothing waits for these messages, and an idle worker should send few commands (idle-quiet).
            let ping_after = target.answer_timeout * 12;
            Subscriber::new(target.clone(), clock.clone(), ping_after, listener)
        })
    }

    /// Needs the announcements of etas, if they are not needed yet. Returns the name of their channel.
    pub(crate) fn need_etas(&self) -> Option<ChannelName> {
        let is_new = !self.needs_etas.swap(true, Ordering::Relaxed);
        is_new.then(|| ChannelName::Channel(self.eta_channel.clone()))
    }

    /// Stores what comes by a name in a queue, from now on. Returns whether it did not before.
    pub(crate) fn store_in(&self, name: &ChannelName, queue: &str) -> bool {
        self.fanouts().entry(name.clone()).or_default().insert(queue.to_owned())
    }

    /// The queues in which the messages that come by a name are stored.
    pub(crate) fn queues_of(&self, name: &ChannelName) -> Vec<String> {
        self.fanouts().get(name).into_iter().flatten().cloned().collect()
    }

    fn fanouts(&self) -> MutexGuard<'_, HashMap<ChannelName, BTreeSet<String>>> {
        self.fanouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_event(&self, event: SubscriberEvent) {
        let message = match event {
            SubscriberEvent::Connected => {
                self.next_eta.send_replace(Some(0.0));
                return;
            }
            SubscriberEvent::Lost => return self.listeners.lost(),
            SubscriberEvent::Message(message) if message.channel == self.eta_channel => {
                let due = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
                self.next_eta.send_replace(due);
                return;
            }
            SubscriberEvent::Message(message) => message,
        };
        let name = message.name();
        let ChannelMessage { channel, payload, .. } = message;
        if self.fanouts().contains_key(&name)
            && let Some((sender, _)) = self.storing.get()
            && sender.try_send((name.clone(), payload.clone())).is_err()
        {
            tracing::warn!("dropped a message of a fanout exchange: they come faster than they can be stored");
        }
        self.listeners.hand_on(&name, &channel, &payload);
    }

    /// Ends the subscriptions.
    pub(crate) fn close(&self) {
        if let Some(subscriber) = self.subscriber.get() {
            subscriber.close();
        }
    }
}
