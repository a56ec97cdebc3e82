//! What the consumers of a broker subscribe to: the channel that announces an earlier eta, and the channels of fanout
//! exchanges. kombu publishes a message of a fanout exchange on a channel, which keeps nothing; here it is stored in
//! the queues.

use std::sync::{Arc, Weak};

use apium_protocol::error::with_causes;
use apium_protocol::message::envelope::Envelope;
use apium_transport::error::Result;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::connection::background::Background;
use crate::keys::broker_keys::glob_escaped;
use crate::publish::publish::STORED_PROPERTY;
use crate::pubsub::broker_channels::OpenChannels;
use crate::pubsub::channels::ChannelName;
use crate::pubsub::subscriber::{Event, Subscriber};
use crate::scripts::script::STORE_FANOUT;
use crate::shared::BrokerShared;

/// How many messages of fanout exchanges may wait until they are stored; more are dropped.
const BACKLOG: usize = 1024;
/// How long it is remembered that a message was stored, so that the other consumers of the queue do not store it too.
const MEMORY_SECONDS: u64 = 60;

impl BrokerShared {
    /// Subscribes to announcements of etas and to the fanout exchanges of these queues. It does not wait for the
    /// confirmation.
    pub(crate) fn subscribe_fanout(self: &Arc<Self>, queues: &[Arc<str>]) {
        let open = self.channels.open.get_or_init(|| self.open_channels());
        let mut names = Vec::new();
        let mut fanouts = self.channels.fanouts();
        for queue in queues {
            let Some(exchange) = self.declared.fanout_of(queue) else { continue };
            if fanouts.insert((exchange.clone(), queue.to_string())) {
                let channel = self.keys.fanout_channel(&exchange, "");
                names.push(ChannelName::Pattern(format!("{}/*", glob_escaped(&channel))));
                names.push(ChannelName::Channel(channel));
            }
        }
        // An eta that is announced before is not missed: delayed messages are looked up with every new connection.
        open.subscriber.need_now(&names);
    }

    fn open_channels(self: &Arc<Self>) -> OpenChannels {
        let (sender, mut received) = mpsc::channel::<(String, Bytes)>(BACKLOG);
        let eta_channel = self.keys.eta_channel();
        let next_eta = self.channels.next_eta.clone();
        let listener = Box::new(move |event: Event| match event {
            Event::Connected => _ = next_eta.send_replace(Some(0.0)),
            Event::Message(message) if message.channel == eta_channel => {
                next_eta.send_replace(std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok()));
            }
            Event::Message(message) => {
                if sender.try_send((message.channel, message.payload)).is_err() {
                    tracing::warn!("dropped a message of a fanout exchange: they come faster than they can be stored");
                }
            }
        });
        let target = self.connection.target().clone();
        // Seldom, since nothing waits for these messages, and an idle worker should send few commands (idle-quiet).
        let ping_after = target.answer_timeout * 12;
        let subscriber = Subscriber::new(target, self.connection.clock().clone(), ping_after, listener);
        subscriber.need(&[ChannelName::Channel(self.keys.eta_channel())]);
        let shared = Arc::downgrade(self);
        let storing = Background::start(async move {
            while let Some((channel, envelope)) = received.recv().await {
                let Some(shared) = Weak::upgrade(&shared) else { return };
                if let Err(error) = shared.store_fanout(&channel, envelope).await {
                    tracing::warn!(error = %with_causes(&error), "could not store a message of a fanout exchange");
                }
            }
        });
        OpenChannels { subscriber, _storing: storing }
    }

    /// Stores a message of a fanout channel in the queues of this broker that are bound to its exchange.
    async fn store_fanout(&self, channel: &str, raw: Bytes) -> Result<()> {
        let Ok(envelope) = Envelope::decode(&raw) else {
            tracing::warn!(channel, "dropped what came by a fanout exchange and is no message");
            return Ok(());
        };
        if envelope.message.properties.extra.contains_key(STORED_PROPERTY) {
            // Apium has published it, and has stored it in the queues itself.
            return Ok(());
        }
        let queues: Vec<String> = {
            let fanouts = self.channels.fanouts();
            let own = |exchange: &str| {
                let base = self.keys.fanout_channel(exchange, "");
                channel.strip_prefix(&*base).is_some_and(|suffix| suffix.is_empty() || suffix.starts_with('/'))
            };
            fanouts.iter().filter(|(exchange, _)| own(exchange)).map(|(_, queue)| queue.clone()).collect()
        };
        let tag = envelope.delivery_tag.as_deref().unwrap_or_default();
        let priority = envelope.message.properties.priority.unwrap_or(0);
        for queue in queues {
            let (list, stored) = (self.keys.list(&queue, priority), self.keys.fanout_stored(&queue, tag));
            self.connection
                .script("store a message of a fanout exchange", &STORE_FANOUT, |command| {
                    command.arg(2).arg(&stored).arg(&list).arg(MEMORY_SECONDS).arg(raw.as_ref());
                })
                .await?;
        }
        Ok(())
    }
}
