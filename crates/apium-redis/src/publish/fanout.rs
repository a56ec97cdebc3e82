//! What the consumers of a broker subscribe to: the channel that announces an earlier eta, and the channels of fanout
//! exchanges. kombu publishes a message of a fanout exchange on a channel, which keeps nothing; here it is stored in
//! the queues.

use std::sync::{Arc, Weak};

use apium_protocol::error::with_causes;
use apium_protocol::message::envelope::Envelope;
use apium_transport::error::Result;
use tokio::sync::mpsc;

use crate::connection::background::Background;
use crate::publish::broadcast::fanout_names;
use crate::publish::publish::STORED_PROPERTY;
use crate::pubsub::broker_channels::ToBeStored;
use crate::pubsub::subscriber::Subscriber;
use crate::scripts::script::STORE_FANOUT;
use crate::shared::BrokerShared;

/// How many messages of fanout exchanges may wait until they are stored; more are dropped.
const BACKLOG: usize = 1024;
/// How long it is remembered that a message was stored, so that the other consumers of the queue do not store it too.
const MEMORY_SECONDS: u64 = 60;

impl BrokerShared {
    /// The one subscriber of the broker.
    pub(crate) fn subscriber(&self) -> &Subscriber {
        self.channels.subscriber(self.connection.target(), self.connection.clock())
    }

    /// Subscribes to announcements of etas and to the fanout exchanges of these queues. It does not wait for the
    /// confirmation.
    pub(crate) fn subscribe_fanout(self: &Arc<Self>, queues: &[Arc<str>]) {
        self.channels.storing.get_or_init(|| self.start_storing());
        let mut names: Vec<_> = self.channels.need_etas().into_iter().collect();
        for queue in queues {
            let Some(exchange) = self.declared.fanout_of(queue) else { continue };
            for name in fanout_names(&self.keys, &exchange) {
                if self.channels.store_in(&name, queue) {
                    names.push(name);
                }
            }
        }
        // An eta that is announced before is not missed: delayed messages are looked up with every new connection.
        self.subscriber().need_now(&names);
    }

    fn start_storing(self: &Arc<Self>) -> (mpsc::Sender<ToBeStored>, Background) {
        let (sender, mut received) = mpsc::channel::<ToBeStored>(BACKLOG);
        let shared = Arc::downgrade(self);
        let storing = Background::start(async move {
            while let Some(message) = received.recv().await {
                let Some(shared) = Weak::upgrade(&shared) else { return };
                if let Err(error) = shared.store_fanout(message).await {
                    tracing::warn!(error = %with_causes(&error), "could not store a message of a fanout exchange");
                }
            }
        });
        (sender, storing)
    }

    /// Stores a message of a fanout channel in the queues of this broker that are bound to its exchange.
    async fn store_fanout(&self, (name, raw): ToBeStored) -> Result<()> {
        let Ok(envelope) = Envelope::decode(&raw) else {
            tracing::warn!(channel = ?name, "dropped what came by a fanout exchange and is no message");
            return Ok(());
        };
        if envelope.message.properties.extra.contains_key(STORED_PROPERTY) {
            // Apium has published it, and has stored it in the queues itself.
            return Ok(());
        }
        let tag = envelope.delivery_tag.as_deref().unwrap_or_default();
        let priority = envelope.message.properties.priority.unwrap_or(0);
        for queue in self.channels.queues_of(&name) {
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
