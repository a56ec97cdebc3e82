//! The registration of a consumer: what it says of itself to others.

use std::sync::Arc;

use apium_transport::error::Result;
use serde::{Deserialize, Serialize};

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

/// Removes a consumer: nobody looks for what it had in flight any more.
pub(crate) async fn unregister(shared: &BrokerShared, id: &str) -> Result<()> {
    // Not a transaction, which a server with full memory would refuse. If only the first command is done, the consumer
    // is still found by its lease, and removed again.
    let mut pipeline = redis::pipe();
    pipeline.cmd("HDEL").arg(shared.keys.consumers()).arg(id);
    pipeline.cmd("ZREM").arg(shared.keys.leases()).arg(id).arg(format!("{RECLAIMING_PREFIX}{id}"));
    shared.connection.pipeline("unregister a consumer", &pipeline).await.map(drop)
}
