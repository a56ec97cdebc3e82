//! Publishing: each message goes to a list, is delayed until its eta, or is published on a channel. A batch is one
//! atomic write.

use std::collections::HashMap;

use apium_protocol::json::text::Json;
use apium_protocol::message::envelope::encode;
use apium_protocol::message::message::Message;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::error::{ErrorKind, Result};
use redis::Cmd;

use crate::keys::score::due_score;
use crate::options::broker::EtaStrategy;
use crate::publish::bindings::BindingTable;
use crate::scripts::operation::{Operation, PublishTarget, write};
use crate::scripts::script::SETTLE;

use crate::shared::BrokerShared;

/// The property of a message on a fanout channel that tells Apium's workers that it is stored in their queues already.
pub(crate) const STORED_PROPERTY: &str = "apium_stored";

/// A new delivery tag: a UUID, as in kombu. It must be unique, but need not be a secret.
pub(crate) fn fresh_tag() -> String {
    let mut buffer = uuid::Uuid::encode_buffer();
    let bytes = fastrand::u128(..).to_ne_bytes();
    uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().encode_lower(&mut buffer).to_owned()
}

impl BrokerShared {
    /// Publishes a batch, all of it or nothing.
    pub(crate) async fn publish(&self, batch: &[Outgoing]) -> Result<()> {
        const WHAT: &str = "publish";
        self.check_open(WHAT)?;
        if batch.is_empty() {
            return Ok(());
        }
        let mut bindings = redis::pipe();
        let added = self.bind_new(&mut bindings, by_name(batch));
        // What few messages need is boxed: the future of the others stays small.
        let targets = match batch.iter().all(|outgoing| outgoing.exchange.is_empty()) {
            true => batch.iter().map(|outgoing| self.to_queue(outgoing, &outgoing.routing_key)).collect(),
            false => Box::pin(self.targets(batch)).await?,
        };
        if !added.is_empty() {
            Box::pin(self.connection.pipeline(WHAT, &bindings)).await?;
            self.declared.add_bound(added);
        }
        match one_list(&targets) {
            Some(command) => self.connection.command(WHAT, &command).await.map(drop),
            None => Box::pin(self.write(WHAT, &targets)).await,
        }
    }

    /// The targets of messages that are written together with something else. Their queues are bound at once.
    pub(crate) async fn bound_targets(&self, batch: Vec<Outgoing>) -> Result<Vec<PublishTarget>> {
        let mut bindings = redis::pipe();
        let added = self.bind_new(&mut bindings, by_name(&batch));
        let targets = self.targets(&batch).await?;
        if !added.is_empty() {
            match self.connection.pipeline("publish", &bindings).await {
                Ok(_) => self.declared.add_bound(added),
                // A server with full memory refuses the bindings and still settles. Whoever publishes to the queue next
                // binds it.
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                Err(error) => return Err(error),
            }
        }
        Ok(targets)
    }

    async fn write(&self, what: &'static str, targets: &[PublishTarget]) -> Result<()> {
        // Not a transaction: that one would go on after a list of another type.
        let mut operations = vec![Operation::ForDelivery(0)];
        operations.extend(targets.iter().map(Operation::Publish));
        let fill = |command: &mut Cmd| {
            let tags = (std::iter::empty(), 0);
            write(&self.keys, self.connection.server_now(), command, tags, &operations);
        };
        self.connection.script(what, &SETTLE, fill).await.map(drop)
    }

    async fn targets(&self, batch: &[Outgoing]) -> Result<Vec<PublishTarget>> {
        let mut tables: HashMap<String, BindingTable> = HashMap::new();
        for outgoing in batch.iter().filter(|outgoing| !outgoing.exchange.is_empty()) {
            if !tables.contains_key(&*outgoing.exchange) {
                tables.insert(outgoing.exchange.to_string(), self.binding_table(&outgoing.exchange).await?);
            }
        }
        let mut targets = Vec::with_capacity(batch.len());
        for outgoing in batch {
            match tables.get(&*outgoing.exchange) {
                None => targets.push(self.to_queue(outgoing, &outgoing.routing_key)),
                Some(table) => {
                    for queue in table.queues(&outgoing.exchange, &outgoing.routing_key)? {
                        targets.push(self.to_queue(outgoing, queue));
                    }
                    if table.is_fanout() {
                        targets.push(self.to_channel(outgoing));
                    }
                }
            }
        }
        Ok(targets)
    }

    fn to_queue(&self, outgoing: &Outgoing, queue: &str) -> PublishTarget {
        let Outgoing { exchange, routing_key, message, eta, .. } = outgoing;
        let list = self.keys.list(queue, message.properties.priority.unwrap_or(0));
        // Each copy has a tag of its own, since kombu keeps messages in flight by tag.
        let envelope = enveloped(message, exchange, routing_key);
        let eta =
            eta.filter(|eta| self.options.eta_strategy == EtaStrategy::Park && *eta > self.connection.clock().now());
        match eta {
            None => PublishTarget::List { list, envelope },
            Some(eta) => PublishTarget::Delayed { list, due: due_score(eta), envelope },
        }
    }

    fn to_channel(&self, outgoing: &Outgoing) -> PublishTarget {
        let Outgoing { exchange, routing_key, message, .. } = outgoing;
        let mut message = message.clone();
        message.properties.extra.insert(STORED_PROPERTY.to_owned(), Json::NULL);
        let channel = self.keys.fanout_channel(exchange, routing_key);
        PublishTarget::Channel { channel, envelope: enveloped(&message, exchange, routing_key) }
    }
}

/// The command that writes all targets, if they are one list.
fn one_list(targets: &[PublishTarget]) -> Option<Cmd> {
    let (list, _) = in_list(targets.first()?)?;
    let mut size = "LPUSH".len() + list.len();
    for target in targets {
        let (_, envelope) = in_list(target).filter(|(other, _)| *other == list)?;
        size += envelope.len();
    }
    let mut command = Cmd::with_capacity(targets.len() + 2, size);
    command.arg("LPUSH").arg(list);
    for (_, envelope) in targets.iter().filter_map(in_list) {
        command.arg(envelope);
    }
    Some(command)
}

/// The list and the envelope of a target that is a list.
fn in_list(target: &PublishTarget) -> Option<(&str, &[u8])> {
    match target {
        PublishTarget::List { list, envelope } => Some((list, envelope)),
        _ => None,
    }
}

fn by_name(batch: &[Outgoing]) -> impl Iterator<Item = &str> {
    batch.iter().filter(|outgoing| outgoing.exchange.is_empty()).map(|outgoing| &*outgoing.routing_key)
}

fn enveloped(message: &Message, exchange: &str, routing_key: &str) -> Vec<u8> {
    let mut envelope = Vec::new();
    encode(message, exchange, routing_key, &fresh_tag(), &mut envelope);
    envelope
}
