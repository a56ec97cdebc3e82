//! What the tests share: result backends on fresh databases, records, and waits with a limit.

use std::path::Path;
use std::time::Duration;

use apium_peers::redis::{Connection, cmd};
use apium_peers::redis_server::{RedisServer, fresh_database};
use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use apium_redis::RedisBackend;
use apium_transport::address::Address;
use apium_transport::backend::backend::{ResultRecord, RunVersion};
use apium_transport::clock::Clock;
use apium_transport::driver::DriverOptions;
use serde_json::Value;

/// A result backend on a database, with options.
pub(crate) fn backend_with(url: &str, options: &[(&str, &str)]) -> RedisBackend {
    let mut driver_options = DriverOptions::new(Clock::system());
    driver_options.extra = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    RedisBackend::open(Address::parse(url).unwrap(), &driver_options).unwrap()
}

pub(crate) fn backend(url: &str) -> RedisBackend {
    backend_with(url, &[])
}

/// A result backend on a server, with a short `socket_timeout`.
pub(crate) fn with_short_timeout(url: &str) -> RedisBackend {
    backend_with(url, &[("socket_timeout", "0.5")])
}

/// A database of the shared server, and a result backend on it.
pub(crate) fn fresh() -> (Connection, RedisBackend) {
    let database = fresh_database();
    (database.connection(), backend(&database.url))
}

/// The same, with a key prefix of its own, since channels do not belong to a database.
pub(crate) fn fresh_channels() -> (Connection, RedisBackend, String) {
    let database = fresh_database();
    let prefix = format!("{}:", database.number);
    (database.connection(), backend_with(&database.url, &[("global_keyprefix", &prefix)]), prefix)
}

/// A blocking connection to a server.
pub(crate) fn connection(server: &RedisServer) -> Connection {
    apium_peers::redis::Client::open(server.url(0)).unwrap().get_connection().unwrap()
}

/// How often each command was run, also inside scripts.
pub(crate) fn calls(redis: &mut Connection) -> Vec<(String, u64)> {
    let stats: String = cmd("INFO").arg("commandstats").query(redis).unwrap();
    let one = |line: &str| {
        let (name, numbers) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), numbers.split(',').next()?.parse().ok()?))
    };
    stats.lines().filter_map(one).collect()
}

/// How often commands whose names begin with one of these were run, also inside scripts.
pub(crate) fn ran(redis: &mut Connection, names: &[&str]) -> u64 {
    let is_wanted = |command: &str| names.iter().any(|name| command.starts_with(name));
    calls(redis).iter().filter(|(name, _)| is_wanted(name)).map(|(_, calls)| calls).sum()
}

/// Waits until the server runs no command of others for the time of a thousand round trips. A consumer that is new has
/// something to do at first; one that asks again and again is never silent.
pub(crate) fn wait_for_silence(redis: &mut Connection) {
    let mut before = Vec::new();
    for _ in 0..20 {
        (0..1_000).for_each(|_| cmd("PING").exec(redis).unwrap());
        let mut after = calls(redis);
        after.retain(|(name, _)| name != "info" && name != "ping");
        if after == before {
            return;
        }
        before = after;
    }
    panic!("the server was never silent: {before:?}");
}

pub(crate) fn document(id: &str, state: State) -> ResultDocument {
    let result = Json::from_serialize(state.as_str()).unwrap();
    ResultDocument::new(TaskId::from(id), state, result)
}

pub(crate) fn record(id: &str, state: State, run: Option<RunVersion>) -> ResultRecord {
    ResultRecord::new(document(id, state)).by(run)
}

#[expect(clippy::unnecessary_wraps, reason = "records take an option")]
pub(crate) fn version(retries: u32, delivery: u64) -> Option<RunVersion> {
    Some(RunVersion::new(retries, delivery))
}

/// Waits for something that must happen, at most half a minute.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Waits until a condition holds of which no event tells, at most half a minute.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    soon(what, async {
        while !holds() {
            ticks.tick().await;
        }
    })
    .await;
}

/// A capture of Celery.
pub(crate) fn vector(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(format!("{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A text in a capture.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("the vector has no {path}"))
}
