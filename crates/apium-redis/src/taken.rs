//! What waits have moved to lists of their own, and nobody claimed.

use apium_transport::error::Result;

use crate::core::Core;
use crate::script::PUT_BACK;

/// Moves what lies in the first list of each pair to the front of the second.
pub(crate) async fn put_back(core: &Core, pairs: &[(String, String)]) -> Result<()> {
    if pairs.is_empty() {
        return Ok(());
    }
    core.link
        .script("put back what waits have moved", &PUT_BACK, |command| {
            command.arg(pairs.len() * 2);
            for (taken, list) in pairs {
                command.arg(taken).arg(list);
            }
        })
        .await
        .map(drop)
}
