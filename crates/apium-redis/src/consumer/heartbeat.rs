//! Showing that deliveries live: their times in the index are renewed.

use apium_transport::error::Result;
use redis::Value;

use crate::keys::score::score;
use crate::shared::BrokerShared;

/// Shows that these deliveries live, with whether their runs have begun. Answers which are not there any more.
pub(crate) async fn renew_in_flight(
    core: &BrokerShared,
    what: &'static str,
    tags: &[(&str, bool)],
) -> Result<Vec<usize>> {
    let now = core.connection.server_now();
    let scores = [score(now, false), score(now, true)];
    let index = core.keys.unacked_index();
    let mut command = redis::cmd("ZADD");
    command.arg(&index).arg("XX").arg("CH");
    for (tag, begun) in tags {
        command.arg(&scores[usize::from(*begun)]).arg(*tag);
    }
    if let Value::Int(changed) = core.connection.heartbeat(what, &command).await?
        && usize::try_from(changed).is_ok_and(|changed| changed == tags.len())
    {
        return Ok(Vec::new());
    }
    // Some are gone, or had this very score.
    let mut command = redis::cmd("ZMSCORE");
    command.arg(&index);
    for (tag, _) in tags {
        command.arg(*tag);
    }
    match core.connection.command(what, &command).await? {
        Value::Array(found) => {
            Ok(found.iter().enumerate().filter(|(_, score)| **score == Value::Nil).map(|(place, _)| place).collect())
        }
        _ => Ok(Vec::new()),
    }
}
