//! Where a message comes from and goes back to: one list of one queue.

use std::sync::Arc;

use crate::keys::broker_keys::Keys;

/// One queue's list, by its key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) queue: Arc<str>,
    pub(crate) list: String,
    /// What follows the envelope in `unacked`.
    pub(crate) suffix: String,
}

impl Source {
    /// A queue's list of a priority step.
    pub(crate) fn new(keys: &Keys, queue: &Arc<str>, step: u8) -> Self {
        // As kombu writes it: the default exchange, so that whoever gives it back gives it to this very queue.
        let name = serde_json::to_string(&**queue).unwrap_or_default();
        Self { queue: queue.clone(), list: keys.step_list(queue, step), suffix: format!(", \"\", {name}]") }
    }
}
