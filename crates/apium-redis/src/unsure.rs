//! What the server may have done without anybody having heard of it: a claim or a wait whose connection broke before the answer
//! came. Its messages are out under this consumer's name, and this consumer, which lives, does not know of them: so for a while it
//! looks, and gives back what it finds.

use std::sync::Arc;
use std::time::Duration;

use apium_transport::error::Result;
use redis::Value;
use tokio::time::Instant;

use crate::bury::give_back_tags;
use crate::core::Core;
use crate::lists::put_back;
use crate::seat::{Seat, server_tag};

/// A claim without an answer.
#[derive(Debug, Clone)]
struct LostClaim {
    id: Arc<str>,
    first: u64,
    count: usize,
    until: Instant,
}

/// Claims and waits without an answer, for as long as a server that was held up may still do them.
#[derive(Debug, Default)]
pub(crate) struct Unsure {
    claims: Vec<LostClaim>,
    /// The consumer's id at the time, and until when.
    waits: Vec<(Arc<str>, Instant)>,
}

impl Unsure {
    /// A claim broke.
    pub(crate) fn claim(&mut self, id: Arc<str>, first: u64, count: usize, patience: Duration) {
        self.claims.push(LostClaim { id, first, count, until: Instant::now() + patience });
    }

    /// A wait broke.
    pub(crate) fn wait(&mut self, id: Arc<str>, patience: Duration) {
        let until = Instant::now() + patience;
        match self.waits.iter_mut().find(|(other, _)| *other == id) {
            Some((_, time)) => *time = until,
            None => self.waits.push((id, until)),
        }
    }

    /// Whether nothing is in doubt.
    pub(crate) fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.waits.is_empty()
    }
}

/// Looks, and gives back what is found.
pub(crate) async fn look(core: &Core, seat: &Seat) -> Result<()> {
    let (claims, waits) = {
        let unsure = seat.unsure();
        if unsure.is_empty() {
            return Ok(());
        }
        (unsure.claims.clone(), unsure.waits.clone())
    };
    for lost in &claims {
        let tags: Vec<String> = (0..lost.count as u64).map(|place| server_tag(&lost.id, lost.first + place)).collect();
        let mut command = redis::cmd("ZMSCORE");
        command.arg(core.keys.index()).arg(&tags);
        let answer = core.link.command("look for messages of a lost claim", &command).await?;
        let Value::Array(scores) = answer else { continue };
        let found = tags.into_iter().zip(scores).filter(|(_, score)| *score != Value::Nil).map(|(tag, _)| (tag, false));
        give_back_tags(core, found.collect()).await?;
    }
    for (id, _) in &waits {
        let lists = seat.queues().into_iter().flat_map(|queue| core.keys.lists(&queue));
        let pairs: Vec<(String, String)> = lists.map(|list| (core.keys.taken(id, &list), list)).collect();
        put_back(core, &pairs).await?;
    }
    let now = Instant::now();
    let mut unsure = seat.unsure();
    unsure.claims.retain(|lost| lost.until > now);
    unsure.waits.retain(|(_, until)| *until > now);
    Ok(())
}
