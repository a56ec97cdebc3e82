//! Producers that a program acquires itself (Celery: `producer_or_acquire`), from a pool of `broker_pool_limit`.

use std::sync::Arc;

use apium_transport::broker::outgoing::Outgoing;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::table::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::publish::publisher::Publisher;

/// The pool of producers.
#[derive(Debug)]
pub(crate) struct ProducerPool {
    permits: Option<Arc<Semaphore>>,
}

impl ProducerPool {
    /// A pool of `broker_pool_limit` producers.
    pub(crate) fn new(config: &Config) -> Self {
        let limit = config.broker_pool_limit.filter(|limit| *limit > 0);
        let permits = limit.map(|limit| Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))));
        Self { permits }
    }

    /// Waits for a producer, at most for `broker_pool_acquire_timeout`. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`] when none became free in time.
    pub(crate) async fn acquire(&self, publisher: Publisher) -> Result<Producer> {
        let Some(permits) = &self.permits else { return Ok(Producer { publisher, _permit: None }) };
        let permit = permits.clone().acquire_owned();
        let permit = match publisher.config().broker_pool_acquire_timeout {
            Some(limit) => tokio::time::timeout(limit, permit).await.map_err(|_| {
                let text = format!(
                    "get a producer within {} s: all of broker_pool_limit are in use; drop one, or raise the limit",
                    limit.as_secs_f64()
                );
                Error::new(ErrorKind::Publish, text)
            })?,
            None => permit.await,
        };
        let permit = permit.map_err(|error| Error::new(ErrorKind::Publish, "get a producer").with_source(error))?;
        Ok(Producer { publisher, _permit: Some(permit) })
    }
}

/// A producer that a program acquired ([`App::producer`](crate::app::app::App::producer)), for
/// `call.producer(&producer)` or to publish prepared messages. Dropped, it goes back to its pool.
#[derive(Debug)]
pub struct Producer {
    publisher: Publisher,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Producer {
    /// The publisher that it uses.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Publishes prepared messages, all of them or none if the broker publishes atomically.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub async fn publish(&self, batch: Vec<Outgoing>) -> Result<()> {
        self.publisher.publish(batch).await
    }
}
