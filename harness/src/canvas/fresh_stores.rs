//! Fresh stores for one chord: a database of a Redis server, or files of the embedded driver.

use std::path::{Path, PathBuf};

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::canvas::crew::Stores;
use crate::faults::kit::look::Look;
use crate::scratch::ScratchFolder;
use crate::torture::store;

/// A driver, with queue and results in one store or in two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Driver {
    /// Redis.
    Redis,
    /// The embedded driver, with queue and results in one file.
    Sqlite,
    /// The embedded driver with queue and results in two files: there, ending a chord is not one atomic step.
    SqliteTwoFiles,
}

impl Driver {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Sqlite => "sqlite",
            Self::SqliteTwoFiles => "sqlite, two files",
        }
    }
}

/// Empty stores, and the log of runs.
#[derive(Debug)]
pub struct FreshStores {
    scratch: ScratchFolder,
    stores: Stores,
    redis: Option<String>,
}

impl FreshStores {
    /// Makes them.
    pub fn new(driver: Driver, server: &RedisServer) -> Result<Self, BoxError> {
        let scratch = ScratchFolder::new()?;
        let file = |name: &str| format!("sqlite://{}", scratch.folder().join(name).display());
        let redis = (driver == Driver::Redis).then(|| server.fresh_database().url);
        let stores = match (driver, &redis) {
            (Driver::SqliteTwoFiles, _) => Stores { broker: file("queue.db"), backend: file("results.db") },
            (_, Some(url)) => Stores { broker: url.clone(), backend: url.clone() },
            (_, None) => Stores { broker: file("queue.db"), backend: file("queue.db") },
        };
        Ok(Self { scratch, stores, redis })
    }

    /// Their addresses.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Where tasks record their runs.
    pub fn log(&self) -> PathBuf {
        self.folder().join("runs")
    }

    fn folder(&self) -> &Path {
        self.scratch.folder()
    }

    /// How many messages are in queues, in flight, delayed or in the dead set, and what else the broker stores of
    /// messages.
    pub async fn leftover(&self, app: &App) -> Result<u64, BoxError> {
        let listed = store::leftover(app).await?;
        match &self.redis {
            Some(url) => Ok(listed.max(Look::at(url)?.leftover()?.total())),
            None => Ok(listed),
        }
    }
}
