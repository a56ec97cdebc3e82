//! Background work that ends with whoever owns it. Nothing else in this crate starts tasks.

use std::future::Future;

use tokio::task::JoinHandle;

/// A background task. Dropping it aborts it.
#[derive(Debug)]
pub(crate) struct Background(JoinHandle<()>);

impl Background {
    /// Starts `work` in the background.
    pub(crate) fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the handle that owns it")]
        let task = tokio::spawn(work);
        Self(task)
    }

    /// Whether it has ended, be it with the runtime that ran it.
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}
