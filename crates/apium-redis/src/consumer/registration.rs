//! The registration of a consumer: what it says of itself to others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use apium_transport::error::Result;
use redis::Value;
use serde::{Deserialize, Serialize};

use crate::consumer::state::{ConsumerState, fresh_id};
use crate::errors::unexpected_reply;
use crate::shared::BrokerShared;

/// The prefix of an entry beside that of a consumer which is being reclaimed. If the one that reclaims dies, the next
/// sweep finds this entry and goes on.
pub(crate) const RECLAIMING_PREFIX: &str = "!";

/// What a consumer says of itself. The field names are those of the JSON document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Registration {
    pub(crate) node: String,
    pub(crate) queues: Vec<Arc<str>>,
    /// The id of its process, for people who look.
    pub(crate) pid: u32,
}

/// The end of a lease that begins now, in milliseconds of the server's clock.
pub(crate) fn lease_deadline(shared: &BrokerShared, lease: Duration) -> i64 {
    shared.connection.server_now() + i64::try_from(lease.as_millis()).unwrap_or(i64::MAX / 2)
}

/// Registers a consumer. Returns the id of the server's data, which the first consumer gives them.
pub(crate) async fn register(shared: &BrokerShared, state: &ConsumerState, id: &str) -> Result<Arc<str>> {
    const WHAT: &str = "register a consumer";
    let registration = Registration { node: state.spec.node.clone(), queues: state.queues(), pid: std::process::id() };
    let registration = serde_json::to_string(&registration).unwrap_or_default();
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    pipeline.cmd("HSET").arg(shared.keys.consumers()).arg(id).arg(registration);
    // GT sets only a later deadline: the lease of a consumer that is being reclaimed stays infinite.
    pipeline.cmd("ZADD").arg(shared.keys.leases()).arg("GT").arg(lease_deadline(shared, state.spec.lease)).arg(id);
    pipeline.cmd("ZCARD").arg(shared.keys.leases());
    pipeline.cmd("SET").arg(shared.keys.data_id()).arg(&*fresh_id()).arg("NX");
    pipeline.cmd("GET").arg(shared.keys.data_id());
    let answers = shared.connection.pipeline(WHAT, &pipeline).await?;
    let [.., Value::Int(consumers), _, data_id] = answers.as_slice() else { return Err(unexpected_reply(WHAT)) };
    state.consumers.store(usize::try_from(*consumers).unwrap_or(1), Ordering::Relaxed);
    let data_id: String = redis::from_redis_value(data_id.clone()).map_err(|_| unexpected_reply(WHAT))?;
    Ok(data_id.into())
}

/// Removes a consumer: nobody looks for what it had in flight any more.
pub(crate) async fn unregister(shared: &BrokerShared, id: &str) -> Result<()> {
    // Not a transaction, which a server with full memory would refuse. If only the first command is done, the consumer
    // is still found by its lease, and removed again.
    let mut pipeline = redis::pipe();
    pipeline.cmd("HDEL").arg(shared.keys.consumers()).arg(id);
    pipeline.cmd("ZREM").arg(shared.keys.leases()).arg(id).arg(format!("{RECLAIMING_PREFIX}{id}"));
    shared.connection.pipeline("unregister a consumer", &pipeline).await.map(drop)
}
