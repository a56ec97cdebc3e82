//! The private server of the measurements, and a connection that looks at it.

use std::time::Duration;

use apium::prelude::BoxError;
use apium_peers::namespace::Database;
use apium_peers::redis_server::RedisServer;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;

use crate::process;
use crate::redis::kit::commands::Commands;

/// A server without persistence.
#[derive(Debug)]
pub struct Server {
    process: RedisServer,
    look: MultiplexedConnection,
}

/// What a drain left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leftover {
    /// Messages in the queue or in flight.
    pub messages: u64,
    /// Stored results.
    pub results: u64,
}

impl Server {
    /// Starts it.
    pub async fn start() -> Result<Self, BoxError> {
        let process = RedisServer::start();
        let look = connect(&process.url(0)).await?;
        Ok(Self { process, look })
    }

    /// A database that was not used before.
    pub fn fresh(&self) -> Database {
        self.process.fresh_database()
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.process.port()
    }

    /// How often it ran each command so far, those inside scripts included.
    pub async fn commands(&self) -> Result<Commands, BoxError> {
        let text: String = redis::cmd("INFO").arg("commandstats").query_async(&mut self.look.clone()).await?;
        Ok(Commands::parse(&text))
    }

    /// How many connections it has, this one included.
    pub async fn connections(&self) -> Result<usize, BoxError> {
        let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut self.look.clone()).await?;
        Ok(list.lines().count())
    }

    /// A number of a section of INFO.
    pub async fn info(&self, section: &str, field: &str) -> Result<f64, BoxError> {
        let text: String = redis::cmd("INFO").arg(section).query_async(&mut self.look.clone()).await?;
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.trim().parse().ok());
        Ok(value.ok_or_else(|| format!("read {field} of the server"))?)
    }

    /// How many channels are subscribed.
    pub async fn channels(&self) -> Result<u64, BoxError> {
        let channels: Vec<String> =
            redis::cmd("PUBSUB").arg("CHANNELS").arg("celery-task-meta-*").query_async(&mut self.look.clone()).await?;
        Ok(channels.len() as u64)
    }

    /// Processor time that it used so far.
    pub fn processor(&self) -> Result<Duration, BoxError> {
        Ok(process::processor(self.process.pid())?)
    }

    /// Counts what is left over in the database, and empties it.
    pub async fn clear(&self, database: &Database) -> Result<Leftover, BoxError> {
        let mut connection = connect(&database.url).await?;
        let (ready, unacked): (u64, u64) =
            redis::pipe().cmd("LLEN").arg("celery").cmd("HLEN").arg("unacked").query_async(&mut connection).await?;
        let results: u64 = redis::cmd("EVAL")
            .arg("return #redis.call('KEYS', 'celery-task-meta-*')")
            .arg(0)
            .query_async(&mut connection)
            .await?;
        redis::cmd("FLUSHDB").query_async::<()>(&mut connection).await?;
        Ok(Leftover { messages: ready + unacked, results })
    }
}

/// A connection without a timeout: what is measured may be slow.
pub async fn connect(url: &str) -> Result<MultiplexedConnection, BoxError> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    Ok(redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await?)
}
