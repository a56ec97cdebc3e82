//! Heartbeats of messages in flight: their times in `unacked_index` are renewed. The heartbeat of the consumer itself,
//! which renews its lease, is in `maintenance`.

use apium_transport::error::Result;
use redis::Value;

use crate::keys::score::score;
use crate::shared::BrokerShared;

/// Renews messages in flight: their tags, each with whether the run has started. Returns the indices of those that are
/// not in flight any more.
pub(crate) async fn renew_in_flight(
    shared: &BrokerShared,
    what: &'static str,
    tags: &[(&str, bool)],
) -> Result<Vec<usize>> {
    let now = shared.connection.server_now();
    let scores = [score(now, false), score(now, true)];
    let index = shared.keys.unacked_index();
    let mut command = redis::cmd("ZADD");
    command.arg(&index).arg("XX").arg("CH");
    for (tag, started) in tags {
        command.arg(&scores[usize::from(*started)]).arg(*tag);
    }
    if let Value::Int(changed) = shared.connection.heartbeat(what, &command).await?
        && usize::try_from(changed).is_ok_and(|changed| changed == tags.len())
    {
        return Ok(Vec::new());
    }
    // Some are gone, or had this score already.
    let mut command = redis::cmd("ZMSCORE");
    command.arg(&index);
    for (tag, _) in tags {
        command.arg(*tag);
    }
    match shared.connection.command(what, &command).await? {
        Value::Array(found) => {
            Ok(found.iter().enumerate().filter(|(_, score)| **score == Value::Nil).map(|(index, _)| index).collect())
        }
        _ => Ok(Vec::new()),
    }
}
