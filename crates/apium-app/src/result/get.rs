//! Waiting for a result: `r.get()`, with its options.

use std::future::IntoFuture;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use crate::error::{Error, ErrorKind, Result};
use crate::failure::Failure;
use crate::result::async_result::{AsyncResult, failure_of, raised};
use crate::result::pending::{PendingResults, ReadyResult};
use crate::result::wait::WaitOptions;

/// How a task ended, where a failure is not an error (Celery: `propagate=False`).
#[derive(Debug, Clone)]
pub enum Outcome<T> {
    /// It returned this.
    Value(T),
    /// It failed.
    Failed(Failure),
    /// It was revoked, or it expired before it ran.
    Revoked(Failure),
}

impl<T> Outcome<T> {
    /// The outcome in a document of FAILURE or REVOKED.
    fn of_failure(document: &ResultDocument) -> Self {
        match document.state {
            State::Revoked => Self::Revoked(failure_of(document)),
            _ => Self::Failed(failure_of(document)),
        }
    }

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

/// A wait for a result. Awaited, it returns the value, or the task's failure as an error.
///
/// # Errors
/// [`ErrorKind::TaskFailed`] and [`ErrorKind::TaskRevoked`] with the failure; else as [`outcome`](Self::outcome).
#[must_use = "nothing happens until it is awaited, or until `wait` is called"]
pub struct Get<T> {
    result: AsyncResult<T>,
    options: WaitOptions,
}

impl<T> AsyncResult<T> {
    /// Waits until the task is ready: SUCCESS, FAILURE or REVOKED. The backend sends each state; nothing is polled. A
    /// failure of what came before the task ([`parent`](AsyncResult::parent)) is returned first, as soon as it is seen.
    pub fn get(&self) -> Get<T> {
        Get { result: self.clone(), options: WaitOptions::default() }
    }
}

impl<T: DeserializeOwned + Send + 'static> AsyncResult<T> {
    /// Waits on this thread until the task is ready. For code that is not async.
    ///
    /// # Errors
    /// As `get().await`.
    pub fn get_blocking(&self) -> Result<T> {
        self.get().wait()
    }
}

impl<T> Get<T> {
    /// Waits no longer than this; zero reads the state once. Without it, it waits for ever. The task runs on after it.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.options.timeout = Some(limit);
        self
    }

    /// Calls `callback` with every state of the task from now on, as its [`ResultDocument`], which
    /// [`watch`](AsyncResult::watch) returns too. The last one is the ready state.
    pub fn on_message(mut self, callback: impl FnMut(&ResultDocument) + Send + 'static) -> Self {
        self.options.on_message = Some(Box::new(callback));
        self
    }

    /// Allows it inside a task (Celery: `disable_sync_subtasks=False`), where it is refused otherwise: when all slots
    /// of a worker wait for tasks that need one of these slots, no task ends.
    pub fn allow_in_task(mut self) -> Self {
        self.options.allow_in_task = true;
        self
    }

    /// Reads states until the result is ready.
    async fn wait_until_ready(self, propagate: bool) -> Result<(AsyncResult<T>, PendingResults)> {
        let Self { result, options } = self;
        let what = format!("task {}", result.id());
        let stop = tracing::trace_span!(target: "apium::walk", "result", task = %result.id());
        let mut pending = PendingResults::with_before(what.clone(), std::slice::from_ref(&result), None);
        options.complete(&mut pending, what, propagate).instrument(stop).await?;
        Ok((result, pending))
    }
}

/// The outcome of a ready result, which has this index among those that were waited for.
pub(crate) fn outcome<T: DeserializeOwned>(
    pending: &PendingResults,
    index: usize,
    result: &AsyncResult<T>,
) -> Result<Outcome<T>> {
    if let Some(before) = pending.failed_before(index) {
        return Ok(Outcome::of_failure(before));
    }
    match pending.json_of(result)? {
        ReadyResult::Failed(document) => Ok(Outcome::of_failure(&document)),
        ReadyResult::Value(json) => decode(result, &json).map(Outcome::Value),
    }
}

/// The value of a ready result, or its failure as an error.
pub(crate) fn value<T: DeserializeOwned>(pending: &PendingResults, result: &AsyncResult<T>) -> Result<T> {
    match pending.json_of(result)? {
        ReadyResult::Failed(document) => Err(raised(&document)),
        ReadyResult::Value(json) => decode(result, &json),
    }
}

fn decode<T: DeserializeOwned>(result: &AsyncResult<T>, json: &Json) -> Result<T> {
    json.decode().map_err(|error| {
        if result.ignored() {
            let text = format!("get the value of task {}: its result is ignored", result.id());
            return Error::new(ErrorKind::Call, text);
        }
        let text = format!("read the value of task {} as {}", result.id(), std::any::type_name::<T>());
        Error::new(ErrorKind::Codec, text).with_source(error)
    })
}

impl<T: DeserializeOwned + Send + 'static> Get<T> {
    async fn outcome_unchecked(self) -> Result<Outcome<T>> {
        if self.result.ignored() {
            return decode(&self.result, &Json::NULL).map(Outcome::Value);
        }
        let (result, pending) = self.wait_until_ready(false).await?;
        outcome(&pending, 0, &result)
    }

    async fn value_unchecked(self) -> Result<T> {
        if self.result.ignored() {
            return decode(&self.result, &Json::NULL);
        }
        let (result, pending) = self.wait_until_ready(true).await?;
        value(&pending, &result)
    }

    fn check(&self) -> Result<()> {
        if self.result.ignored() {
            return Ok(());
        }
        self.options.check(&format!("task {}", self.result.id()))
    }

    /// Waits, and calls `callback` with the task's id and its value.
    ///
    /// # Errors
    /// As awaiting it.
    pub async fn callback(self, callback: impl FnOnce(&TaskId, T)) -> Result<()> {
        self.check()?;
        let id = self.result.id().clone();
        callback(&id, self.value_unchecked().await?);
        Ok(())
    }

    /// How the task ended. Its failure is not an error (Celery: `propagate=False`), and neither is a failure before it.
    /// Where a task before it in its chain failed or was revoked, so that it does not run, that is its outcome.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`], [`ErrorKind::GetInTask`], [`ErrorKind::NoBackend`], [`ErrorKind::Backend`], and
    /// [`ErrorKind::Codec`] when the value does not fit the type. It is cancel-safe, as is awaiting [`Get`].
    pub async fn outcome(self) -> Result<Outcome<T>> {
        self.check()?;
        self.outcome_unchecked().await
    }

    /// Waits on this thread. For code that is not async.
    ///
    /// # Errors
    /// As awaiting it.
    pub fn wait(self) -> Result<T> {
        self.check()?;
        let app = self.result.app().clone();
        app.blocking().run(self.value_unchecked())?
    }

    /// Waits on this thread for the outcome of the task. For code that is not async.
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
