//! A message to be published, and where to.

use std::fmt;
use std::sync::Arc;

use apium_protocol::message::message::Message;
use jiff::Timestamp;

use crate::error::Error;

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

/// The error of a batch of which some messages were not published: those at the indexes `failed` of `all`. The others
/// were. `cause` is why the first of them was not. [`unpublished`] reads the indexes back.
pub fn partly_published(failed: Vec<usize>, all: usize, cause: Error) -> Error {
    let text = format!("publish {} of {all} messages (the others were published)", failed.len());
    Error::new(cause.kind(), text).with_source(Unpublished { failed, cause })
}

/// The indexes in an error made by [`partly_published`]; `None` for any other error.
pub fn unpublished(error: &Error) -> Option<&[usize]> {
    let source = std::error::Error::source(error);
    source.and_then(|source| source.downcast_ref::<Unpublished>()).map(|unpublished| &*unpublished.failed)
}

/// The cause of a [`partly_published`] error.
struct Unpublished {
    failed: Vec<usize>,
    cause: Error,
}

impl fmt::Debug for Unpublished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // There may be thousands of them.
        f.debug_struct("Unpublished").field("failed", &self.failed.len()).field("cause", &self.cause).finish()
    }
}

impl fmt::Display for Unpublished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the first of them")
    }
}

impl std::error::Error for Unpublished {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
