//! The results of a group (Celery: `GroupResult`), and waiting for all of them.

use std::collections::HashMap;
use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use apium_protocol::id::TaskId;
use apium_protocol::json::Json;
use apium_protocol::record::{GroupDocument, ResultDocument, ResultTuple};
use apium_protocol::state::State;
use apium_transport::backend::{GroupStore, SharedBackend};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::error::{Error, ErrorKind, Result};
use crate::get::{OnMessage, Outcome, Waiting, late, tell, value};
use crate::result::{AsyncResult, failure_of, raised};

/// The results of a group, in the order of its members. Cheap enough to clone: one small entry a member.
pub struct GroupResult<T> {
    id: TaskId,
    app: App,
    results: Vec<AsyncResult<T>>,
}

impl<T> GroupResult<T> {
    /// A group of these results.
    pub fn new(app: &App, id: impl Into<TaskId>, results: Vec<AsyncResult<T>>) -> Self {
        Self { id: id.into(), app: app.clone(), results }
    }

    /// The group's id.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The results of the members.
    pub fn results(&self) -> &[AsyncResult<T>] {
        &self.results
    }

    /// The results of the members, one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, AsyncResult<T>> {
        self.results.iter()
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// The group with its members, as Celery writes it: `[[id, null], [[[id, null], null], …]]`.
    pub fn as_tuple(&self) -> ResultTuple {
        ResultTuple::group(self.id.clone(), self.results.iter().map(AsyncResult::as_tuple).collect())
    }

    /// The states of the members now.
    ///
    /// # Errors
    /// As [`AsyncResult::document`]; so with every method that reads.
    pub async fn states(&self) -> Result<Vec<State>> {
        let mut states = vec![State::Pending; self.results.len()];
        for (backend, places) in self.unknown()? {
            let ids: Vec<TaskId> = places.iter().map(|place| self.results[*place].id().clone()).collect();
            let read = backend.fetch(&ids).await;
            let found = read.map_err(|error| self.reading(&backend, error))?;
            for (place, document) in places.into_iter().zip(found) {
                if let Some(document) = document {
                    self.results[place].keep(&document);
                    states[place] = document.state;
                }
            }
        }
        for (state, result) in states.iter_mut().zip(&self.results) {
            if let Some(known) = result.known() {
                *state = known.state.clone();
            }
        }
        Ok(states)
    }

    /// The places whose ready state is not known yet, by backend.
    fn unknown(&self) -> Result<Vec<(SharedBackend, Vec<usize>)>> {
        let mut by_backend: Vec<(SharedBackend, Vec<usize>)> = Vec::new();
        for (place, result) in self.results.iter().enumerate() {
            if result.known().is_some() || result.ignored() {
                continue;
            }
            let backend = result.backend()?;
            match by_backend.iter_mut().find(|(known, _)| std::sync::Arc::ptr_eq(known, backend)) {
                Some((_, places)) => places.push(place),
                None => by_backend.push((backend.clone(), vec![place])),
            }
        }
        Ok(by_backend)
    }

    fn reading(&self, backend: &SharedBackend, error: apium_transport::error::Error) -> Error {
        let text = format!("read the results of group {} from {}", self.id, backend.address());
        Error::new(ErrorKind::Backend, text).with_source(error)
    }

    /// Whether every member is over.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub async fn ready(&self) -> Result<bool> {
        Ok(self.states().await?.iter().all(State::is_ready))
    }

    /// Whether every member is SUCCESS.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub async fn successful(&self) -> Result<bool> {
        Ok(self.states().await?.iter().all(|state| *state == State::Success))
    }

    /// Whether any member is FAILURE.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub async fn failed(&self) -> Result<bool> {
        Ok(self.states().await?.contains(&State::Failure))
    }

    /// Whether any member is not over.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub async fn waiting(&self) -> Result<bool> {
        Ok(!self.ready().await?)
    }

    /// How many members are SUCCESS.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub async fn completed_count(&self) -> Result<usize> {
        Ok(self.states().await?.iter().filter(|state| **state == State::Success).count())
    }

    /// Deletes the results of the members.
    ///
    /// # Errors
    /// As [`AsyncResult::forget`].
    pub async fn forget(&self) -> Result<()> {
        for result in &self.results {
            result.forget().await?;
        }
        Ok(())
    }

    /// Saves the group under its id, to be restored elsewhere.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] without a result backend, or with one that keeps no groups.
    pub async fn save(&self) -> Result<()> {
        let document = GroupDocument { result: self.as_tuple() };
        let ttl = self.app.config().result_ttl();
        let saved = store(&self.app)?.save_group(self.id.as_str(), document, ttl).await;
        saved.map_err(|error| Error::new(ErrorKind::Backend, format!("save group {}", self.id)).with_source(error))
    }

    /// A saved group; `None` for an id that is not saved.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn restore(app: &App, id: &str) -> Result<Option<Self>> {
        let loaded = store(app)?.load_group(id).await;
        let loaded =
            loaded.map_err(|error| Error::new(ErrorKind::Backend, format!("restore group {id}")).with_source(error))?;
        Ok(loaded.map(|group| {
            let members = group.result.children.unwrap_or_default();
            let results = members.iter().map(|member| restored(app, member).cast()).collect();
            Self::new(app, group.result.id, results)
        }))
    }

    /// Deletes the saved group; its results stay.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn delete(&self) -> Result<()> {
        let deleted = store(&self.app)?.delete_group(self.id.as_str()).await;
        deleted.map_err(|error| Error::new(ErrorKind::Backend, format!("delete group {}", self.id)).with_source(error))
    }

    /// Waits until every member is over.
    pub fn get(&self) -> Join<T> {
        Join { group: self.clone(), waiting: Waiting::default() }
    }
}

/// A result with those before it.
fn restored(app: &App, tuple: &ResultTuple) -> AsyncResult<Json> {
    let result = AsyncResult::of(app, tuple.id.clone());
    match &tuple.parent {
        Some(parent) => result.with_parent(restored(app, parent)),
        None => result,
    }
}

fn store(app: &App) -> Result<&dyn GroupStore> {
    let Some(backend) = app.backend() else {
        return Err(Error::new(ErrorKind::NoBackend, "save or restore a group: no result backend is configured"));
    };
    backend.groups().ok_or_else(|| {
        let text = format!("save or restore a group: the result backend {} keeps no groups", backend.address());
        Error::new(ErrorKind::NoBackend, text)
    })
}

/// A wait for all members of a group. Awaited, it is their values in order, or the first failure as soon as it is seen.
#[must_use = "nothing happens until it is awaited, or until `wait` is called in plain code"]
pub struct Join<T> {
    group: GroupResult<T>,
    waiting: Waiting,
}

impl<T> Join<T> {
    /// Waits no longer than this, for all together.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.waiting.timeout = Some(limit);
        self
    }

    /// Calls `callback` with every state of every member, as its document.
    pub fn on_message(mut self, callback: impl FnMut(&Json) + Send + 'static) -> Self {
        self.waiting.on_message = Some(Box::new(callback));
        self
    }

    /// Allows it inside a task; see [`Get::allow_in_task`](crate::get::Get::allow_in_task).
    pub fn allow_in_task(mut self) -> Self {
        self.waiting.allow_in_task = true;
        self
    }

    fn check(&self) -> Result<()> {
        self.waiting.check(&format!("group {}", self.group.id))
    }

    /// Waits for the ready documents of all members that store one. With `propagate`, the first failure ends it.
    async fn documents(&mut self, propagate: bool) -> Result<HashMap<TaskId, ResultDocument>> {
        let what = format!("group {}", self.group.id);
        let on_message = self.waiting.on_message.take();
        if self.waiting.timeout == Some(Duration::ZERO) && !self.group.ready().await? {
            return Err(late(&what, Duration::ZERO));
        }
        let timeout = self.waiting.timeout.filter(|limit| !limit.is_zero());
        Waiting::limited(timeout, &what, follow(&self.group, on_message, propagate)).await?
    }
}

async fn follow<T>(
    group: &GroupResult<T>,
    mut on_message: Option<OnMessage>,
    propagate: bool,
) -> Result<HashMap<TaskId, ResultDocument>> {
    let mut ready = HashMap::with_capacity(group.results.len());
    for known in group.results.iter().filter_map(AsyncResult::known) {
        if propagate && known.state.propagates() {
            return Err(raised(&known));
        }
        ready.insert(known.task_id.clone(), (*known).clone());
    }
    let mut streams = futures_util::stream::SelectAll::new();
    for (backend, places) in group.unknown()? {
        let ids: Vec<TaskId> = places.iter().map(|place| group.results[*place].id().clone()).collect();
        streams.push(backend.watch(ids).await.map_err(|error| group.reading(&backend, error))?);
    }
    while let Some(state) = streams.next().await {
        let document = state.map_err(|error| {
            Error::new(ErrorKind::Backend, format!("read the results of group {}", group.id)).with_source(error)
        })?;
        tell(&mut on_message, &document)?;
        if propagate && document.state.propagates() {
            return Err(raised(&document));
        }
        if document.state.is_ready() {
            ready.insert(document.task_id.clone(), document);
        }
    }
    for result in &group.results {
        if let Some(document) = ready.get(result.id()) {
            result.keep(document);
        }
    }
    Ok(ready)
}

impl<T: DeserializeOwned + Send + 'static> Join<T> {
    async fn values_unchecked(mut self) -> Result<Vec<T>> {
        let ready = self.documents(true).await?;
        let of = |result: &AsyncResult<T>| match ready.get(result.id()) {
            Some(document) => value(document),
            None => missing(result),
        };
        self.group.results.iter().map(of).collect()
    }

    async fn outcomes_unchecked(mut self) -> Result<Vec<Outcome<T>>> {
        let ready = self.documents(false).await?;
        let of = |result: &AsyncResult<T>| match ready.get(result.id()) {
            Some(document) => Ok(match document.state {
                State::Failure => Outcome::Failed(failure_of(document)),
                State::Revoked => Outcome::Revoked(failure_of(document)),
                _ => Outcome::Value(value(document)?),
            }),
            None => missing(result).map(Outcome::Value),
        };
        self.group.results.iter().map(of).collect()
    }

    /// What became of each member, in order; failures are no errors (Celery: `propagate=False`).
    ///
    /// # Errors
    /// As [`Get::outcome`](crate::get::Get::outcome).
    pub async fn outcomes(self) -> Result<Vec<Outcome<T>>> {
        self.check()?;
        self.outcomes_unchecked().await
    }

    /// Waits on this thread. For plain code.
    ///
    /// # Errors
    /// As awaiting it.
    pub fn wait(self) -> Result<Vec<T>> {
        self.check()?;
        let app = self.group.app.clone();
        app.blocking().run(self.values_unchecked())?
    }
}

/// The value of a member whose result is ignored.
fn missing<T: DeserializeOwned>(result: &AsyncResult<T>) -> Result<T> {
    Json::NULL.decode().map_err(|_| {
        Error::new(ErrorKind::Call, format!("get the value of task {}: its result is ignored", result.id()))
    })
}

impl<T: DeserializeOwned + Send + 'static> GroupResult<T> {
    /// Waits until every member is over and returns their values in order (Celery: `join`, the same as `get`).
    pub fn join(&self) -> Join<T> {
        self.get()
    }

    /// Waits on this thread. For plain code.
    ///
    /// # Errors
    /// As `get().await`.
    pub fn get_blocking(&self) -> Result<Vec<T>> {
        self.get().wait()
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for Join<T> {
    type Output = Result<Vec<T>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.check()?;
            self.values_unchecked().await
        })
    }
}

impl<T> Clone for GroupResult<T> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), app: self.app.clone(), results: self.results.clone() }
    }
}

impl<'a, T> IntoIterator for &'a GroupResult<T> {
    type Item = &'a AsyncResult<T>;
    type IntoIter = std::slice::Iter<'a, AsyncResult<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> fmt::Debug for GroupResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupResult").field("id", &self.id.as_str()).field("len", &self.len()).finish()
    }
}
