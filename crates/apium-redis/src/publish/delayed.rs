//! Delayed messages: they wait in the server, in a sorted set for each list, and any worker of Apium promotes those
//! that are due. `_apium.eta` holds the lists by the instant at which their first message is due. An eta earlier than
//! all others is announced on a channel.

use std::time::Duration;

use apium_transport::error::Result;
use redis::Value;
use tokio::time::Instant;

use crate::crash_points::reached;
use crate::options::broker::EtaStrategy;
use crate::scripts::script::PROMOTE_DUE;
use crate::shared::BrokerShared;

/// How many messages are promoted in one step.
const MAX_PROMOTED: usize = 1000;

/// When promoting is tried again after a list could not take its messages.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Promotes messages that are due. Returns when the next one is.
pub(crate) async fn promote_due(shared: &BrokerShared) -> Result<Option<Instant>> {
    loop {
        let now = match shared.options.eta_strategy {
            // With this strategy nothing is delayed in the server, so what still is goes back at once.
            EtaStrategy::Hold => "+inf".to_owned(),
            _ => shared.connection.clock().now().as_microsecond().to_string(),
        };
        let answer = shared
            .connection
            .script("promote delayed messages", &PROMOTE_DUE, |command| {
                command.arg(1).arg(shared.keys.eta()).arg(shared.keys.eta_prefix()).arg(shared.keys.eta_channel());
                command.arg(&now).arg(MAX_PROMOTED);
            })
            .await?;
        let (moved, next, failure): (usize, String, String) = match answer {
            Value::Nil => Default::default(),
            answer => redis::from_redis_value(answer).unwrap_or_default(),
        };
        if moved > 0 {
            reached("after-promote");
        }
        if !failure.is_empty() {
            tracing::warn!(error = failure, "could not promote the delayed messages of a queue; trying again");
            return Ok(Some(Instant::now() + PAUSE_AFTER_FAILURE));
        }
        if moved < MAX_PROMOTED {
            return Ok(next_due(shared, next.parse().ok()));
        }
    }
}

/// When to promote what is due at an instant, in microseconds: a little later, and not at all workers at the same time.
pub(crate) fn next_due(shared: &BrokerShared, next: Option<f64>) -> Option<Instant> {
    let remaining = next? as i64 - shared.connection.clock().now().as_microsecond();
    let spread = Duration::from_micros(fastrand::u64(0..15_000));
    Some(Instant::now() + Duration::from_micros(remaining.max(0).unsigned_abs()) + spread)
}
