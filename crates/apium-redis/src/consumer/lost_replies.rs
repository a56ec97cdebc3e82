//! Lost replies: claims and waits whose connection broke before the reply came. The server may have done them. Then
//! messages are in flight under the name of this consumer, which does not know of them. Nobody else looks for them
//! while it lives, so it looks for them itself for a while, and requeues what it finds.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// A claim without a reply.
#[derive(Debug, Clone)]
pub(crate) struct LostClaim {
    pub(crate) id: Arc<str>,
    pub(crate) first: u64,
    pub(crate) count: usize,
    until: Instant,
}

/// Claims and waits without a reply, for as long as a server that was held up may still do them.
#[derive(Debug, Default)]
pub(crate) struct LostReplies {
    claims: Vec<LostClaim>,
    /// The consumer's id at the time, and until when.
    waits: Vec<(Arc<str>, Instant)>,
}

impl LostReplies {
    /// Adds a claim: it is looked for during `window`.
    pub(crate) fn add_claim(&mut self, id: Arc<str>, first: u64, count: usize, window: Duration) {
        self.claims.push(LostClaim { id, first, count, until: Instant::now() + window });
    }

    /// Adds the waits of this id: they are looked for during `window`.
    pub(crate) fn add_wait(&mut self, id: Arc<str>, window: Duration) {
        let until = Instant::now() + window;
        match self.waits.iter_mut().find(|(other, _)| *other == id) {
            Some((_, time)) => *time = until,
            None => self.waits.push((id, until)),
        }
    }

    /// Whether no reply is missing.
    pub(crate) fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.waits.is_empty()
    }

    /// The claims, and the ids whose waits broke.
    pub(crate) fn all(&self) -> (Vec<LostClaim>, Vec<Arc<str>>) {
        (self.claims.clone(), self.waits.iter().map(|(id, _)| id.clone()).collect())
    }

    /// Drops the claims and waits whose window is over. Call it after looking for the messages of all of them.
    pub(crate) fn drop_expired(&mut self) {
        let now = Instant::now();
        self.claims.retain(|lost| lost.until > now);
        self.waits.retain(|(_, until)| *until > now);
    }
}
