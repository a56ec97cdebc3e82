//! Background work with a name, that can be asked to stop and that somebody joins. Nothing else in the worker starts tasks,
//! apart from the `pool`.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A background task of the worker.
///
/// Dropping it without [`stop`](Self::stop) aborts the task.
pub struct Service {
    name: Cow<'static, str>,
    stopping: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

/// Tells a part's task that it is to end.
#[derive(Debug, Clone)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Waits until the part is asked to stop. Cancel-safe.
    pub async fn wait(&mut self) {
        // A part that was dropped is stopped too.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }

    /// Whether the part was asked to stop.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }
}

impl Service {
    /// Starts `run` in the background under `name`.
    pub fn start<F, Fut>(name: impl Into<Cow<'static, str>>, run: F) -> Self
    where
        F: FnOnce(Stopping) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (stopping, seen) = watch::channel(false);
        #[expect(clippy::disallowed_methods, reason = "this is the Part that joins it")]
        let task = tokio::spawn(run(Stopping(seen)));
        Self { name: name.into(), stopping, task: Some(task) }
    }

    /// The part's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks the task to end and waits for it; past `deadline` it is aborted. Tells whether it ended by itself.
    pub async fn stop(mut self, deadline: Option<Duration>) -> bool {
        self.stopping.send_replace(true);
        self.join(deadline).await
    }

    /// Asks the task to end and waits for it, and may be given up and asked again.
    pub(crate) async fn ask_and_join(&mut self) {
        self.stopping.send_replace(true);
        if let Some(task) = &mut self.task {
            // How it ended was its own affair; who joins it later finds it ended.
            let _ = task.await;
            self.task = None;
        }
    }

    /// Waits for the task without asking it to end; past `deadline` it is aborted. Tells whether it ended by itself.
    pub async fn join(&mut self, deadline: Option<Duration>) -> bool {
        let Some(mut task) = self.task.take() else { return true };
        let ended = match deadline {
            None => (&mut task).await,
            Some(deadline) => match tokio::time::timeout(deadline, &mut task).await {
                Ok(ended) => ended,
                Err(_) => {
                    task.abort();
                    return false;
                }
            },
        };
        if let Err(error) = &ended
            && error.is_panic()
        {
            tracing::error!(part = %self.name, "a part of the worker panicked");
        }
        ended.is_ok()
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
        f.debug_struct("Part").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_ends_when_it_is_asked() {
        let part = Service::start("waiter", |mut stopping| async move { stopping.wait().await });
        assert_eq!(part.name(), "waiter");
        assert!(part.stop(None).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_does_not_listen_is_aborted_at_the_deadline() {
        let part = Service::start("deaf", |_| std::future::pending());
        assert!(!part.stop(Some(Duration::from_secs(1))).await);
    }
}
