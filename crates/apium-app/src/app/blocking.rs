//! Calls from code that is not async: a small runtime of the app, which is started when it is first needed.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, ErrorKind, Result};

/// Runs futures for threads without a runtime, on a thread of its own.
#[derive(Debug, Default)]
pub struct Blocking {
    runtime: OnceLock<Runtime>,
}

impl Blocking {
    /// Runs a future to its end and blocks this thread until then. On a thread of a tokio runtime this stops all tasks
    /// of that thread; await the future there.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] when the thread cannot be started, or the future panics.
    pub fn run<F>(&self, future: F) -> Result<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (done, wait) = sync_channel(1);
        let task = self.runtime()?.spawn(async move {
            // The receiver waits below as long as the sender lives.
            let _ = done.send(future.await);
        });
        let output = wait.recv();
        drop(task);
        output.map_err(|_| Error::new(ErrorKind::Call, "complete the blocking call: its future panicked"))
    }

    fn runtime(&self) -> Result<&Runtime> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let made = Builder::new_multi_thread().worker_threads(1).thread_name("apium-blocking").enable_all().build();
        let made =
            made.map_err(|error| Error::new(ErrorKind::Call, "start a runtime for blocking calls").with_source(error))?;
        if let Err(second) = self.runtime.set(made) {
            second.shutdown_background();
        }
        self.runtime.get().ok_or_else(|| Error::new(ErrorKind::Call, "start a runtime for blocking calls"))
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        // Dropping a runtime blocks, which async code must not do, and an app may be dropped in async code.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Blocking;

    #[test]
    fn plain_threads_run_futures() {
        let blocking = Blocking::default();
        assert_eq!(blocking.run(async { 4 }).unwrap(), 4);
        let error = blocking.run(async { panic!("on purpose") }).unwrap_err().to_string();
        assert!(error.contains("panicked"), "{error}");
        assert_eq!(blocking.run(async { 5 }).unwrap(), 5);
    }

    #[tokio::test]
    async fn it_may_be_used_and_dropped_inside_a_runtime() {
        let blocking = Blocking::default();
        assert_eq!(blocking.run(async { 4 }).unwrap(), 4);
        drop(blocking);
    }
}
