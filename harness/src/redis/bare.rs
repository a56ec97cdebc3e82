//! The bare limit: a client that runs the same Redis operations on the same keys as a worker, parses the part of a
//! message that a worker must parse, and does nothing else. It dispatches, limits, logs and retries nothing.

use std::sync::Arc;
use std::time::Instant;

use apium::prelude::BoxError;
use apium_protocol::json::base64;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::counter::Counter;
use crate::redis::kit::server::connect;
use crate::speed::drained::Drained;

/// How messages are claimed.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Its name in the figures.
    pub name: &'static str,
    /// Whether a script pops messages and adds them to `unacked` in one step, which is safe; otherwise RPOP, then ZADD
    /// and HSET.
    pub atomic: bool,
    /// How many messages are claimed at a time.
    pub batch: u64,
    /// How many connections claim.
    pub fetchers: usize,
}

/// The shapes that are measured. The best of them is the limit.
pub const SHAPES: &[Shape] = &[
    Shape { name: "pop_256", atomic: false, batch: 256, fetchers: 1 },
    Shape { name: "claim_64_twice", atomic: true, batch: 64, fetchers: 2 },
    Shape { name: "claim_256_twice", atomic: true, batch: 256, fetchers: 2 },
];

/// Pops messages and adds each under its tag to `unacked` and `unacked_index`.
const CLAIM: &str = r#"
local claimed = redis.call('RPOP', KEYS[1], ARGV[1])
if not claimed then return {} end
local scores, entries = {}, {}
for _, message in ipairs(claimed) do
  local tag = string.match(message, '"delivery_tag": ?"([^"]+)"')
  scores[#scores + 1] = ARGV[2]
  scores[#scores + 1] = tag
  entries[#entries + 1] = tag
  entries[#entries + 1] = '[' .. message .. ', "", "celery"]'
end
redis.call('ZADD', 'unacked_index', unpack(scores))
redis.call('HSET', 'unacked', unpack(entries))
return claimed
"#;

/// Drains `count` numbers from the queue of the database at `address`.
pub async fn drain(address: &str, shape: Shape, count: u64, results: bool) -> Result<Drained, BoxError> {
    let counter = Arc::new(Counter::new(usize::try_from(count)?));
    let script: String = redis::cmd("SCRIPT").arg("LOAD").arg(CLAIM).query_async(&mut connect(address).await?).await?;
    let started = Instant::now();
    let mut fetchers = JoinSet::new();
    for _ in 0..shape.fetchers {
        let fetcher = Fetcher {
            connection: connect(address).await?,
            script: script.clone(),
            shape,
            results,
            counter: counter.clone(),
        };
        fetchers.spawn(async move { if shape.atomic { fetcher.claim().await } else { fetcher.pop().await } });
    }
    while let Some(fetcher) = fetchers.join_next().await {
        fetcher??;
    }
    let (lost, repeated) = (counter.lost() as u64, counter.repeated() as u64);
    Ok(Drained { rate: count as f64 / started.elapsed().as_secs_f64(), lost, repeated })
}

struct Fetcher {
    connection: MultiplexedConnection,
    script: String,
    shape: Shape,
    results: bool,
    counter: Arc<Counter>,
}

/// The parsed part of a message.
struct Read {
    tag: String,
    id: String,
    number: u64,
}

impl Fetcher {
    /// Claims with a script, and settles the previous messages in the same write.
    async fn claim(mut self) -> Result<(), BoxError> {
        let mut done = Vec::new();
        loop {
            let mut pipe = redis::pipe();
            self.settle(&mut pipe, &done);
            pipe.cmd("EVALSHA").arg(&self.script).arg(1).arg("celery").arg(self.shape.batch).arg(1_700_000_000);
            let (claimed,): (Vec<String>,) = pipe.query_async(&mut self.connection).await?;
            if claimed.is_empty() {
                return Ok(());
            }
            done = self.execute(&claimed)?;
        }
    }

    /// Pops, then adds to `unacked` and settles in one write.
    async fn pop(mut self) -> Result<(), BoxError> {
        loop {
            let popped: Option<Vec<String>> =
                redis::cmd("RPOP").arg("celery").arg(self.shape.batch).query_async(&mut self.connection).await?;
            let Some(claimed) = popped else { return Ok(()) };
            let done = self.execute(&claimed)?;
            let (mut index, mut unacked) = (command("ZADD", "unacked_index"), command("HSET", "unacked"));
            for (message, read) in claimed.iter().zip(&done) {
                index.arg(1_700_000_000).arg(&read.tag);
                unacked.arg(&read.tag).arg(format!("[{message}, \"\", \"celery\"]"));
            }
            let mut pipe = redis::pipe();
            pipe.add_command(index).ignore().add_command(unacked).ignore();
            self.settle(&mut pipe, &done);
            pipe.query_async::<()>(&mut self.connection).await?;
        }
    }

    fn execute(&self, claimed: &[String]) -> Result<Vec<Read>, BoxError> {
        let mut done = Vec::with_capacity(claimed.len());
        for message in claimed {
            let read = read(message).ok_or_else(|| format!("read the message {message}"))?;
            self.counter.record(read.number);
            done.push(read);
        }
        Ok(done)
    }

    fn settle(&self, pipe: &mut Pipeline, done: &[Read]) {
        if done.is_empty() {
            return;
        }
        for read in done.iter().filter(|_| self.results) {
            let key = format!("celery-task-meta-{}", read.id);
            let document = document(read);
            pipe.cmd("SETEX").arg(&key).arg(86_400).arg(&document).ignore();
            pipe.cmd("PUBLISH").arg(&key).arg(&document).ignore();
        }
        let (mut index, mut unacked) = (command("ZREM", "unacked_index"), command("HDEL", "unacked"));
        for read in done {
            index.arg(&read.tag);
            unacked.arg(&read.tag);
        }
        pipe.add_command(index).ignore().add_command(unacked).ignore();
    }
}

fn command(name: &str, key: &str) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key);
    command
}

fn read(message: &str) -> Option<Read> {
    let envelope: Value = serde_json::from_str(message).ok()?;
    let body: Value = serde_json::from_slice(&base64::decode(envelope["body"].as_str()?)?).ok()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some(Read {
        tag: text(&envelope["properties"]["delivery_tag"])?,
        id: text(&envelope["headers"]["id"])?,
        number: body[0][0].as_u64()?,
    })
}

fn document(read: &Read) -> String {
    let (number, id) = (read.number, &read.id);
    format!(
        r#"{{"status": "SUCCESS", "result": {number}, "traceback": null, "children": [], "date_done": "2026-01-01T00:00:00.000000+00:00", "task_id": "{id}"}}"#
    )
}
