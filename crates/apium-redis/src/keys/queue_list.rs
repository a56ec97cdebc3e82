//! Where a message comes from and goes back to: one list of one queue.

use std::sync::Arc;

use crate::keys::broker_keys::Keys;

/// One queue's list, by its key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueList {
    pub(crate) queue: Arc<str>,
    pub(crate) key: String,
    /// What follows the envelope in `unacked`.
    pub(crate) unacked_suffix: String,
}

impl QueueList {
    /// A queue's list of a priority step.
    pub(crate) fn new(keys: &Keys, queue: &Arc<str>, step: u8) -> Self {
        // As kombu writes it: the default exchange, so that whoever gives it back gives it to this very queue.
        let name = serde_json::to_string(&**queue).unwrap_or_default();
        Self { queue: queue.clone(), key: keys.step_list(queue, step), unacked_suffix: format!(", \"\", {name}]") }
    }
}
