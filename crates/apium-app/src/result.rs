//! The result of a task as its caller sees it (Celery: `AsyncResult`).

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};

use apium_protocol::exception::ExceptionInfo;
use apium_protocol::id::TaskId;
use apium_protocol::json::Json;
use apium_protocol::record::{ResultDocument, ResultTuple};
use apium_protocol::state::State;
use apium_transport::backend::{ResultRecord, ResultStream, SharedBackend};
use futures_util::{Stream, StreamExt};

use crate::app::App;
use crate::error::{Error, ErrorKind, Result};
use crate::failure::Failure;
use crate::record::{Told, foreign_document};

/// The state that [`AsyncResult::abort`] stores.
const ABORTED: &str = "ABORTED";

/// The result of a task, by id. Cheap to clone. Equal when the ids are.
pub struct AsyncResult<T> {
    id: TaskId,
    app: App,
    backend: Option<SharedBackend>,
    ignored: bool,
    parent: Option<Arc<AsyncResult<Json>>>,
    /// The document of a ready state: it is not asked for again, unless it is forgotten.
    ready: Arc<RwLock<Option<Arc<ResultDocument>>>>,
    value: PhantomData<fn() -> T>,
}

impl App {
    /// The result of a task by its id. An id that nobody knows is PENDING.
    pub fn result<T>(&self, id: impl Into<TaskId>) -> AsyncResult<T> {
        AsyncResult::of(self, id)
    }
}

impl<T> AsyncResult<T> {
    /// The result of a task by its id, from the app's result backend.
    pub fn of(app: &App, id: impl Into<TaskId>) -> Self {
        Self::sent(app, id.into(), app.backend().cloned(), false)
    }

    pub(crate) fn sent(app: &App, id: TaskId, backend: Option<SharedBackend>, ignored: bool) -> Self {
        Self { id, app: app.clone(), backend, ignored, parent: None, ready: Arc::default(), value: PhantomData }
    }

    /// The result of a run in this process, which is over.
    pub(crate) fn eager(app: &App, id: TaskId, backend: Option<SharedBackend>, document: ResultDocument) -> Self {
        let result = Self::sent(app, id, backend, false);
        result.set_known(Some(document));
        result
    }

    /// With the result of the task before, as in a chain: its failure is this one's, and `forget` deletes it too.
    #[must_use]
    pub fn with_parent(mut self, parent: AsyncResult<Json>) -> Self {
        self.parent = Some(Arc::new(parent));
        self
    }

    /// The same result with another type of value.
    pub fn cast<U>(self) -> AsyncResult<U> {
        AsyncResult {
            id: self.id,
            app: self.app,
            backend: self.backend,
            ignored: self.ignored,
            parent: self.parent,
            ready: self.ready,
            value: PhantomData,
        }
    }

    /// The task's id.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The app it belongs to.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Whether the call said that no result is stored: `get` returns at once then.
    pub fn ignored(&self) -> bool {
        self.ignored
    }

    /// The result of the task before.
    pub fn parent(&self) -> Option<&AsyncResult<Json>> {
        self.parent.as_deref()
    }

    /// Itself and the results before it.
    pub(crate) fn lineage(&self) -> Vec<TaskId> {
        let parents = std::iter::successors(self.parent(), |parent| parent.parent());
        std::iter::once(self.id.clone()).chain(parents.map(|parent| parent.id.clone())).collect()
    }

    /// Itself with what came before, as Celery writes it: `[[id, parent], null]`.
    pub fn as_tuple(&self) -> ResultTuple {
        let tuple = ResultTuple::task(self.id.clone());
        match self.parent() {
            Some(parent) => tuple.with_parent(parent.as_tuple()),
            None => tuple,
        }
    }

    pub(crate) fn backend(&self) -> Result<&SharedBackend> {
        self.backend.as_ref().ok_or_else(|| {
            let text = format!(
                "read the result of task {}: no result backend is configured; name one with .backend(…), \
                 APIUM_RESULT_BACKEND or result_backend in apium.toml",
                self.id
            );
            Error::new(ErrorKind::NoBackend, text)
        })
    }

    pub(crate) fn known(&self) -> Option<Arc<ResultDocument>> {
        self.ready.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_known(&self, document: Option<ResultDocument>) {
        *self.ready.write().unwrap_or_else(PoisonError::into_inner) = document.map(Arc::new);
    }

    /// Keeps the document of a ready state.
    pub(crate) fn keep(&self, document: &ResultDocument) {
        if document.state.is_ready() && self.known().is_none() {
            self.set_known(Some(document.clone()));
        }
    }

    /// Its document as it is stored now; `None` for an id that nobody knows. A ready state is asked for once.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`], or [`ErrorKind::Backend`] when the backend cannot be reached; so with every method that reads.
    pub async fn document(&self) -> Result<Option<ResultDocument>> {
        if let Some(known) = self.known() {
            return Ok(Some((*known).clone()));
        }
        let backend = self.backend()?;
        let read = backend.fetch(std::slice::from_ref(&self.id)).await;
        let found = read.map_err(|error| self.reading(backend, error))?.pop().flatten();
        if let Some(document) = &found {
            self.keep(document);
        }
        Ok(found)
    }

    pub(crate) fn reading(&self, backend: &SharedBackend, error: apium_transport::error::Error) -> Error {
        let text = format!("read the result of task {} from {}", self.id, backend.address());
        Error::new(ErrorKind::Backend, text).with_source(error)
    }

    /// Its state; PENDING when it waits, and for an id that nobody knows.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn state(&self) -> Result<State> {
        Ok(self.document().await?.map_or(State::Pending, |document| document.state))
    }

    /// What is stored with the state: the return value, the exception's map, the meta of a custom state, pid and host name of
    /// STARTED; null when it is PENDING.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn info(&self) -> Result<Json> {
        Ok(self.document().await?.map_or(Json::NULL, |document| document.result))
    }

    /// The traceback's text, of a failure or a retry.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn traceback(&self) -> Result<Option<String>> {
        Ok(self.document().await?.and_then(|document| document.traceback))
    }

    /// What the task sent while it ran; `None` until something is stored.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn children(&self) -> Result<Option<Vec<ResultTuple>>> {
        Ok(self.document().await?.and_then(|document| document.children))
    }

    /// Whether anything is stored.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn exists(&self) -> Result<bool> {
        Ok(self.document().await?.is_some())
    }

    /// Whether the task is over: SUCCESS, FAILURE or REVOKED.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn ready(&self) -> Result<bool> {
        Ok(self.state().await?.is_ready())
    }

    /// Whether it is SUCCESS.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn successful(&self) -> Result<bool> {
        Ok(self.state().await? == State::Success)
    }

    /// Whether it is FAILURE. REVOKED is neither failed nor successful.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn failed(&self) -> Result<bool> {
        Ok(self.state().await? == State::Failure)
    }

    /// Deletes the result and those of the tasks before; afterwards it is PENDING, for this value and its clones too.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn forget(&self) -> Result<()> {
        let backend = self.backend()?;
        backend.forget(self.lineage()).await.map_err(|error| {
            let text = format!("forget the result of task {} at {}", self.id, backend.address());
            Error::new(ErrorKind::Backend, text).with_source(error)
        })?;
        self.set_known(None);
        let parents = std::iter::successors(self.parent(), |parent| parent.parent());
        parents.for_each(|parent| parent.set_known(None));
        Ok(())
    }

    /// Asks the task to stop: stores the state ABORTED, which a task sees by `ctx.aborted()`. One that is over stays as it is,
    /// one that does not look runs on.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn abort(&self) -> Result<()> {
        let backend = self.backend()?;
        let rules = self.app.config().record_rules();
        let told = Told { state: State::from(ABORTED), result: Json::NULL, traceback: None };
        let document = foreign_document(self.id.clone(), told, &rules, self.app.clock().now());
        let record = ResultRecord { document, run: None, ttl: rules.ttl };
        let stored = backend.store(vec![record]).await;
        stored.map(drop).map_err(|error| {
            let text = format!("abort task {} at {}", self.id, backend.address());
            Error::new(ErrorKind::Backend, text).with_source(error)
        })
    }

    /// Whether its state is ABORTED.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn is_aborted(&self) -> Result<bool> {
        Ok(self.state().await?.as_str() == ABORTED)
    }

    /// Its states from now on, the present one first, the ready one last.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn watch(&self) -> Result<impl Stream<Item = Result<ResultDocument>> + Send + use<T>> {
        let states = self.watch_ids(vec![self.id.clone()]).await?;
        let (id, address) = (self.id.clone(), self.backend()?.address().clone());
        Ok(states.map(move |state| {
            state.map_err(|error| {
                Error::new(ErrorKind::Backend, format!("watch task {id} at {address}")).with_source(error)
            })
        }))
    }

    pub(crate) async fn watch_ids(&self, ids: Vec<TaskId>) -> Result<ResultStream> {
        let backend = self.backend()?;
        backend.watch(ids).await.map_err(|error| self.reading(backend, error))
    }

    /// The task's failure as an error, when it is known to have failed or to be revoked.
    pub(crate) fn raise_if_failed(&self) -> Result<()> {
        match self.known() {
            Some(document) if document.state.propagates() => Err(raised(&document)),
            _ => Ok(()),
        }
    }
}

/// The failure in a document of FAILURE, REVOKED or RETRY.
pub fn failure_of(document: &ResultDocument) -> Failure {
    let failure = Failure::from_exception(ExceptionInfo::from_json(&document.result));
    match &document.traceback {
        Some(traceback) => failure.with_traceback(traceback.clone()),
        None => failure,
    }
}

/// The error that `get` returns for a document of FAILURE or REVOKED.
pub(crate) fn raised(document: &ResultDocument) -> Error {
    let failure = failure_of(document);
    let (kind, how) = match document.state {
        State::Revoked => (ErrorKind::TaskRevoked, "was revoked"),
        _ => (ErrorKind::TaskFailed, "failed"),
    };
    Error::new(kind, format!("get the value of task {}, which {how}: {failure}", document.task_id))
        .with_failure(failure)
}

impl<T> Clone for AsyncResult<T> {
    fn clone(&self) -> Self {
        Self {
            id: self.id.clone(),
            app: self.app.clone(),
            backend: self.backend.clone(),
            ignored: self.ignored,
            parent: self.parent.clone(),
            ready: self.ready.clone(),
            value: PhantomData,
        }
    }
}

impl<T> PartialEq for AsyncResult<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<T> Eq for AsyncResult<T> {}

impl<T> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsyncResult({})", self.id)
    }
}

impl<T> fmt::Display for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}
