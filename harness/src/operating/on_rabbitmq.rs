//! The rows of these tests on RabbitMQ, with Celery beside them. Results are on Redis: `rpc://` keeps none.

use std::sync::Arc;

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::row::Row;
use crate::operating::celery::{self, Peer};
use crate::operating::crew::{Crew, log_file};
use crate::operating::rows;
use crate::operating::server::{Server, Traffic};
use crate::rabbitmq::frames::Frames;
use crate::rabbitmq::site::{Queues, Site};
use crate::rabbitmq::size::Size;
use crate::torture::store;

impl Server for Site {
    fn restart(&self) {
        Self::node().restart();
    }

    fn leftover(&self) -> Option<Result<u64, BoxError>> {
        // The other queues hold what workers share: what is revoked and paused.
        Some(self.messages_of(&["celery", "apium_delayed_", "apium.dead"]))
    }

    fn traffic(&self) -> Option<Box<dyn Traffic>> {
        Some(Box::new(Frames::of(self.proxy.clone())))
    }
}

/// A vhost, a store of results, and workers on them.
struct Place {
    crew: Crew,
    site: Arc<Site>,
    results: RedisServer,
}

impl Place {
    async fn new(guarantee: &str) -> Result<Self, BoxError> {
        let mut site = Site::new(Queues::Classic)?;
        // Only these lose nothing that waits for its eta when the node is killed.
        if guarantee == "durable-revokes" {
            site.delays = Queues::Quorum;
        }
        let results = RedisServer::start();
        let store = store::Site::new(site.folder(), site.url()).with_backend(results.url(0));
        // That a worker is quiet is promised for the default.
        let store = rows::with_lease_for(guarantee, store);
        if guarantee == "idle-quiet" {
            site.proxy.record();
        }
        let site = Arc::new(site);
        Ok(Self { crew: Crew::new(store, Some(site.clone())).await?, site, results })
    }

    /// Celery's programs here.
    fn peer(&self) -> Peer {
        Peer { broker: self.site.plain_url(), backend: self.results.url(0), options: "{}".to_owned() }
    }
}

/// Checks one of [`rows::GUARANTEES`].
pub async fn check(guarantee: &'static str, size: &Size) -> Result<Row, BoxError> {
    let place = Place::new(guarantee).await?;
    let mut row = rows::of(guarantee, &place.crew, &log_file(place.site.folder()), &size.operating).await?;
    if size.celery {
        let place = Place::new(guarantee).await?;
        row.celery = celery::check(guarantee, &place.crew, &place.peer(), &size.operating).await?;
    }
    Ok(row)
}
