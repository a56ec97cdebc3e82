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
    /// Of a document of FAILURE or REVOKED.
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

/// A wait for a result. Awaited, it is the value, or the task's failure as an error.
#[must_use = "nothing happens until it is awaited, or until `wait` is called in plain code"]
pub struct Get<T> {
    result: AsyncResult<T>,
    waiting: WaitOptions,
}

impl<T> AsyncResult<T> {
    /// Waits until the task is over. The backend tells when; nothing is polled here. A failure of what came before it
    /// ([`parent`](AsyncResult::parent)) is raised first, as soon as it is seen.
    pub fn get(&self) -> Get<T> {
        Get { result: self.clone(), waiting: WaitOptions::default() }
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

    /// Calls `callback` with every state of the task from now on, as its [`ResultDocument`]: the same that
    /// [`watch`](AsyncResult::watch) gives. The ready state is the last.
    pub fn on_message(mut self, callback: impl FnMut(&ResultDocument) + Send + 'static) -> Self {
        self.waiting.on_message = Some(Box::new(callback));
        self
    }

    /// Allows it inside a task (Celery: `disable_sync_subtasks=False`). Mind the deadlock: a worker whose every slot
    /// waits for tasks that wait for a slot.
    pub fn allow_in_task(mut self) -> Self {
        self.waiting.allow_in_task = true;
        self
    }

    /// What arrives until it is over.
    async fn arrived(self, propagate: bool) -> Result<(AsyncResult<T>, PendingResults)> {
        let Self { result, waiting } = self;
        let what = format!("task {}", result.id());
        let stop = tracing::trace_span!(target: "apium::walk", "result", task = %result.id());
        let mut arrivals = PendingResults::with_before(what.clone(), std::slice::from_ref(&result), None);
        waiting.complete(&mut arrivals, what, propagate).instrument(stop).await?;
        Ok((result, arrivals))
    }
}

/// What became of a result that is over, in a place of what was waited for.
pub(crate) fn outcome<T: DeserializeOwned>(
    arrivals: &PendingResults,
    place: usize,
    result: &AsyncResult<T>,
) -> Result<Outcome<T>> {
    if let Some(before) = arrivals.lost(place) {
        return Ok(Outcome::of_failure(before));
    }
    match arrivals.json_of(result)? {
        ReadyResult::Failed(document) => Ok(Outcome::of_failure(&document)),
        ReadyResult::Value(json) => decode(result, &json).map(Outcome::Value),
    }
}

/// The value of a result that is over, or its failure as an error.
pub(crate) fn value<T: DeserializeOwned>(arrivals: &PendingResults, result: &AsyncResult<T>) -> Result<T> {
    match arrivals.json_of(result)? {
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
        let (result, arrivals) = self.arrived(false).await?;
        outcome(&arrivals, 0, &result)
    }

    async fn value_unchecked(self) -> Result<T> {
        if self.result.ignored() {
            return decode(&self.result, &Json::NULL);
        }
        let (result, arrivals) = self.arrived(true).await?;
        value(&arrivals, &result)
    }

    fn check(&self) -> Result<()> {
        if self.result.ignored() {
            return Ok(());
        }
        self.waiting.check(&format!("task {}", self.result.id()))
    }

    /// Waits, and calls back with the task's id and its value (Celery: `callback`).
    ///
    /// # Errors
    /// As awaiting it.
    pub async fn callback(self, callback: impl FnOnce(&TaskId, T)) -> Result<()> {
        self.check()?;
        let id = self.result.id().clone();
        callback(&id, self.value_unchecked().await?);
        Ok(())
    }

    /// What became of the task; its failure is no error (Celery: `propagate=False`), and neither is one before it.
    /// Where a task before it in its chain has failed or was revoked and it was left without an end of its own, that is
    /// what became of it.
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
