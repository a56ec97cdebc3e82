//! Where results are stored: in the app's result backend, or in one of the task's own (the task option `backend`).

use std::collections::HashMap;
use std::sync::Arc;

use apium_transport::backend::backend::SharedBackend;

/// The result backends of a worker.
#[derive(Clone, Default)]
pub(crate) struct Backends {
    app: Option<SharedBackend>,
    /// Backends of tasks that have one of their own, by the task's name.
    of_tasks: HashMap<Arc<str>, SharedBackend>,
}

impl Backends {
    pub(crate) fn new(app: Option<SharedBackend>, of_tasks: HashMap<Arc<str>, SharedBackend>) -> Self {
        Self { app, of_tasks }
    }

    /// The app's backend. The parts of chords are counted there, also those of tasks with a backend of their own.
    pub(crate) fn app(&self) -> Option<&SharedBackend> {
        self.app.as_ref()
    }

    /// The result backend that this task has of its own; `None` when its results go to the app's.
    pub(crate) fn own(&self, task: &str) -> Option<&SharedBackend> {
        // This is called for each run, and few apps have any: an empty map needs no hash of the name.
        if self.of_tasks.is_empty() { None } else { self.of_tasks.get(task) }
    }

    /// The backend in which the results of `task` are stored.
    pub(crate) fn of(&self, task: &str) -> Option<&SharedBackend> {
        self.own(task).or(self.app())
    }

    /// The backends that tasks have of their own. One that several tasks have comes more than once.
    pub(crate) fn of_tasks(&self) -> impl Iterator<Item = &SharedBackend> {
        self.of_tasks.values()
    }

    /// All backends: the app's first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &SharedBackend> {
        self.app.iter().chain(self.of_tasks.values())
    }
}
