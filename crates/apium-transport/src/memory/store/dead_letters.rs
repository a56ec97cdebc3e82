//! The dead letters of a namespace.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::broker::consumer::Content;
use crate::broker::dead_set::{DeadLetter, DeadReason};
use crate::memory::store::queue::{Entry, StoredMessage};

/// The dead letters by key.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    pub(crate) messages: BTreeMap<u64, StoredDeadLetter>,
    last: u64,
}

/// A dead letter.
#[derive(Debug)]
pub(crate) struct StoredDeadLetter {
    reason: DeadReason,
    at: Timestamp,
    pub(crate) entry: Entry,
}

/// What a list shows of a dead letter, copied under the lock.
pub(crate) struct FoundDeadLetter {
    key: u64,
    reason: DeadReason,
    at: Timestamp,
    queue: Arc<str>,
    message: Arc<StoredMessage>,
}

impl DeadLetters {
    /// Adds a message that could not be handled.
    pub(crate) fn add(&mut self, entry: Entry, reason: DeadReason, at: Timestamp) {
        self.last += 1;
        self.messages.insert(self.last, StoredDeadLetter { reason, at, entry });
    }

    /// Copies what a list shows.
    pub(crate) fn find(&self, key: u64, dead: &StoredDeadLetter) -> FoundDeadLetter {
        FoundDeadLetter {
            key,
            reason: dead.reason.clone(),
            at: dead.at,
            queue: dead.entry.queue.clone(),
            message: dead.entry.message.clone(),
        }
    }
}

impl From<FoundDeadLetter> for DeadLetter {
    fn from(found: FoundDeadLetter) -> Self {
        let (message, raw) = match &found.message.content {
            Content::Message(message) => (Some(message.clone()), None),
            Content::Unreadable { raw, .. } => (None, Some(raw.clone())),
        };
        Self {
            key: found.key,
            code: found.reason.code.to_owned(),
            reason: found.reason.text,
            at: found.at,
            queue: found.queue.to_string(),
            task_id: message.as_ref().and_then(|message| {
                let id = message.headers.id.as_ref().map(|id| id.as_str());
                id.or(message.properties.correlation_id.as_deref()).map(str::to_owned)
            }),
            task: message.as_ref().and_then(|message| message.headers.task.as_deref().map(str::to_owned)),
            message,
            raw,
        }
    }
}
