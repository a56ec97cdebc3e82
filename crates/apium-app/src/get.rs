//! Waiting for a result: `r.get()`, with its options.

use std::future::IntoFuture;
use std::time::Duration;

use apium_protocol::json::Json;
use apium_protocol::record::ResultDocument;
use apium_protocol::state::State;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use crate::current;
use crate::error::{Error, ErrorKind, Result};
use crate::failure::Failure;
use crate::result::{AsyncResult, failure_of, raised};

/// What became of a task, where a failure is no error (Celery: `propagate=False`).
#[derive(Debug, Clone)]
pub enum Outcome<T> {
    /// It returned this.
    Value(T),
    /// It failed.
    Failed(Failure),
    /// It was revoked, or it expired.
    Revoked(Failure),
}

impl<T> Outcome<T> {
    /// The return value, if there is one.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }

    /// The failure, of a task that failed or was revoked.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Value(_) => None,
            Self::Failed(failure) | Self::Revoked(failure) => Some(failure),
        }
    }
}

/// A callback that sees states as JSON documents.
pub(crate) type OnMessage = Box<dyn FnMut(&Json) + Send>;

/// How to wait.
#[derive(Default)]
pub(crate) struct Waiting {
    pub(crate) timeout: Option<Duration>,
    pub(crate) on_message: Option<OnMessage>,
    pub(crate) allow_in_task: bool,
}

impl Waiting {
    /// Refuses to wait inside a task, where every slot of a worker could come to wait for another.
    pub(crate) fn check(&self, what: &str) -> Result<()> {
        if self.allow_in_task || current::may_join() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::GetInTask,
            format!(
                "get the result of {what}: Never call result.get() within a task! A worker whose slots all wait has none \
                 left for what they wait for. Use a callback, or allow it with .allow_in_task()"
            ),
        ))
    }

    /// Waits at most the timeout.
    pub(crate) async fn limited<F: Future>(timeout: Option<Duration>, what: &str, work: F) -> Result<F::Output> {
        match timeout {
            None => Ok(work.await),
            Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| late(what, limit)),
        }
    }
}

pub(crate) fn late(what: &str, limit: Duration) -> Error {
    let text = format!("get the result of {what} within {} s; it may still come", limit.as_secs_f64());
    Error::new(ErrorKind::Timeout, text)
}

/// A wait for a result. Awaited, it is the value, or the task's failure as an error.
#[must_use = "nothing happens until it is awaited, or until `wait` is called in plain code"]
pub struct Get<T> {
    result: AsyncResult<T>,
    waiting: Waiting,
}

impl<T> AsyncResult<T> {
    /// Waits until the task is over. The backend tells when; nothing is polled here.
    pub fn get(&self) -> Get<T> {
        Get { result: self.clone(), waiting: Waiting::default() }
    }
}

impl<T: DeserializeOwned + Send + 'static> AsyncResult<T> {
    /// Waits on this thread until the task is over. For plain code.
    ///
    /// # Errors
    /// As `get().await`.
    pub fn get_blocking(&self) -> Result<T> {
        self.get().wait()
    }
}

impl<T> Get<T> {
    /// Waits no longer than this; zero looks once. The task goes on.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.waiting.timeout = Some(limit);
        self
    }

    /// Calls `callback` with every state of the task from now on, as its document: `status`, `result`, `traceback`,
    /// `children`, `date_done`, `task_id`, and `group_id`, `parent_id` where there are any. The ready state is the last.
    pub fn on_message(mut self, callback: impl FnMut(&Json) + Send + 'static) -> Self {
        self.waiting.on_message = Some(Box::new(callback));
        self
    }

    /// Allows it inside a task (Celery: `disable_sync_subtasks=False`). Mind the deadlock: a worker whose every slot waits for
    /// tasks that wait for a slot.
    pub fn allow_in_task(mut self) -> Self {
        self.waiting.allow_in_task = true;
        self
    }

    /// The document of the ready state. A parent that failed is an error as soon as it is seen.
    async fn document(mut self) -> Result<ResultDocument> {
        let what = format!("task {}", self.result.id());
        if let Some(known) = self.result.known() {
            tell(&mut self.waiting.on_message, &known)?;
            return Ok((*known).clone());
        }
        if self.waiting.timeout == Some(Duration::ZERO) {
            let found = self.result.document().await?.filter(|document| document.state.is_ready());
            let found = found.ok_or_else(|| late(&what, Duration::ZERO))?;
            tell(&mut self.waiting.on_message, &found)?;
            return Ok(found);
        }
        let Waiting { timeout, on_message, .. } = self.waiting;
        let stop = tracing::trace_span!(target: "apium::walk", "result", task = %self.result.id());
        Waiting::limited(timeout, &what, follow(&self.result, on_message).instrument(stop)).await?
    }
}

/// Follows the states of a task and its parents until it is over.
async fn follow<T>(result: &AsyncResult<T>, mut on_message: Option<OnMessage>) -> Result<ResultDocument> {
    let backend = result.backend()?;
    let mut states = result.watch_ids(result.lineage()).await?;
    while let Some(state) = states.next().await {
        let document = state.map_err(|error| result.reading(backend, error))?;
        if document.task_id == *result.id() {
            tell(&mut on_message, &document)?;
            if document.state.is_ready() {
                result.keep(&document);
                return Ok(document);
            }
        } else if document.state.propagates() {
            return Err(raised(&document));
        }
    }
    let text =
        format!("get the result of task {} from {}: the backend stopped telling", result.id(), backend.address());
    Err(Error::new(ErrorKind::Backend, text))
}

pub(crate) fn tell(on_message: &mut Option<OnMessage>, document: &ResultDocument) -> Result<()> {
    if let Some(callback) = on_message {
        callback(&Json::from_bytes(document.to_json().into())?);
    }
    Ok(())
}

/// The value in a document of SUCCESS.
pub(crate) fn value<T: DeserializeOwned>(document: &ResultDocument) -> Result<T> {
    document.result.decode().map_err(|error| {
        let text = format!("read the value of task {} as {}", document.task_id, std::any::type_name::<T>());
        Error::new(ErrorKind::Codec, text).with_source(error)
    })
}

impl<T: DeserializeOwned + Send + 'static> Get<T> {
    fn ignored(result: &AsyncResult<T>) -> Result<T> {
        Json::NULL.decode().map_err(|_| {
            let text = format!("get the value of task {}: its result is ignored", result.id());
            Error::new(ErrorKind::Call, text)
        })
    }

    async fn outcome_unchecked(self) -> Result<Outcome<T>> {
        if self.result.ignored() {
            return Ok(Outcome::Value(Self::ignored(&self.result)?));
        }
        let document = self.document().await?;
        Ok(match document.state {
            State::Failure => Outcome::Failed(failure_of(&document)),
            State::Revoked => Outcome::Revoked(failure_of(&document)),
            _ => Outcome::Value(value(&document)?),
        })
    }

    async fn value_unchecked(self) -> Result<T> {
        if self.result.ignored() {
            return Self::ignored(&self.result);
        }
        let document = self.document().await?;
        if document.state.propagates() {
            return Err(raised(&document));
        }
        value(&document)
    }

    fn check(&self) -> Result<()> {
        if self.result.ignored() {
            return Ok(());
        }
        self.waiting.check(&format!("task {}", self.result.id()))
    }

    /// What became of the task; its failure is no error (Celery: `propagate=False`).
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`], [`ErrorKind::GetInTask`], [`ErrorKind::NoBackend`], [`ErrorKind::Backend`], and
    /// [`ErrorKind::Codec`] when the value does not fit the type. Cancel-safe.
    pub async fn outcome(self) -> Result<Outcome<T>> {
        self.check()?;
        self.outcome_unchecked().await
    }

    /// Waits on this thread. For plain code.
    ///
    /// # Errors
    /// As awaiting it.
    pub fn wait(self) -> Result<T> {
        self.check()?;
        let app = self.result.app().clone();
        app.blocking().run(self.value_unchecked())?
    }

    /// Waits on this thread for what became of the task. For plain code.
    ///
    /// # Errors
    /// As [`outcome`](Self::outcome).
    pub fn wait_outcome(self) -> Result<Outcome<T>> {
        self.check()?;
        let app = self.result.app().clone();
        app.blocking().run(self.outcome_unchecked())?
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for Get<T> {
    type Output = Result<T>;
    type IntoFuture = BoxFuture<'static, Result<T>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.check()?;
            self.value_unchecked().await
        })
    }
}
