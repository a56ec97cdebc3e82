//! What a consumer says of itself to the others, and where.

use std::sync::Arc;

use apium_transport::error::Result;
use serde::{Deserialize, Serialize};

use crate::shared::BrokerShared;

/// Before the id of a consumer whose burial has begun, beside its own entry: so it is found by who looks for the dead next, should
/// the one who began not come to an end.
pub(crate) const RECLAIMING_PREFIX: &str = "!";

/// What a consumer says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Registration {
    pub(crate) node: String,
    pub(crate) queues: Vec<Arc<str>>,
    pub(crate) max_crashes: u32,
    /// Of its process, for people who look.
    pub(crate) pid: u32,
}

/// Nobody looks for this consumer any more.
pub(crate) async fn unregister(core: &BrokerShared, id: &str) -> Result<()> {
    // No transaction: it would be refused when memory is full. Without its card it is still found, and unregistered again.
    let mut pipeline = redis::pipe();
    pipeline.cmd("HDEL").arg(core.keys.consumers()).arg(id);
    pipeline.cmd("ZREM").arg(core.keys.leases()).arg(id).arg(format!("{RECLAIMING_PREFIX}{id}"));
    core.connection.pipeline("leave", &pipeline).await.map(drop)
}
