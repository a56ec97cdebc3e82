//! What is left of a batch when a broker that does not publish atomically has taken a part of it.

use std::sync::{Arc, Mutex, PoisonError};

use apium_transport::broker::outgoing::{Outgoing, unpublished};
use apium_transport::error::Error;

/// The messages of a batch that are not published. The next attempt sends these alone, so that none is sent twice that
/// the broker is known to have.
pub(crate) struct Unsent<'a> {
    batch: &'a [Outgoing],
    /// What is left; `None` if that is the whole batch.
    left: Mutex<Option<Arc<[Outgoing]>>>,
}

/// The messages of one attempt.
pub(crate) enum Attempt<'a> {
    WholeBatch(&'a [Outgoing]),
    PartOfBatch(Arc<[Outgoing]>),
}

impl Attempt<'_> {
    pub(crate) fn messages(&self) -> &[Outgoing] {
        match self {
            Self::WholeBatch(batch) => batch,
            Self::PartOfBatch(left) => left,
        }
    }
}

impl<'a> Unsent<'a> {
    pub(crate) fn new(batch: &'a [Outgoing]) -> Self {
        Self { batch, left: Mutex::new(None) }
    }

    /// What the next attempt sends.
    pub(crate) fn next(&self) -> Attempt<'a> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.clone().map_or(Attempt::WholeBatch(self.batch), Attempt::PartOfBatch)
    }

    /// An attempt failed.
    pub(crate) fn failed(&self, attempt: &Attempt<'_>, error: &Error) {
        if let Some(failed) = unpublished(error) {
            let left = failed.iter().filter_map(|index| attempt.messages().get(*index).cloned()).collect();
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
        }
    }
}
