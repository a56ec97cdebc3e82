//! Services: background loops with a name, which their owner stops and joins. Nothing else in the worker spawns tasks,
//! apart from the slots and the pools.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A background loop on the runtime. Dropping it without [`stop`](Self::stop) aborts the loop at an await point.
pub struct Service {
    name: Cow<'static, str>,
    stopping: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

/// Tells a service's loop that it is to end.
#[derive(Debug, Clone)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Waits until the service is asked to stop. Cancel-safe.
    pub async fn wait(&mut self) {
        // An error means that the service was dropped, which stops it too.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }

    /// Whether the service was asked to stop.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }
}

/// What asks the loop of a service to end, and tells it so, for a test that runs the loop itself.
#[cfg(test)]
pub(crate) fn stopping() -> (watch::Sender<bool>, Stopping) {
    let (stopping, receiver) = watch::channel(false);
    (stopping, Stopping(receiver))
}

impl Service {
    /// Starts `run` in the background under `name`.
    pub fn start<F, Fut>(name: impl Into<Cow<'static, str>>, run: F) -> Self
    where
        F: FnOnce(Stopping) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (stopping, receiver) = watch::channel(false);
        #[expect(clippy::disallowed_methods, reason = "this is the service that joins it")]
        let task = tokio::spawn(run(Stopping(receiver)));
        Self { name: name.into(), stopping, task: Some(task) }
    }

    /// The service's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks the loop to end and waits for it; after `deadline` it is aborted. Returns whether it ended by itself.
    pub async fn stop(mut self, deadline: Option<Duration>) -> bool {
        self.stopping.send_replace(true);
        self.join(deadline).await
    }

    /// Asks the loop to end and waits for it. Cancel-safe: it can be called again, and the loop goes on ending.
    pub(crate) async fn ask_and_join(&mut self) {
        self.stopping.send_replace(true);
        if let Some(task) = &mut self.task {
            // Whether it panicked does not matter here: `None` says to a later join that it has ended.
            let _ = task.await;
            self.task = None;
        }
    }

    /// Waits until the loop has ended, and says how. For a loop that should go on. Cancel-safe; for ever when it was
    /// joined before.
    pub(crate) async fn until_ended(&mut self) -> String {
        let Some(task) = &mut self.task else { return std::future::pending().await };
        let joined = task.await;
        self.task = None;
        let how = if joined.is_err_and(|error| error.is_panic()) { "panicked" } else { "ended" };
        format!("the service {} of the worker {how}", self.name)
    }

    /// Aborts the loop at an await point, and waits until everything that it held is dropped.
    pub(crate) async fn abort(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // It was aborted, or had ended before.
            let _ = task.await;
        }
    }

    /// Waits for the loop without asking it to end; after `deadline` it is aborted. Returns whether it ended by itself.
    pub async fn join(&mut self, deadline: Option<Duration>) -> bool {
        let Some(mut task) = self.task.take() else { return true };
        let joined = match deadline {
            None => (&mut task).await,
            Some(deadline) => match tokio::time::timeout(deadline, &mut task).await {
                Ok(joined) => joined,
                Err(_) => {
                    task.abort();
                    return false;
                }
            },
        };
        if let Err(error) = &joined
            && error.is_panic()
        {
            tracing::error!(service = %self.name, "the service {} of the worker panicked", self.name);
        }
        joined.is_ok()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_ends_when_it_is_asked_to() {
        let service = Service::start("waiter", |mut stopping| async move { stopping.wait().await });
        assert_eq!(service.name(), "waiter");
        assert!(service.stop(None).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_end_is_aborted_at_the_deadline() {
        let service = Service::start("endless", |_| std::future::pending());
        assert!(!service.stop(Some(Duration::from_secs(1))).await);
    }
}
