//! Recovery of lost replies: requeues the messages that the server has claimed or moved without this consumer knowing
//! it.

use apium_transport::error::Result;
use redis::Value;

use crate::consumer::handoff::return_handoffs;
use crate::consumer::in_flight::server_tag;
use crate::consumer::reclaim::return_unstarted;
use crate::consumer::state::ConsumerState;
use crate::shared::BrokerShared;

/// Looks for the messages of all lost replies, and requeues those that it finds.
pub(crate) async fn recover_lost_replies(shared: &BrokerShared, state: &ConsumerState) -> Result<()> {
    let (claims, waits) = state.lost_replies().all();
    if claims.is_empty() && waits.is_empty() {
        return Ok(());
    }
    for lost in &claims {
        let tags: Vec<String> = (0..lost.count as u64).map(|index| server_tag(&lost.id, lost.first + index)).collect();
        let mut command = redis::cmd("ZMSCORE");
        command.arg(shared.keys.unacked_index()).arg(&tags);
        let answer = shared.connection.command("look for messages of a lost claim", &command).await?;
        let Value::Array(scores) = answer else { continue };
        let found = tags.into_iter().zip(scores).filter(|(_, score)| *score != Value::Nil).map(|(tag, _)| (tag, false));
        return_unstarted(shared, found.collect()).await?;
    }
    for id in &waits {
        let lists = state.queues().into_iter().flat_map(|queue| shared.keys.lists(&queue));
        let pairs: Vec<(String, String)> = lists.map(|list| (shared.keys.handoff(id, &list), list)).collect();
        return_handoffs(shared, &pairs).await?;
    }
    state.lost_replies().drop_expired();
    Ok(())
}
