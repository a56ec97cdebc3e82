//! Parked messages (P7): they wait in the server, in a sorted set for each list, and any worker of Apium returns what is due.
//! `_apium.eta` names the lists by their first instant; who parks something earlier than that tells the others.

use std::time::Duration;

use apium_transport::error::Result;
use redis::Value;
use tokio::time::Instant;

use crate::crash_points::reached;
use crate::options::broker::EtaStrategy;
use crate::scripts::script::PROMOTE_DUE;
use crate::shared::BrokerShared;

/// At most so many are returned in one step.
const MAX_PROMOTED: usize = 1000;

/// Returns what is due; answers when the next is.
pub(crate) async fn promote_due(core: &BrokerShared) -> Result<Option<Instant>> {
    loop {
        let now = match core.options.eta_strategy {
            // Nothing is parked any more, so what is there goes back.
            EtaStrategy::Hold => "+inf".to_owned(),
            _ => core.connection.clock().now().as_microsecond().to_string(),
        };
        let answer = core
            .connection
            .script("return what is due", &PROMOTE_DUE, |command| {
                command.arg(1).arg(core.keys.eta()).arg(core.keys.eta_prefix()).arg(core.keys.eta_channel());
                command.arg(&now).arg(MAX_PROMOTED);
            })
            .await?;
        let (moved, next): (usize, String) = match answer {
            Value::Nil => (0, String::new()),
            answer => redis::from_redis_value(answer).unwrap_or_default(),
        };
        if moved > 0 {
            reached("after-due");
        }
        if moved < MAX_PROMOTED {
            return Ok(next_due(core, next.parse().ok()));
        }
    }
}

/// When to look after an instant in microseconds: soon after it, and not all workers at the same time.
pub(crate) fn next_due(core: &BrokerShared, next: Option<f64>) -> Option<Instant> {
    let left = next? as i64 - core.connection.clock().now().as_microsecond();
    let spread = Duration::from_micros(fastrand::u64(0..15_000));
    Some(Instant::now() + Duration::from_micros(left.max(0).unsigned_abs()) + spread)
}
