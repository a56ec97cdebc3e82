//! Handoff lists: returning the messages that a wait has moved there and that nobody claimed.

use apium_transport::error::Result;
use redis::Value;

use crate::crash_points::reached;
use crate::scripts::script::RETURN_HANDOFFS;
use crate::shared::BrokerShared;

/// Moves the messages in the first list of each pair, a handoff list, to the front of the second.
pub(crate) async fn return_handoffs(shared: &BrokerShared, pairs: &[(String, String)]) -> Result<()> {
    if pairs.is_empty() {
        return Ok(());
    }
    reached("before-return-handoffs");
    shared
        .connection
        .script("return messages to their queues", &RETURN_HANDOFFS, |command| {
            command.arg(pairs.len() * 2);
            for (handoff, list) in pairs {
                command.arg(handoff).arg(list);
            }
        })
        .await?;
    reached("after-return-handoffs");
    Ok(())
}

/// For how many seconds no message can be moved to the handoff lists of a dead consumer. It may be a stopped process or
/// a sleeping machine, which later goes on with the wait that it was about to send.
const CLOSED_SECONDS: u32 = 86_400;

/// Returns the messages in the handoff lists of the consumer `id`, which is being reclaimed, and closes the lists: from
/// now on nothing can be moved or claimed in its name.
///
/// Returns false, and does nothing, if its lease is not the one that ended at `deadline` any more. `None` skips this
/// check.
pub(crate) async fn close_handoffs(
    shared: &BrokerShared,
    id: &str,
    deadline: Option<f64>,
    pairs: &[(String, String)],
) -> Result<bool> {
    let answer = shared
        .connection
        .script("close the handoff lists of a dead worker", &RETURN_HANDOFFS, |command| {
            command.arg(pairs.len() * 2 + 1);
            for (handoff, list) in pairs {
                command.arg(handoff).arg(list);
            }
            command.arg(shared.keys.leases());
            command.arg(id).arg(deadline.map(|deadline| deadline.to_string()).unwrap_or_default());
            command.arg(CLOSED_SECONDS);
        })
        .await?;
    Ok(answer != Value::Nil)
}
