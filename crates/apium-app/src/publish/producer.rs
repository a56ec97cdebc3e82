//! Producers held by hand (Celery: `producer_or_acquire`), from a pool of `broker_pool_limit`.

use std::sync::Arc;

use apium_transport::broker::outgoing::Outgoing;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::table::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::publish::publisher::Publisher;

/// The pool of producers.
#[derive(Debug)]
pub struct ProducerPool {
    places: Option<Arc<Semaphore>>,
}

impl ProducerPool {
    /// A pool with as many places as the settings say.
    pub fn new(config: &Config) -> Self {
        let limit = config.broker_pool_limit.filter(|limit| *limit > 0);
        let places = limit.map(|limit| Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))));
        Self { places }
    }

    /// Waits for a place, as long as `broker_pool_acquire_timeout` allows.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`] when no place came free in time. Cancel-safe.
    pub async fn acquire(&self, publisher: Publisher) -> Result<Producer> {
        let Some(places) = &self.places else { return Ok(Producer { publisher, _place: None }) };
        let place = places.clone().acquire_owned();
        let place = match publisher.config().broker_pool_acquire_timeout {
            Some(limit) => tokio::time::timeout(limit, place).await.map_err(|_| {
                let text = format!(
                    "get a producer within {} s: all of broker_pool_limit are held; drop one, or raise the limit",
                    limit.as_secs_f64()
                );
                Error::new(ErrorKind::Publish, text)
            })?,
            None => place.await,
        };
        let place = place.map_err(|error| Error::new(ErrorKind::Publish, "get a producer").with_source(error))?;
        Ok(Producer { publisher, _place: Some(place) })
    }
}

/// A producer held by hand: for `call.producer(&producer)`, or to publish prepared messages. Its place goes back to the
/// pool when it is dropped.
#[derive(Debug)]
pub struct Producer {
    publisher: Publisher,
    _place: Option<OwnedSemaphorePermit>,
}

impl Producer {
    /// What it publishes through.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Publishes prepared messages, all or none if the broker publishes atomically.
    ///
    /// # Errors
    /// See [`Publisher::publish`].
    pub async fn publish(&self, batch: Vec<Outgoing>) -> Result<()> {
        self.publisher.publish(batch).await
    }
}
