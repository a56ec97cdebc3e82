//! Layers of publishing: code of the app that sees every message before it is sent, wherever it is made, and that is
//! around the sending of what a program or a task sends itself.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use apium_protocol::value::printable::printable;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::error::Result as TransportResult;
use futures_util::future::BoxFuture;

use crate::context::request::Request;
use crate::error::{Error, ErrorKind, Result};

/// A layer of publishing (`AppBuilder::layer`). Of several layers, the one that the builder was given first is the
/// outermost: its [`before_publish`](Self::before_publish) is called first.
pub trait PublishLayer: Send + Sync + 'static {
    /// Sees a message before it is sent, and may change it or refuse it (Celery: `before_task_publish`).
    ///
    /// Every message of a task comes here: what a program or a task sends itself, and what a worker makes because a run
    /// ended, which are callbacks, the next step of a chain, the body of a chord, errbacks that are sent, what replaces
    /// a task, and retries. What only moves does not: a message that goes back to its queue, a dead message or one that
    /// is replayed, and `apium.chord_part`, by which a worker counts once more. An eager call sends no message.
    ///
    /// `parent` is the request of the task that sends the message, or whose end leads to it; `None` outside of tasks.
    /// For a retry it is the request of the run before, whose headers the message has already. For the body of a chord
    /// it is that of the part that ended last.
    ///
    /// The layer may change headers, properties, the body, the exchange and the routing key, and not the id of the
    /// task, by which others know it. A message that is tried again is not passed through the layers again. What
    /// follows a run may be made more than once, and another message may be sent in its place or none at all. So count
    /// what was sent somewhere else. It must be quick and do no I/O: a store may be locked while the body of a chord is
    /// made.
    ///
    /// # Errors
    /// Any error refuses the message. A caller gets it (`ErrorKind::Publish`), and nothing of the batch is sent. For
    /// what follows a run it is an error as of a follow-up that cannot be made, and so is a panic: the task fails with
    /// `FollowUpError`, a chord whose body is refused fails, a task whose retry is refused is rejected, and an errback
    /// that is refused is logged and left out.
    fn before_publish(
        &self,
        message: &mut Outgoing,
        parent: Option<&Request>,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let _ = (message, parent);
        Ok(())
    }

    /// Runs `publish`, which sends a batch that has passed [`before_publish`](Self::before_publish), and may look at
    /// its result, delay it, or not run it at all. When it is tried again, it goes through the layers again.
    ///
    /// It is around what a program or a task sends itself. What follows a run is sent together with the result of the
    /// run and the acknowledgement, so nothing can be around it alone.
    fn around_publish<'a>(&'a self, publish: PublishNext<'a>) -> BoxFuture<'a, TransportResult<()>> {
        publish.run()
    }
}

/// A shared layer.
pub type SharedPublishLayer = Arc<dyn PublishLayer>;

/// A batch on its way, and what comes after a layer: the next layer, and after the last one the broker.
pub struct PublishNext<'a> {
    layers: &'a [SharedPublishLayer],
    broker: &'a SharedBroker,
    batch: Vec<Outgoing>,
}

impl<'a> PublishNext<'a> {
    pub(crate) fn new(layers: &'a [SharedPublishLayer], broker: &'a SharedBroker, batch: Vec<Outgoing>) -> Self {
        Self { layers, broker, batch }
    }

    /// The messages, as they are sent.
    pub fn messages(&self) -> &[Outgoing] {
        &self.batch
    }

    /// Sends the batch: runs the layers inside this one, and the broker.
    pub fn run(self) -> BoxFuture<'a, TransportResult<()>> {
        match self.layers.split_first() {
            Some((layer, layers)) => layer.around_publish(Self { layers, ..self }),
            None => self.broker.publish(self.batch),
        }
    }
}

impl fmt::Debug for PublishNext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishNext")
            .field("layers", &self.layers.len())
            .field("messages", &self.batch.len())
            .finish_non_exhaustive()
    }
}

/// Passes one message through the layers.
///
/// # Errors
/// [`ErrorKind::Publish`] when a layer refuses it, or changes the id of its task.
pub(crate) fn pass(layers: &[SharedPublishLayer], outgoing: &mut Outgoing, parent: Option<&Request>) -> Result<()> {
    let id = outgoing.message.headers.id.clone();
    for layer in layers {
        let refused = layer.before_publish(outgoing, parent).err().map(|error| ("a layer refuses it", Some(error)));
        let refused = refused.or_else(|| {
            (outgoing.message.headers.id != id)
                .then_some(("a layer changed the id, by which others know the task", None))
        });
        let Some((why, cause)) = refused else { continue };
        let task = outgoing.message.headers.task.as_deref().unwrap_or("?");
        let name = printable(format!("{task}[{}]", id.as_ref().map_or("?", |id| id.as_str())));
        let error = Error::new(ErrorKind::Publish, format!("publish {name}: {why}"));
        return Err(match cause {
            Some(cause) => error.with_source(cause),
            None => error,
        });
    }
    Ok(())
}
