//! Looks for what the server has done without anybody having heard of it (`unsure` says what that may be), and gives it back.

use apium_transport::error::Result;
use redis::Value;

use crate::consumer::handoff::return_handoffs;
use crate::consumer::reclaim::return_unstarted;
use crate::consumer::state::{ConsumerState, server_tag};
use crate::shared::BrokerShared;

/// Looks, and gives back what is found.
pub(crate) async fn recover_lost_replies(core: &BrokerShared, seat: &ConsumerState) -> Result<()> {
    let (claims, waits) = seat.lost_replies().all();
    if claims.is_empty() && waits.is_empty() {
        return Ok(());
    }
    for lost in &claims {
        let tags: Vec<String> = (0..lost.count as u64).map(|place| server_tag(&lost.id, lost.first + place)).collect();
        let mut command = redis::cmd("ZMSCORE");
        command.arg(core.keys.unacked_index()).arg(&tags);
        let answer = core.connection.command("look for messages of a lost claim", &command).await?;
        let Value::Array(scores) = answer else { continue };
        let found = tags.into_iter().zip(scores).filter(|(_, score)| *score != Value::Nil).map(|(tag, _)| (tag, false));
        return_unstarted(core, found.collect()).await?;
    }
    for id in &waits {
        let lists = seat.queues().into_iter().flat_map(|queue| core.keys.lists(&queue));
        let pairs: Vec<(String, String)> = lists.map(|list| (core.keys.handoff(id, &list), list)).collect();
        return_handoffs(core, &pairs).await?;
    }
    seat.lost_replies().drop_expired();
    Ok(())
}
