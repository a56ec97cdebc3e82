//! Messages that are made once and copied for every drain, so that all drains run the same bytes.

use apium::prelude::BoxError;
use apium_peers::namespace::Database;

use crate::redis::kit::server::{Server, connect};
use crate::speed::load;

/// A queue of calls of the counted task, in the order of their numbers from zero.
#[derive(Debug)]
pub struct Stock {
    database: Database,
    results: bool,
}

impl Stock {
    /// Makes `count` calls.
    pub async fn fill(server: &Server, count: u64, results: bool) -> Result<Self, BoxError> {
        let database = server.fresh();
        let app = load::app(&database.url, results).await?;
        load::fill(&app, count).await?;
        app.close().await?;
        Ok(Self { database, results })
    }

    /// Makes `count` calls, each with a callback that has a number of its own from `count` on. No results are stored.
    pub async fn with_callbacks(server: &Server, count: u64) -> Result<Self, BoxError> {
        let database = server.fresh();
        let app = load::app(&database.url, false).await?;
        load::fill_with_callbacks(&app, count).await?;
        app.close().await?;
        Ok(Self { database, results: false })
    }

    /// Whether the calls have their results stored.
    pub fn results(&self) -> bool {
        self.results
    }

    /// A fresh database with the calls of the numbers below `count`.
    pub async fn copy(&self, server: &Server, count: u64) -> Result<Database, BoxError> {
        let database = server.fresh();
        let mut connection = connect(&self.database.url).await?;
        redis::cmd("COPY")
            .arg("celery")
            .arg("celery")
            .arg("DB")
            .arg(database.number)
            .query_async::<()>(&mut connection)
            .await?;
        let mut connection = connect(&database.url).await?;
        let count = i64::try_from(count)?;
        // The first calls are at the end of the list from which workers pop.
        let (copied,): (i64,) = redis::pipe()
            .cmd("LTRIM")
            .arg("celery")
            .arg(-count)
            .arg(-1)
            .ignore()
            .cmd("LLEN")
            .arg("celery")
            .query_async(&mut connection)
            .await?;
        if copied != count {
            return Err(format!("copy {count} messages: there are {copied}").into());
        }
        Ok(database)
    }

    /// The envelopes of the numbers below `count`.
    pub async fn envelopes(&self, count: u64) -> Result<Vec<Vec<u8>>, BoxError> {
        let mut connection = connect(&self.database.url).await?;
        let first = -i64::try_from(count)?;
        let mut found: Vec<Vec<u8>> =
            redis::cmd("LRANGE").arg("celery").arg(first).arg(-1).query_async(&mut connection).await?;
        found.reverse();
        Ok(found)
    }
}
