//! The names of keys and channels of results, as Celery has them, and the mark of a run beside them (Apium's own).

use std::sync::Arc;

use apium_protocol::message::task_id::TaskId;

/// The names of a result backend's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResultKeys {
    prefix: Arc<str>,
}

impl ResultKeys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// A task's document, and the channel on which each of its states is told.
    pub(crate) fn task(&self, id: &TaskId) -> String {
        format!("{}celery-task-meta-{}", self.prefix, id.as_str())
    }

    /// Which run wrote the document, where that matters for the overwrite rule (Apium's own; never beside a SUCCESS).
    pub(crate) fn run(&self, id: &TaskId) -> String {
        format!("{}_apium.run.{}", self.prefix, id.as_str())
    }

    /// A saved group.
    pub(crate) fn group(&self, id: &str) -> String {
        format!("{}celery-taskset-meta-{id}", self.prefix)
    }

    /// One of the keys of a chord, by its suffix: `.j` the parts, `.t` what the size grew by, `.s` the size, `.d` the parts that
    /// were counted, `.c` who has the claim on the body, or `done`.
    pub(crate) fn chord(&self, group: &str, suffix: &str) -> String {
        format!("{}{suffix}", self.group(group))
    }
}
