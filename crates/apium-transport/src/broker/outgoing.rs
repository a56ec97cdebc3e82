//! A message to be published, and where to.

use std::sync::Arc;

use apium_protocol::message::message::Message;
use jiff::Timestamp;

/// One message to publish.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Outgoing {
    /// The exchange; empty for the default exchange, which takes `routing_key` as the queue's name.
    pub exchange: Arc<str>,
    /// The routing key.
    pub routing_key: Arc<str>,
    /// The message. Priority and expiration are among its properties.
    pub message: Message,
    /// Not to be delivered before this instant, if the broker delays messages.
    pub eta: Option<Timestamp>,
}

impl Outgoing {
    /// A message for an exchange, to be delivered as soon as possible.
    pub fn new(exchange: Arc<str>, routing_key: Arc<str>, message: Message) -> Self {
        Self { exchange, routing_key, message, eta: None }
    }

    /// A message for `queue` through the default exchange.
    pub fn to_queue(queue: impl Into<Arc<str>>, message: Message) -> Self {
        Self { exchange: "".into(), routing_key: queue.into(), message, eta: None }
    }

    /// With an eta.
    #[must_use]
    pub fn at(mut self, eta: Option<Timestamp>) -> Self {
        self.eta = eta;
        self
    }
}
