//! Replies to requests: each goes to the mailbox that the request names, if it names one.

use std::sync::Arc;
use std::time::Duration;

use apium_app::observe::lamport_clock::LamportClock;
use apium_protocol::codecs::codecs::Codecs;
use apium_protocol::error::with_causes;
use apium_protocol::json::text::Json;
use apium_protocol::message::control::{ControlReply, ReplyAddress};
use apium_transport::broker::broadcast::BroadcastExchange;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::ExchangeType;

/// How long sending replies may take. Whoever asked waits a second.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a reply goes, and the ticket that it carries.
#[derive(Debug, Clone)]
pub(crate) struct ReplyTo {
    pub(crate) address: ReplyAddress,
    pub(crate) ticket: Option<String>,
}

/// A reply that is to be sent.
#[derive(Debug)]
pub(crate) struct OutgoingReply {
    exchange: String,
    message: Outgoing,
}

/// Writes the replies of a node.
#[derive(Clone)]
pub(crate) struct ReplyWriter {
    pub(crate) node: Arc<str>,
    pub(crate) clock: LamportClock,
    pub(crate) codecs: Codecs,
    /// The serializer of tasks, as in Celery.
    pub(crate) serializer: Arc<str>,
}

impl ReplyWriter {
    /// The message of an answer.
    pub(crate) fn write(&self, to: &ReplyTo, answer: &Json) -> OutgoingReply {
        let mut message = ControlReply::message(&self.node, answer, to.ticket.as_deref(), self.clock.forward());
        if let Err(error) = self.codecs.reformat(&mut message, &self.serializer) {
            // Such as a number of more than 64 bits in msgpack. Whoever asked may read JSON too.
            tracing::debug!(error = %with_causes(&error), "a reply to remote control is sent in JSON");
        }
        let ReplyAddress { exchange, routing_key, .. } = to.address.clone();
        OutgoingReply { message: Outgoing::new(exchange.as_str().into(), routing_key.into(), message), exchange }
    }
}

/// Sends replies. What cannot be sent is logged and given up: whoever asked does not wait for long.
pub(crate) async fn send_all(broker: SharedBroker, mut replies: Vec<OutgoingReply>) {
    let Some(broadcast) = broker.broadcast() else { return };
    replies.sort_by(|a, b| a.exchange.cmp(&b.exchange));
    let mut replies = replies.into_iter().peekable();
    while let Some(OutgoingReply { exchange, message }) = replies.next() {
        let mut batch = vec![message];
        while let Some(same) = replies.next_if(|next| next.exchange == exchange) {
            batch.push(same.message);
        }
        let exchange = BroadcastExchange::new(exchange, ExchangeType::Direct);
        match tokio::time::timeout(SEND_TIMEOUT, broadcast.send(&exchange, batch)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = %with_causes(&error), "could not send replies to remote control");
            }
            Err(_) => tracing::debug!("replies to remote control were not sent within {SEND_TIMEOUT:?}"),
        }
    }
}
