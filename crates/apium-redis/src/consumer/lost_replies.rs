//! What the server may have done without anybody having heard of it: a claim or a wait whose connection broke before the answer
//! came. Its messages are out under this consumer's name, and this consumer, which lives, does not know of them: so for a while it
//! looks, and gives back what it finds.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// A claim without an answer.
#[derive(Debug, Clone)]
pub(crate) struct LostClaim {
    pub(crate) id: Arc<str>,
    pub(crate) first: u64,
    pub(crate) count: usize,
    until: Instant,
}

/// Claims and waits without an answer, for as long as a server that was held up may still do them.
#[derive(Debug, Default)]
pub(crate) struct LostReplies {
    claims: Vec<LostClaim>,
    /// The consumer's id at the time, and until when.
    waits: Vec<(Arc<str>, Instant)>,
}

impl LostReplies {
    /// A claim broke.
    pub(crate) fn add_claim(&mut self, id: Arc<str>, first: u64, count: usize, patience: Duration) {
        self.claims.push(LostClaim { id, first, count, until: Instant::now() + patience });
    }

    /// A wait broke.
    pub(crate) fn add_wait(&mut self, id: Arc<str>, patience: Duration) {
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

    /// The claims, and the ids of the consumers whose waits broke.
    pub(crate) fn all(&self) -> (Vec<LostClaim>, Vec<Arc<str>>) {
        (self.claims.clone(), self.waits.iter().map(|(id, _)| id.clone()).collect())
    }

    /// It was looked for all of them: those whose time is up are forgotten.
    pub(crate) fn drop_expired(&mut self) {
        let now = Instant::now();
        self.claims.retain(|lost| lost.until > now);
        self.waits.retain(|(_, until)| *until > now);
    }
}
