//! What waits have moved to lists of their own, and nobody claimed.

use apium_transport::error::Result;
use redis::Value;

use crate::crash_points::reached;
use crate::scripts::script::RETURN_HANDOFFS;
use crate::shared::BrokerShared;

/// Moves what lies in the first list of each pair to the front of the second.
pub(crate) async fn return_handoffs(core: &BrokerShared, pairs: &[(String, String)]) -> Result<()> {
    if pairs.is_empty() {
        return Ok(());
    }
    reached("before-put-back");
    core.connection
        .script("put back what waits have moved", &RETURN_HANDOFFS, |command| {
            command.arg(pairs.len() * 2);
            for (taken, list) in pairs {
                command.arg(taken).arg(list);
            }
        })
        .await?;
    reached("after-put-back");
    Ok(())
}

/// So long nothing is moved to the lists of a consumer that was buried, in seconds: it may be a process that was stopped, or a
/// machine that slept, and that goes on one day with what it was about to do.
const CLOSED_SECONDS: u32 = 86_400;

/// The same for the consumer `id`, which is buried: from now on nothing is taken in its name. False when it has shown life since
/// `deadline`; without one it is not asked.
pub(crate) async fn close_handoffs(
    core: &BrokerShared,
    id: &str,
    deadline: Option<f64>,
    pairs: &[(String, String)],
) -> Result<bool> {
    let answer = core
        .connection
        .script("close the lists of a dead worker", &RETURN_HANDOFFS, |command| {
            command.arg(pairs.len() * 2 + 1);
            for (taken, list) in pairs {
                command.arg(taken).arg(list);
            }
            command.arg(core.keys.leases());
            command.arg(id).arg(deadline.map(|deadline| deadline.to_string()).unwrap_or_default());
            command.arg(CLOSED_SECONDS);
        })
        .await?;
    Ok(answer != Value::Nil)
}
