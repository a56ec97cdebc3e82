//! Where results are stored: the app's result backend, and those of tasks that have one of their own.

use std::collections::HashMap;
use std::sync::Arc;

use apium_transport::backend::backend::SharedBackend;

/// The result backends of a worker.
#[derive(Clone, Default)]
pub(crate) struct Backends {
    app: Option<SharedBackend>,
    /// By task name.
    of_tasks: HashMap<Arc<str>, SharedBackend>,
}

impl Backends {
    pub(crate) fn new(app: Option<SharedBackend>, of_tasks: HashMap<Arc<str>, SharedBackend>) -> Self {
        Self { app, of_tasks }
    }

    /// The app's backend. Chords are counted there.
    pub(crate) fn app(&self) -> Option<&SharedBackend> {
        self.app.as_ref()
    }

    /// The backend that `task` alone has.
    pub(crate) fn own(&self, task: &str) -> Option<&SharedBackend> {
        // Few apps have any, and the name of the task is hashed for each run.
        if self.of_tasks.is_empty() { None } else { self.of_tasks.get(task) }
    }

    /// The backend that keeps the results of `task`.
    pub(crate) fn of(&self, task: &str) -> Option<&SharedBackend> {
        self.own(task).or(self.app())
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &SharedBackend> {
        self.app.iter().chain(self.of_tasks.values())
    }
}
