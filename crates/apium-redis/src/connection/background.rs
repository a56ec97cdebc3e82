//! Background tasks and threads that end with their owner. Nothing else in this crate spawns.

use std::future::Future;
use std::thread;

use apium_transport::error::{Error, ErrorKind, Result};
use tokio::sync::oneshot;
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

/// A thread with a runtime of its own. It goes on when the runtime of the callers is busy. Dropping it ends what it
/// runs, and waits for the thread.
#[derive(Debug)]
pub(crate) struct BackgroundThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl BackgroundThread {
    /// Starts a thread that runs what `run` returns.
    pub(crate) fn start<F: Future<Output = ()>>(
        name: &'static str,
        run: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Self> {
        let failed = |error| Error::new(ErrorKind::Other, format!("start the thread {name}")).with_source(error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        // Its log lines go where those of the caller go.
        let log = tracing::dispatcher::get_default(Clone::clone);
        let serve = move || {
            tracing::dispatcher::with_default(&log, || {
                runtime.block_on(async {
                    tokio::select! {
                        biased;
                        // Both an answer and an error mean that the owner is gone.
                        _ = stopped => {}
                        () = run() => {}
                    }
                });
                // A lookup of a name may take long, and nobody waits for it any more.
                runtime.shutdown_background();
            });
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(serve).map_err(failed)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for BackgroundThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a thread of the Redis driver panicked");
        }
    }
}
