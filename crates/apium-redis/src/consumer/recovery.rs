//! Looks for what the server has done without anybody having heard of it (`unsure` says what that may be), and gives it back.

use apium_transport::error::Result;
use redis::Value;

use crate::consumer::handoff::put_back;
use crate::consumer::reclaim::give_back_tags;
use crate::consumer::state::{Seat, server_tag};
use crate::shared::Core;

/// Looks, and gives back what is found.
pub(crate) async fn look(core: &Core, seat: &Seat) -> Result<()> {
    let (claims, waits) = seat.unsure().all();
    if claims.is_empty() && waits.is_empty() {
        return Ok(());
    }
    for lost in &claims {
        let tags: Vec<String> = (0..lost.count as u64).map(|place| server_tag(&lost.id, lost.first + place)).collect();
        let mut command = redis::cmd("ZMSCORE");
        command.arg(core.keys.index()).arg(&tags);
        let answer = core.link.command("look for messages of a lost claim", &command).await?;
        let Value::Array(scores) = answer else { continue };
        let found = tags.into_iter().zip(scores).filter(|(_, score)| *score != Value::Nil).map(|(tag, _)| (tag, false));
        give_back_tags(core, found.collect()).await?;
    }
    for id in &waits {
        let lists = seat.queues().into_iter().flat_map(|queue| core.keys.lists(&queue));
        let pairs: Vec<(String, String)> = lists.map(|list| (core.keys.taken(id, &list), list)).collect();
        put_back(core, &pairs).await?;
    }
    seat.unsure().looked();
    Ok(())
}
