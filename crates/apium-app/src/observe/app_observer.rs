//! Observers of an app: code of the program that is told what the app publishes (Celery's signals of publishing).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use apium_transport::broker::outgoing::Outgoing;

use crate::error::{Error, ErrorKind, Result};
use crate::observe::observer_thread::ObserverThread;

/// Is told what an app publishes ([`AppBuilder::observer`](crate::builder::AppBuilder::observer)). Every method does
/// nothing by default.
///
/// | method | Celery's signal |
/// |---|---|
/// | [`before_publish`](Self::before_publish) | `before_task_publish`, without changing anything |
/// | [`after_publish`](Self::after_publish) | `after_task_publish`, `task_sent` |
/// | [`publish_failed`](Self::publish_failed) | none |
///
/// It is called on a thread of its own, shortly after it has happened: it delays no call, and may panic or hang. When
/// it is too slow for long, it is not told what is oldest. What is to change or to refuse a message is a
/// [layer](crate::publish::layer::PublishLayer).
///
/// It sees what programs and tasks send. What a worker sends because a run ended, such as the next step of a chain, is
/// seen by layers.
pub trait AppObserver: Send + Sync + 'static {
    /// The message of a task is about to be published.
    fn before_publish(&self, message: &Outgoing) {
        let _ = message;
    }

    /// The message of a task was published.
    fn after_publish(&self, message: &Outgoing) {
        let _ = message;
    }

    /// The message of a task could not be published. `error` says why.
    fn publish_failed(&self, message: &Outgoing, error: &str) {
        let _ = (message, error);
    }
}

/// Counts what an app publishes, for metrics. It is called in the caller, so it must be quick.
pub trait PublishCounter: Send + Sync + 'static {
    /// These messages were published.
    fn published(&self, batch: &[Outgoing]);
}

/// What observers of an app are told.
#[derive(Debug, Clone)]
pub(crate) enum Publishing {
    Begins,
    Done,
    Failed(Arc<str>),
}

/// The observers of an app, with their thread; none where nobody observes.
#[derive(Clone, Default)]
pub(crate) struct AppObservers(Option<Arc<ObserverThread<(Outgoing, Publishing)>>>);

impl AppObservers {
    /// Starts the thread of these observers.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the system has no thread left.
    pub(crate) fn start(observers: Vec<Arc<dyn AppObserver>>) -> Result<Self> {
        if observers.is_empty() {
            return Ok(Self(None));
        }
        let tell = move |(message, publishing): (Outgoing, Publishing)| {
            for observer in &observers {
                match &publishing {
                    Publishing::Begins => observer.before_publish(&message),
                    Publishing::Done => observer.after_publish(&message),
                    Publishing::Failed(error) => observer.publish_failed(&message, error),
                }
            }
        };
        let thread = ObserverThread::start("apium-observers", tell).map_err(|error| {
            Error::new(ErrorKind::Config, "start the thread of the observers of the app").with_source(error)
        })?;
        Ok(Self(Some(Arc::new(thread))))
    }

    /// Tells the observers of a batch.
    pub(crate) fn tell(&self, batch: &[Outgoing], publishing: &Publishing) {
        let Self(Some(thread)) = self else { return };
        for message in batch.iter().filter(|outgoing| outgoing.message.headers.task.is_some()) {
            thread.push((message.clone(), publishing.clone()), 512 + message.message.body.len());
        }
    }

    /// Whether somebody observes.
    pub(crate) fn are_there(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until they were told everything, at most for `limit`.
    pub(crate) async fn close(&self, limit: Duration) {
        let Some(thread) = self.0.clone() else { return };
        let closed = tokio::task::spawn_blocking(move || thread.close(limit)).await;
        if !closed.unwrap_or(false) {
            tracing::warn!("an observer of the app does not return; it is left alone");
        }
    }
}

impl fmt::Debug for AppObservers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AppObservers").field(&self.are_there()).finish()
    }
}
