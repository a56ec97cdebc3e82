//! Layers around publishing: each sees every batch on its way to the broker, and may change it, delay it or pass it on.

use std::sync::Arc;

use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::error::Result;
use futures_util::future::BoxFuture;

/// A layer around publishing. Layers are called in the order in which the builder got them: the first one is the
/// outermost. When publishing fails and is tried again, it goes through the layers again.
pub trait PublishLayer: Send + Sync + 'static {
    /// Publishes a batch: calls `next.publish` with the messages to send.
    fn publish<'a>(&'a self, batch: Vec<Outgoing>, next: PublishNext<'a>) -> BoxFuture<'a, Result<()>>;
}

/// A shared layer.
pub type SharedPublishLayer = Arc<dyn PublishLayer>;

/// What comes after a layer: the next layer, and after the last one the broker.
#[derive(Clone, Copy)]
pub struct PublishNext<'a> {
    layers: &'a [SharedPublishLayer],
    broker: &'a SharedBroker,
}

impl<'a> PublishNext<'a> {
    pub(crate) fn new(layers: &'a [SharedPublishLayer], broker: &'a SharedBroker) -> Self {
        Self { layers, broker }
    }

    /// Passes a batch on.
    pub fn publish(self, batch: Vec<Outgoing>) -> BoxFuture<'a, Result<()>> {
        match self.layers.split_first() {
            Some((layer, layers)) => layer.publish(batch, Self { layers, ..self }),
            None => self.broker.publish(batch),
        }
    }
}
