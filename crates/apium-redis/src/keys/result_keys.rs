//! The names of a result backend's keys and channels, as Celery has them, and one key of Apium's own for a run's
//! version.

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

    /// A task's result document, and the channel on which each of its states is published.
    pub(crate) fn task(&self, id: &TaskId) -> String {
        [&*self.prefix, "celery-task-meta-", id.as_str()].concat()
    }

    /// The version of the run that wrote the document, for the rule which run may overwrite it (Apium's own). A SUCCESS
    /// has none.
    pub(crate) fn run(&self, id: &TaskId) -> String {
        format!("{}_apium.run.{}", self.prefix, id.as_str())
    }

    /// A saved group.
    pub(crate) fn group(&self, id: &str) -> String {
        format!("{}celery-taskset-meta-{id}", self.prefix)
    }

    /// A key of a chord, by its suffix: `.j` the counted parts, `.t` by how much the size grew, `.s` the size, `.d`
    /// which parts were counted, `.c` who has the claim on the body, or `done`.
    pub(crate) fn chord(&self, group: &str, suffix: &str) -> String {
        format!("{}{suffix}", self.group(group))
    }
}
