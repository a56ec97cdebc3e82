//! One state of a watched task, and what tells it from the other states of that task.

use std::sync::Arc;

use apium_protocol::result::document::ResultDocument;

use crate::error::{Error, Result};

/// What tells the states of one task apart. A driver uses one kind for all its states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateVersion {
    /// The driver reports every state once and in order.
    InOrder,
    /// A number that grows with every write of the store. The larger one is the newer state.
    Sequence(i64),
    /// A hash of the document. Equal ones are the same state, which was both reported and read.
    Fingerprint(u64),
}

impl StateVersion {
    /// Whether a report of this state comes too late, because the watch has already shown the state `shown`.
    pub(crate) fn is_stale_after(self, shown: Self) -> bool {
        matches!((self, shown), (Self::Sequence(own), Self::Sequence(shown)) if own <= shown)
    }

    /// Whether reports come in the order in which the states were written, so that none before it comes after it.
    pub(crate) fn is_reported_in_order(self) -> bool {
        !matches!(self, Self::Sequence(_))
    }

    /// Whether this state is `other` or older than `other`, as far as the versions tell.
    pub(crate) fn is_not_newer_than(self, other: Self) -> bool {
        match (self, other) {
            (Self::Sequence(own), Self::Sequence(other)) => own <= other,
            (Self::Fingerprint(own), Self::Fingerprint(other)) => own == other,
            _ => false,
        }
    }
}

/// A state of a task: its document, or why that cannot be read. Cloning it copies no document.
#[derive(Debug, Clone)]
pub struct WatchedState {
    pub(crate) version: StateVersion,
    document: Result<Arc<ResultDocument>, Arc<Error>>,
}

impl WatchedState {
    /// A state of a task.
    pub fn new(version: StateVersion, document: Result<Arc<ResultDocument>>) -> Self {
        Self { version, document: document.map_err(Arc::new) }
    }

    /// Whether it is the last state of its task: a ready one, or one that cannot be read.
    pub fn is_last(&self) -> bool {
        self.document.as_ref().map_or(true, |document| document.state.is_ready())
    }

    /// The document, without a copy if nobody else has it.
    pub(crate) fn into_document(self) -> Result<ResultDocument> {
        match self.document {
            Ok(document) => Ok(Arc::unwrap_or_clone(document)),
            Err(error) => {
                Err(Arc::try_unwrap(error).unwrap_or_else(|shared| Error::new(shared.kind(), format!("{shared:#}"))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use apium_protocol::json::text::Json;
    use apium_protocol::result::document::ResultDocument;
    use apium_protocol::result::state::State;

    use super::StateVersion::{Fingerprint, InOrder, Sequence};
    use super::WatchedState;
    use crate::error::{Error, ErrorKind};

    #[test]
    fn what_the_versions_tell() {
        for (own, other, stale, not_newer) in [
            (InOrder, InOrder, false, false),
            (Sequence(1), Sequence(2), true, true),
            (Sequence(2), Sequence(2), true, true),
            (Sequence(3), Sequence(2), false, false),
            (Fingerprint(1), Fingerprint(1), false, true),
            (Fingerprint(1), Fingerprint(2), false, false),
        ] {
            assert_eq!(own.is_reported_in_order(), !matches!(own, Sequence(_)));
            assert_eq!(own.is_stale_after(other), stale, "{own:?} after {other:?}");
            assert_eq!(own.is_not_newer_than(other), not_newer, "{own:?} and {other:?}");
        }
    }

    #[test]
    fn a_ready_state_and_an_unreadable_one_are_the_last() {
        for (state, last) in [(State::Started, false), (State::Retry, false), (State::Failure, true)] {
            let document = Arc::new(ResultDocument::new("t", state.clone(), Json::NULL));
            assert_eq!(WatchedState::new(InOrder, Ok(document)).is_last(), last, "{state}");
        }
        let damaged = || WatchedState::new(InOrder, Err(Error::new(ErrorKind::Corrupt, "read the result")));
        assert!(damaged().is_last());
        let shared = damaged();
        for state in [shared.clone(), shared, damaged()] {
            let error = state.into_document().unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Corrupt, "read the result"));
        }
    }
}
