//! What becomes of what a broker's consumers hear on channels: that something parked is due earlier than all else, and messages that
//! Python sends to fanout exchanges, which kombu tells to whoever listens instead of keeping them.

use std::sync::{Arc, Weak};

use apium_protocol::message::envelope::Envelope;
use apium_transport::error::Result;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::connection::background::Background;
use crate::keys::broker_keys::glob_escaped;
use crate::pubsub::broker_channels::OpenChannels;
use crate::pubsub::channels::ChannelName;
use crate::pubsub::subscriber::{Event, Subscriber};
use crate::scripts::route::STORED_PROPERTY;
use crate::scripts::script::STORE_FANOUT;
use crate::shared::BrokerShared;

/// So many messages of fanout exchanges may wait to be stored.
const BACKLOG: usize = 1024;
/// How long a message that was stored is known, so that other consumers of its queue do not store it too.
const MEMORY_SECONDS: u64 = 60;

impl BrokerShared {
    /// Listens to news of parked messages, and to the fanout exchanges of these queues.
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
        // That they are subscribed is not waited for: what is parked is also looked up at every connection.
        open.subscriber.need_now(&names);
    }

    fn open_channels(self: &Arc<Self>) -> OpenChannels {
        let (heard, mut hear) = mpsc::channel::<(String, Bytes)>(BACKLOG);
        let eta_channel = self.keys.eta_channel();
        let news = self.channels.next_eta.clone();
        let listener = Box::new(move |event: Event| match event {
            Event::Connected => _ = news.send_replace(Some(0.0)),
            Event::Message(message) if message.channel == eta_channel => {
                news.send_replace(std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok()));
            }
            Event::Message(message) => {
                if heard.try_send((message.channel, message.payload)).is_err() {
                    tracing::warn!("a message of a fanout exchange was dropped: they come faster than they are stored");
                }
            }
        });
        let target = self.connection.target().clone();
        // Nobody is kept waiting by what is heard here but once in a while, and idle workers are to be quiet (P16).
        let quiet = target.answer_timeout * 12;
        let subscriber = Subscriber::new(target, self.connection.clock().clone(), quiet, listener);
        subscriber.need(&[ChannelName::Channel(self.keys.eta_channel())]);
        let core = Arc::downgrade(self);
        let storing = Background::start(async move {
            while let Some((channel, envelope)) = hear.recv().await {
                let Some(core) = Weak::upgrade(&core) else { return };
                if let Err(error) = core.store_fanout(&channel, envelope).await {
                    tracing::warn!(%error, "could not store a message of a fanout exchange");
                }
            }
        });
        OpenChannels { subscriber, _storing: storing }
    }

    /// Puts what was heard into the queues that listen. From then on it is a message like any other: acked, and not lost.
    async fn store_fanout(&self, channel: &str, raw: Bytes) -> Result<()> {
        let Ok(envelope) = Envelope::decode(&raw) else {
            tracing::warn!(channel, "what came by a fanout exchange is no message");
            return Ok(());
        };
        if envelope.message.properties.extra.contains_key(STORED_PROPERTY) {
            // It was sent by Apium, which has put it into the queues itself.
            return Ok(());
        }
        let queues: Vec<String> = {
            let fanouts = self.channels.fanouts();
            let own = |exchange: &str| {
                let base = self.keys.fanout_channel(exchange, "");
                channel.strip_prefix(&*base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            fanouts.iter().filter(|(exchange, _)| own(exchange)).map(|(_, queue)| queue.clone()).collect()
        };
        let tag = envelope.delivery_tag.as_deref().unwrap_or_default();
        let priority = envelope.message.properties.priority.unwrap_or(0);
        for queue in queues {
            let (list, seen) = (self.keys.list(&queue, priority), self.keys.fanout_stored(&queue, tag));
            self.connection
                .script("store a message of a fanout exchange", &STORE_FANOUT, |command| {
                    command.arg(2).arg(&seen).arg(&list).arg(MEMORY_SECONDS).arg(raw.as_ref());
                })
                .await?;
        }
        Ok(())
    }
}
