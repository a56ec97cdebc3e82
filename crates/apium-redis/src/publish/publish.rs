//! Publishing: each message becomes an element of a list, parked until its eta, or told on a channel; a batch is one atomic write.

use std::collections::HashMap;

use apium_protocol::json::text::Json;
use apium_protocol::message::envelope::encode;
use apium_protocol::message::message::Message;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::error::{ErrorKind, Result};
use redis::{Cmd, Pipeline};

use crate::keys::score::due_score;
use crate::options::broker::EtaStrategy;
use crate::publish::bindings::BindingTable;
use crate::scripts::operation::{Operation, write};
use crate::scripts::route::{PublishTarget, STORED_PROPERTY, fresh_tag};
use crate::scripts::script::SETTLE;
use crate::shared::BrokerShared;

impl BrokerShared {
    /// Publishes all of a batch or none.
    pub(crate) async fn publish(&self, batch: Vec<Outgoing>) -> Result<()> {
        const WHAT: &str = "publish";
        self.check_open(WHAT)?;
        if batch.is_empty() {
            return Ok(());
        }
        let mut bindings = redis::pipe();
        let added = self.bind_new(&mut bindings, by_name(&batch));
        let routes = self.targets(batch).await?;
        match added.is_empty() {
            true => self.write(WHAT, &routes).await,
            false if routes.iter().all(|route| matches!(route, PublishTarget::List { .. })) => {
                bindings.atomic();
                push(&mut bindings, &routes);
                self.connection.pipeline(WHAT, &bindings).await.map(drop)
            }
            false => {
                self.connection.pipeline(WHAT, &bindings).await?;
                self.write(WHAT, &routes).await
            }
        }?;
        self.remember_bound(added);
        Ok(())
    }

    /// The routes of messages that are written together with something else; their queues are bound now.
    pub(crate) async fn bound_targets(&self, batch: Vec<Outgoing>) -> Result<Vec<PublishTarget>> {
        let mut bindings = redis::pipe();
        let added = self.bind_new(&mut bindings, by_name(&batch));
        let routes = self.targets(batch).await?;
        if !added.is_empty() {
            match self.connection.pipeline("publish", &bindings).await {
                Ok(_) => self.remember_bound(added),
                // With memory full a settlement is done all the same, and the queue is bound by whoever publishes to it next.
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                Err(error) => return Err(error),
            }
        }
        Ok(routes)
    }

    async fn write(&self, what: &'static str, routes: &[PublishTarget]) -> Result<()> {
        if let [PublishTarget::List { list, .. }, rest @ ..] = routes
            && rest.iter().all(|route| matches!(route, PublishTarget::List { list: other, .. } if other == list))
        {
            let mut command = redis::cmd("LPUSH");
            command.arg(list);
            envelopes(&mut command, routes);
            return self.connection.command(what, &command).await.map(drop);
        }
        if routes.iter().all(|route| matches!(route, PublishTarget::List { .. })) {
            let mut pipeline = redis::pipe();
            pipeline.atomic();
            push(&mut pipeline, routes);
            return self.connection.pipeline(what, &pipeline).await.map(drop);
        }
        let operations: Vec<Operation<'_>> =
            std::iter::once(Operation::ForDelivery(0)).chain(routes.iter().map(Operation::Publish)).collect();
        let fill = |command: &mut Cmd| write(self, command, std::iter::empty(), 0, &operations);
        self.connection.script(what, &SETTLE, fill).await.map(drop)
    }

    async fn targets(&self, batch: Vec<Outgoing>) -> Result<Vec<PublishTarget>> {
        let mut tables: HashMap<String, BindingTable> = HashMap::new();
        for outgoing in batch.iter().filter(|outgoing| !outgoing.exchange.is_empty()) {
            if !tables.contains_key(&*outgoing.exchange) {
                tables.insert(outgoing.exchange.to_string(), self.binding_table(&outgoing.exchange).await?);
            }
        }
        let mut routes = Vec::with_capacity(batch.len());
        for outgoing in &batch {
            match tables.get(&*outgoing.exchange) {
                None => routes.push(self.to_queue(outgoing, &outgoing.routing_key)),
                Some(table) => {
                    for queue in table.queues(&outgoing.exchange, &outgoing.routing_key)? {
                        routes.push(self.to_queue(outgoing, queue));
                    }
                    if table.is_fanout() {
                        routes.push(self.to_channel(outgoing));
                    }
                }
            }
        }
        Ok(routes)
    }

    fn to_queue(&self, outgoing: &Outgoing, queue: &str) -> PublishTarget {
        let Outgoing { exchange, routing_key, message, eta, .. } = outgoing;
        let list = self.keys.list(queue, message.properties.priority.unwrap_or(0));
        // Each copy has a tag of its own: kombu keeps what is not acked by tag.
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

fn by_name(batch: &[Outgoing]) -> impl Iterator<Item = &str> {
    batch.iter().filter(|outgoing| outgoing.exchange.is_empty()).map(|outgoing| &*outgoing.routing_key)
}

fn enveloped(message: &Message, exchange: &str, routing_key: &str) -> Vec<u8> {
    let mut envelope = Vec::new();
    encode(message, exchange, routing_key, &fresh_tag(), &mut envelope);
    envelope
}

fn envelopes(command: &mut Cmd, routes: &[PublishTarget]) {
    for route in routes {
        if let PublishTarget::List { envelope, .. } = route {
            command.arg(envelope.as_slice());
        }
    }
}

/// One push for each run of messages of one list, in order.
fn push(pipeline: &mut Pipeline, routes: &[PublishTarget]) {
    let list_of = |route: &PublishTarget| match route {
        PublishTarget::List { list, .. } => Some(list.clone()),
        _ => None,
    };
    for run in routes.chunk_by(|a, b| list_of(a) == list_of(b)) {
        if let Some(list) = run.first().and_then(list_of) {
            let mut command = redis::cmd("LPUSH");
            command.arg(list);
            envelopes(&mut command, run);
            pipeline.add_command(command).ignore();
        }
    }
}
