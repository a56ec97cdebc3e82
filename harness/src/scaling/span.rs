//! What happened on the server while a part of the messages was done: the time, the commands, the server's processor
//! time and the bytes on its network.

use std::time::{Duration, Instant};

use apium::prelude::BoxError;
use apium_peers::namespace::Database;
use redis::aio::MultiplexedConnection;

use crate::redis::kit::commands::Commands;
use crate::redis::kit::server::{Server, connect};
use crate::report;

/// How often the queues are looked at.
const INTERVAL: Duration = Duration::from_millis(20);
/// A drain in which nothing happens for this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks at queues.
pub struct Look<'a> {
    server: &'a Server,
    connection: MultiplexedConnection,
    queues: Vec<String>,
    looks: u64,
    started: Moment,
}

/// The state of the server at a moment.
#[derive(Clone)]
struct Moment {
    at: Instant,
    done: u64,
    commands: Commands,
    busy: Duration,
    received: f64,
    sent: f64,
    looks: u64,
}

/// The difference between two moments, for one task each.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Tasks in a second.
    pub rate: f64,
    /// Commands of the server.
    pub commands: f64,
    /// Microseconds of the server's processor time.
    pub server: f64,
    /// Bytes that the server received and sent.
    pub network: f64,
}

impl Span {
    /// Prints its figures for a size of a section.
    pub fn report(&self, section: &str, size: u64) {
        report::figure(&format!("{section}_{size}_rate"), self.rate, "/s");
        report::figure(&format!("{section}_{size}_commands"), self.commands, "commands");
        report::figure(&format!("{section}_{size}_server"), self.server, "µs");
        report::figure(&format!("{section}_{size}_network"), self.network, "bytes");
    }
}

impl<'a> Look<'a> {
    /// Looks at these queues of a database, of which nothing is done yet.
    pub async fn new(server: &'a Server, database: &Database, queues: &[String]) -> Result<Self, BoxError> {
        let connection = connect(&database.url).await?;
        let started = moment(server, 0, 0).await?;
        Ok(Self { server, connection, queues: queues.to_vec(), looks: 0, started })
    }

    /// How many messages are in the queues or in flight.
    pub async fn left(&mut self) -> Result<u64, BoxError> {
        let mut pipeline = redis::pipe();
        for queue in &self.queues {
            pipeline.cmd("LLEN").arg(queue);
        }
        pipeline.cmd("HLEN").arg("unacked");
        self.looks += 1;
        let counts: Vec<u64> = pipeline.query_async(&mut self.connection).await?;
        Ok(counts.iter().sum())
    }

    async fn moment(&self, done: u64) -> Result<Moment, BoxError> {
        moment(self.server, done, self.looks).await
    }

    /// Waits until `count` messages of the `all` that were there are done. What it returns happened between a tenth and
    /// nine tenths of them, when all workers are busy.
    pub async fn watch(&mut self, all: u64, count: u64) -> Result<Span, BoxError> {
        let (mut first, mut last) = (None, None);
        let (mut progress, mut interval) = ((all, Instant::now()), tokio::time::interval(INTERVAL));
        loop {
            interval.tick().await;
            let left = self.left().await?;
            let done = all.saturating_sub(left);
            if first.is_none() && done * 10 >= count {
                first = Some(self.moment(done).await?);
            }
            if last.is_none() && done * 10 >= count * 9 {
                last = Some(self.moment(done).await?);
            }
            if done >= count {
                break;
            }
            if left < progress.0 {
                progress = (left, Instant::now());
            }
            if progress.1.elapsed() > PATIENCE {
                return Err(format!("drain {count} messages: {left} are left and nothing happens").into());
            }
        }
        let (first, last) = match (first, last) {
            (Some(first), Some(last)) if last.done > first.done => (first, last),
            // So few that one look found them all done: all of it counts, the start of the workers too.
            _ => (self.started.clone(), self.moment(count).await?),
        };
        let tasks = (last.done - first.done) as f64;
        let own = (last.looks - first.looks) * (self.queues.len() as u64 + 1);
        let commands = last.commands.since(&first.commands).total().saturating_sub(own);
        Ok(Span {
            rate: tasks / (last.at - first.at).as_secs_f64(),
            commands: commands as f64 / tasks,
            server: last.busy.saturating_sub(first.busy).as_secs_f64() * 1e6 / tasks,
            network: (last.received - first.received + last.sent - first.sent) / tasks,
        })
    }
}

async fn moment(server: &Server, done: u64, looks: u64) -> Result<Moment, BoxError> {
    Ok(Moment {
        at: Instant::now(),
        done,
        commands: server.commands().await?,
        busy: server.processor()?,
        received: server.info("stats", "total_net_input_bytes").await?,
        sent: server.info("stats", "total_net_output_bytes").await?,
        looks,
    })
}
