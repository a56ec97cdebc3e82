//! Where a chord lives while it is broken: a database of a Redis server, or files of the embedded driver.

use std::path::{Path, PathBuf};

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::canvas::crew::Stores;
use crate::faults::look::Look;
use crate::place::Place;

/// A driver, or two stores of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Driver {
    /// Redis.
    Redis,
    /// The embedded driver.
    Sqlite,
    /// The embedded driver with queue and results in two files, so that ending a chord is not one step.
    SqliteApart,
}

impl Driver {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Sqlite => "sqlite",
            Self::SqliteApart => "sqlite, two files",
        }
    }
}

/// Fresh stores and a log.
#[derive(Debug)]
pub struct Ground {
    place: Place,
    stores: Stores,
    redis: Option<String>,
}

impl Ground {
    /// Fresh ones.
    pub fn new(driver: Driver, server: &RedisServer) -> Result<Self, BoxError> {
        let place = Place::new()?;
        let file = |name: &str| format!("sqlite://{}", place.folder().join(name).display());
        let redis = (driver == Driver::Redis).then(|| server.fresh_database().url);
        let stores = match (driver, &redis) {
            (Driver::SqliteApart, _) => Stores { broker: file("queue.db"), backend: file("results.db") },
            (_, Some(url)) => Stores { broker: url.clone(), backend: url.clone() },
            (_, None) => Stores { broker: file("queue.db"), backend: file("queue.db") },
        };
        Ok(Self { place, stores, redis })
    }

    /// Their addresses.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Where tasks note their runs.
    pub fn log(&self) -> PathBuf {
        self.folder().join("runs")
    }

    fn folder(&self) -> &Path {
        self.place.folder()
    }

    /// How many messages lie in queues, are out, wait or are dead, and what else is kept of them.
    pub async fn left(&self, app: &App) -> Result<u64, BoxError> {
        let broker = app.broker();
        let stats = broker
            .queues()
            .and_then(|queues| queues.counts())
            .ok_or("count the queues: this broker cannot")?
            .stats()
            .await?;
        let dead = broker.dead().ok_or("count the dead set: this broker has none")?.count().await?;
        let listed = dead + stats.iter().map(|queue| queue.ready + queue.unacked + queue.delayed).sum::<u64>();
        match &self.redis {
            Some(url) => Ok(listed.max(Look::at(url)?.left()?.total())),
            None => Ok(listed),
        }
    }
}
