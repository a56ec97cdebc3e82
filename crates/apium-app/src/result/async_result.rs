//! The result of a task as its caller sees it (Celery: `AsyncResult`). It is the result of a group where a workflow has
//! a group in place of a task: before the body of a chord, at the end of a chain, as a member of another group. The
//! value of a group is the list of its members' values.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{Extended, ResultDocument, ResultTuple};
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_protocol::timestamp;
use apium_transport::backend::backend::{ResultRecord, SharedBackend, StoredResults};
use futures_util::stream::SelectAll;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;

use crate::app::app::App;
use crate::context::context::ABORTED;
use crate::context::result_document::{ResultUpdate, other_task_document};
use crate::error::{Error, ErrorKind, Result};
use crate::failure::Failure;

/// The result of a task or of a group, by its id. Cheap to clone. Two are equal when their ids are.
pub struct AsyncResult<T> {
    id: TaskId,
    app: App,
    backend: Option<SharedBackend>,
    ignored: bool,
    parent: Before,
    members: Option<Members>,
    cached: DocumentCell,
    value: PhantomData<fn() -> T>,
}

/// The document of a ready state, for all clones of a result. It is read once, unless it is forgotten.
#[derive(Clone, Default)]
pub(crate) struct DocumentCell(Arc<RwLock<Option<Arc<ResultDocument>>>>);

impl DocumentCell {
    pub(crate) fn get(&self) -> Option<Arc<ResultDocument>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, document: Option<Arc<ResultDocument>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = document;
    }
}

/// The result of what came before.
#[derive(Clone, Default)]
struct Before(Option<Arc<AsyncResult<Json>>>);

impl Drop for Before {
    /// Drops one after the other, without recursion: a chain may be longer than the stack is deep.
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut last) = next.and_then(Arc::into_inner) {
            next = last.parent.0.take();
        }
    }
}

/// The members, where the result is that of a group.
#[derive(Clone)]
struct Members {
    results: Arc<[AsyncResult<Json>]>,
    /// Whether it is the header of a chord, for which there is a counter.
    header: bool,
}

impl App {
    /// The result of a task by its id. An id under which nothing is stored is PENDING.
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
        Self {
            id,
            app: app.clone(),
            backend,
            ignored,
            parent: Before::default(),
            members: None,
            cached: DocumentCell::default(),
            value: PhantomData,
        }
    }

    /// The result of a group.
    pub(crate) fn of_group(app: &App, id: TaskId, members: Vec<AsyncResult<Json>>, header: bool) -> Self {
        let mut result = Self::of(app, id);
        result.members = Some(Members { results: members.into(), header });
        result
    }

    /// The result of an eager run.
    pub(crate) fn eager(app: &App, id: TaskId, backend: Option<SharedBackend>, document: ResultDocument) -> Self {
        let result = Self::sent(app, id, backend, false);
        result.cached.set(Some(Arc::new(document)));
        result
    }

    /// With the result of what came before: of the task before in a chain, or of the header before the body of a chord.
    /// `get` returns its failure first, and `forget` deletes it too.
    #[must_use]
    pub fn with_parent(mut self, parent: impl Into<AsyncResult<Json>>) -> Self {
        let mut parent = parent.into();
        if let Some(members) = &mut parent.members {
            members.header = true;
        }
        self.parent = Before(Some(Arc::new(parent)));
        self
    }

    pub(crate) fn with_shared_parent(mut self, parent: Option<Arc<AsyncResult<Json>>>) -> Self {
        self.parent = Before(parent);
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
            members: self.members,
            cached: self.cached,
            value: PhantomData,
        }
    }

    /// The task's id.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The app to which it belongs.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Whether the call said that no result is stored. `get` returns at once then.
    pub fn ignored(&self) -> bool {
        self.ignored
    }

    /// The result of what came before: of a task, or of a group when this is the body of a chord (see
    /// [`group`](Self::group)).
    pub fn parent(&self) -> Option<&AsyncResult<Json>> {
        self.parent.0.as_deref()
    }

    pub(crate) fn shared_parent(&self) -> Option<Arc<AsyncResult<Json>>> {
        self.parent.0.clone()
    }

    /// The members, where it is the result of a group.
    pub(crate) fn members(&self) -> Option<&[AsyncResult<Json>]> {
        self.members.as_ref().map(|members| &*members.results)
    }

    /// Whether it is the result of a chord's header.
    pub(crate) fn is_header(&self) -> bool {
        self.members.as_ref().is_some_and(|members| members.header)
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

    /// The document of a ready state, if it was read.
    pub(crate) fn cached_document(&self) -> Option<Arc<ResultDocument>> {
        self.cached.get()
    }

    /// Where the document of a ready state is held, for all clones.
    pub(crate) fn cell(&self) -> &DocumentCell {
        &self.cached
    }

    /// Its document as it is stored now; `None` for an id under which nothing is stored. A ready state is read once.
    /// The document of a group is made of the documents of its members.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] without a result backend, and with one that stores no results; [`ErrorKind::Backend`]
    /// when it cannot be reached.
    pub async fn document(&self) -> Result<Option<ResultDocument>> {
        if self.members.is_some() {
            return self.document_of_group().await;
        }
        if let Some(cached) = self.cached_document() {
            return Ok(Some((*cached).clone()));
        }
        let backend = self.backend()?;
        let store = stored(&format!("read the result of task {}", self.id), backend)?;
        let read = self.app.ask(backend.address(), || store.fetch(std::slice::from_ref(&self.id))).await;
        let stored = read.map_err(|error| self.read_error(backend, error))?.pop().flatten();
        if let Some(document) = stored.as_ref().filter(|document| document.state.is_ready()) {
            self.cached.set(Some(Arc::new(document.clone())));
        }
        Ok(stored)
    }

    fn read_error(&self, backend: &SharedBackend, error: apium_transport::error::Error) -> Error {
        let text = format!("read the result of task {} from {}", self.id, backend.address());
        Error::new(ErrorKind::Backend, text).with_source(error)
    }

    /// Its state; PENDING before the task runs, and for an id under which nothing is stored.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn state(&self) -> Result<State> {
        Ok(self.document().await?.map_or(State::Pending, |document| document.state))
    }

    /// What is stored with the state: the return value, the exception as a table, the meta of a custom state, pid and
    /// host name for STARTED; null for PENDING.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn info(&self) -> Result<Json> {
        Ok(self.document().await?.map_or(Json::NULL, |document| document.result))
    }

    /// The text of the traceback, of a failure or a retry.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn traceback(&self) -> Result<Option<String>> {
        Ok(self.document().await?.and_then(|document| document.traceback))
    }

    /// When it became ready; `None` before. A time without an offset is read in the app's zone (`timezone`).
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn date_done(&self) -> Result<Option<Timestamp>> {
        let Some(text) = self.document().await?.and_then(|document| document.date_done) else { return Ok(None) };
        Ok(Some(timestamp::parse_in(&text, &self.app.config().result_policy().zone)?))
    }

    /// Name, arguments, worker, retries and queue of the run, where the worker stores them (`result_extended`).
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn extended(&self) -> Result<Option<Extended>> {
        Ok(self.document().await?.and_then(|document| document.extended).map(|extended| *extended))
    }

    /// The tasks that the task sent, or the members of a group; `None` until something is stored.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn children(&self) -> Result<Option<Vec<ResultTuple>>> {
        if let Some(members) = self.members() {
            return Ok(Some(members.iter().map(AsyncResult::as_tuple).collect()));
        }
        Ok(self.document().await?.and_then(|document| document.children))
    }

    /// Whether anything is stored under its id.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn exists(&self) -> Result<bool> {
        Ok(self.document().await?.is_some())
    }

    /// Whether its state is SUCCESS, FAILURE or REVOKED.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn ready(&self) -> Result<bool> {
        Ok(self.state().await?.is_ready())
    }

    /// Whether its state is SUCCESS.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn successful(&self) -> Result<bool> {
        Ok(self.state().await? == State::Success)
    }

    /// Whether its state is FAILURE. A revoked task is neither failed nor successful.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn failed(&self) -> Result<bool> {
        Ok(self.state().await? == State::Failure)
    }

    /// Asks the task to stop (Celery: `contrib.abortable`): stores the state ABORTED. A task that runs reads it by
    /// `ctx.aborted()`, and one that does not runs on. A task that has not begun does not begin, if it has the option
    /// `abortable` or `track_started`. Only a ready state replaces ABORTED.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn abort(&self) -> Result<()> {
        let policy = self.app.config().result_policy();
        let update = ResultUpdate { state: State::from(ABORTED), result: Json::NULL, traceback: None };
        for (backend, ids) in self.own_ids()? {
            stored(&format!("abort task {}", self.id), &backend)?;
            let record = |id: &TaskId| {
                let document = other_task_document(id.clone(), update.clone(), &policy, self.app.clock().now());
                ResultRecord::new(document).kept_for(policy.ttl)
            };
            let written = self.app.ask(backend.address(), || backend.store(ids.iter().map(record).collect())).await;
            written.map_err(|error| {
                let text = format!("abort task {} at {}", self.id, backend.address());
                Error::new(ErrorKind::Backend, text).with_source(error)
            })?;
        }
        Ok(())
    }

    /// Whether its state is ABORTED.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn is_aborted(&self) -> Result<bool> {
        Ok(self.state().await?.is_aborted())
    }

    /// Its states from now on, each as a [`ResultDocument`]: the present one first, the ready one last. Of a group, the
    /// states of its members. A document is serialized as Celery's JSON, so a web handler can send each one as a
    /// server-sent event.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn watch(&self) -> Result<impl Stream<Item = Result<ResultDocument>> + Send + use<T>> {
        let mut streams = SelectAll::new();
        for (backend, ids) in self.own_ids()? {
            let (id, address) = (self.id.clone(), backend.address().clone());
            let watched = self.app.ask(backend.address(), || backend.watch(ids.clone())).await;
            let states = watched.map_err(|error| self.read_error(&backend, error))?;
            streams.push(states.map(move |state| {
                state.map_err(|error| {
                    Error::new(ErrorKind::Backend, format!("watch task {id} at {address}")).with_source(error)
                })
            }));
        }
        Ok(streams)
    }

    /// Its id with its backend, or those of the members.
    fn own_ids(&self) -> Result<Vec<(SharedBackend, Vec<TaskId>)>> {
        let Some(members) = self.members() else {
            return Ok(vec![(self.backend()?.clone(), vec![self.id.clone()])]);
        };
        let mut by_backend: Vec<(SharedBackend, Vec<TaskId>)> = Vec::new();
        for member in members {
            for (backend, ids) in member.own_ids()? {
                match by_backend.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &backend)) {
                    Some((_, ids_there)) => ids_there.extend(ids),
                    None => by_backend.push((backend, ids)),
                }
            }
        }
        Ok(by_backend)
    }

    /// Returns the failure of a task that is known to have failed or to be revoked, as an error.
    pub(crate) fn raise_if_failed(&self) -> Result<()> {
        match self.cached_document() {
            Some(document) if document.state.propagates() => Err(raised(&document)),
            _ => Ok(()),
        }
    }

    /// Returns the failure of a task that failed or was revoked, as an error (Celery: `maybe_throw`). A task that is
    /// not ready is no error.
    ///
    /// # Errors
    /// The failure; else as [`document`](Self::document).
    pub async fn maybe_throw(&self) -> Result<()> {
        match self.document().await? {
            Some(document) if document.state.propagates() => Err(raised(&document)),
            _ => Ok(()),
        }
    }
}

/// The results that a backend stores.
///
/// # Errors
/// [`ErrorKind::NoBackend`] for a backend that only delivers results; `what` is what was attempted.
pub(crate) fn stored<'a>(what: &str, backend: &'a SharedBackend) -> Result<&'a dyn StoredResults> {
    backend.stored().ok_or_else(|| {
        let text = format!(
            "{what}: the result backend {} delivers each result once, to the caller of the task, and stores none; wait for \
             the result with get()",
            backend.address()
        );
        Error::new(ErrorKind::NoBackend, text)
    })
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
    let (kind, what) = match document.state {
        State::Revoked => (ErrorKind::TaskRevoked, "was revoked"),
        _ => (ErrorKind::TaskFailed, "failed"),
    };
    Error::new(kind, format!("get the value of task {}, which {what}: {failure}", document.task_id))
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
            members: self.members.clone(),
            cached: self.cached.clone(),
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
