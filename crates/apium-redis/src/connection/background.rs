//! Background tasks that end with their owner. Nothing else in this crate spawns.

use std::future::Future;

use tokio::task::JoinHandle;

/// A background task. Dropping it aborts it.
#[derive(Debug)]
pub(crate) struct Background(JoinHandle<()>);

impl Background {
    /// Starts `task` in the background.
    pub(crate) fn start(task: impl Future<Output = ()> + Send + 'static) -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the handle that owns it")]
        let handle = tokio::spawn(task);
        Self(handle)
    }

    /// Whether it has ended, by itself or with the runtime that ran it.
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}
