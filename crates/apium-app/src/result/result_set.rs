//! A set of results, and a wait for all of them (Celery: `ResultSet`).

use std::fmt;
use std::future::IntoFuture;
use std::ops::Index;
use std::sync::Arc;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::app::app::App;
use crate::error::{Error, ErrorKind, Result};
use crate::result::async_result::AsyncResult;
use crate::result::get::{Outcome, outcome, value};
use crate::result::pending::PendingResults;
use crate::result::wait::WaitOptions;

/// Results, each once, in the order in which they were added. A
/// [`GroupResult`](crate::result::group_result::GroupResult) is one with an id.
pub struct ResultSet<T> {
    app: App,
    results: Vec<AsyncResult<T>>,
    /// The id of the group to which it belongs.
    group: Option<TaskId>,
    /// What came before all of them.
    parent: Option<Arc<AsyncResult<Json>>>,
}

impl<T> ResultSet<T> {
    /// A set of these results.
    pub fn new(app: &App, results: impl IntoIterator<Item = AsyncResult<T>>) -> Self {
        let mut set = Self { app: app.clone(), results: Vec::new(), group: None, parent: None };
        set.update(results);
        set
    }

    /// The results of a group: one for each member, also where two have the same id.
    pub(crate) fn of_group(app: &App, id: TaskId, results: Vec<AsyncResult<T>>) -> Self {
        Self { app: app.clone(), results, group: Some(id), parent: None }
    }

    pub(crate) fn set_parent(&mut self, parent: Option<Arc<AsyncResult<Json>>>) {
        self.parent = parent;
    }

    pub(crate) fn shared_parent(&self) -> Option<&Arc<AsyncResult<Json>>> {
        self.parent.as_ref()
    }

    /// The app it belongs to.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The results.
    pub fn results(&self) -> &[AsyncResult<T>] {
        &self.results
    }

    /// The results, one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, AsyncResult<T>> {
        self.results.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// Whether a result of this id is in it.
    pub fn contains(&self, id: &TaskId) -> bool {
        self.results.iter().any(|result| result.id() == id)
    }

    /// Adds a result, unless one of its id is in the set.
    pub fn add(&mut self, result: AsyncResult<T>) {
        if !self.contains(result.id()) {
            self.results.push(result);
        }
    }

    /// Removes a result and returns it.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] when it is not in the set (Celery: `KeyError`).
    pub fn remove(&mut self, id: &TaskId) -> Result<AsyncResult<T>> {
        self.discard(id).ok_or_else(|| {
            Error::new(ErrorKind::Call, format!("remove task {id} from a set of results: it is not in it"))
        })
    }

    /// Removes a result and returns it, if it is in the set.
    pub fn discard(&mut self, id: &TaskId) -> Option<AsyncResult<T>> {
        let index = self.results.iter().position(|result| result.id() == id)?;
        Some(self.results.remove(index))
    }

    /// Adds those of the results that are not in the set.
    pub fn update(&mut self, results: impl IntoIterator<Item = AsyncResult<T>>) {
        let mut ids: std::collections::HashSet<TaskId> = self.results.iter().map(|one| one.id().clone()).collect();
        self.results.extend(results.into_iter().filter(|result| ids.insert(result.id().clone())));
    }

    /// Removes all results.
    pub fn clear(&mut self) {
        self.results.clear();
    }

    pub(crate) fn what(&self) -> String {
        match &self.group {
            Some(id) => format!("group {id}"),
            None => format!("a set of {} tasks", self.len()),
        }
    }

    /// The states now, in order. Those that are not known to be ready are read, all at once.
    ///
    /// # Errors
    /// As [`AsyncResult::document`].
    pub async fn states(&self) -> Result<Vec<State>> {
        let mut pending = PendingResults::of(self.what(), &self.results);
        pending.fetch().await?;
        Ok(self.results.iter().map(|result| pending.state_of(result)).collect())
    }

    /// Whether every task is ready: SUCCESS, FAILURE or REVOKED.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub async fn ready(&self) -> Result<bool> {
        Ok(self.states().await?.iter().all(State::is_ready))
    }

    /// Whether every one is SUCCESS.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub async fn successful(&self) -> Result<bool> {
        Ok(self.states().await?.iter().all(|state| *state == State::Success))
    }

    /// Whether any is FAILURE.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub async fn failed(&self) -> Result<bool> {
        Ok(self.states().await?.contains(&State::Failure))
    }

    /// Whether any task is not ready.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub async fn waiting(&self) -> Result<bool> {
        Ok(!self.ready().await?)
    }

    /// How many are SUCCESS.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub async fn completed_count(&self) -> Result<usize> {
        Ok(self.states().await?.iter().filter(|state| **state == State::Success).count())
    }

    /// Returns the first failure in the order of the results as an error. Tasks that are not ready are no error.
    ///
    /// # Errors
    /// The failure; and as [`states`](Self::states).
    pub async fn maybe_throw(&self) -> Result<()> {
        let mut pending = PendingResults::of(self.what(), &self.results);
        pending.fetch().await?;
        self.results.iter().try_for_each(|result| pending.raise_of(result))
    }

    /// Deletes the results, and the results of everything before them.
    ///
    /// # Errors
    /// As [`AsyncResult::forget`].
    pub async fn forget(&self) -> Result<()> {
        PendingResults::with_before(self.what(), &self.results, self.parent.as_deref()).forget().await
    }

    /// Waits until every task is ready.
    pub fn get(&self) -> JoinAll<T> {
        JoinAll { set: self.clone(), options: WaitOptions::default() }
    }
}

/// A wait for all results of a set or group. Awaited, it returns their values in order, or the first failure as soon as
/// it is seen; a failure of what came before is returned first. It is cancel-safe.
#[must_use = "nothing happens until it is awaited, or until `wait` is called"]
pub struct JoinAll<T> {
    set: ResultSet<T>,
    options: WaitOptions,
}

impl<T> JoinAll<T> {
    /// Waits no longer than this, for all together; zero reads the states once. Without it, it waits for ever.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.options.timeout = Some(limit);
        self
    }

    /// Calls `callback` with every state of every member, as its document.
    pub fn on_message(mut self, callback: impl FnMut(&ResultDocument) + Send + 'static) -> Self {
        self.options.on_message = Some(Box::new(callback));
        self
    }

    /// Allows it inside a task; see [`Get::allow_in_task`](crate::result::get::Get::allow_in_task).
    pub fn allow_in_task(mut self) -> Self {
        self.options.allow_in_task = true;
        self
    }

    fn check(&self) -> Result<()> {
        self.options.check(&self.set.what())
    }

    async fn wait_until_ready(self, propagate: bool) -> Result<(ResultSet<T>, PendingResults)> {
        let Self { set, options } = self;
        let what = set.what();
        let mut pending = PendingResults::with_before(what.clone(), &set.results, set.parent.as_deref());
        options.complete(&mut pending, what, propagate).await?;
        Ok((set, pending))
    }
}

impl<T: DeserializeOwned + Send + 'static> JoinAll<T> {
    async fn values_unchecked(self) -> Result<Vec<T>> {
        let (set, pending) = self.wait_until_ready(true).await?;
        set.results.iter().map(|result| value(&pending, result)).collect()
    }

    /// The outcome of each, in order. Failures are not errors (Celery: `propagate=False`). A member that is a group has
    /// its first failure as its outcome.
    ///
    /// # Errors
    /// As [`Get::outcome`](crate::result::get::Get::outcome).
    pub async fn outcomes(self) -> Result<Vec<Outcome<T>>> {
        self.check()?;
        let (set, pending) = self.wait_until_ready(false).await?;
        set.results.iter().enumerate().map(|(index, result)| outcome(&pending, index, result)).collect()
    }

    /// Calls `callback` with the id and the value of each task when it is ready, in place of returning the values. The
    /// first failure ends the wait.
    ///
    /// # Errors
    /// As awaiting it.
    pub async fn callback(self, mut callback: impl FnMut(&TaskId, T) + Send) -> Result<()> {
        self.check()?;
        let Self { set, options } = self;
        let what = set.what();
        let mut pending = PendingResults::with_before(what.clone(), &set.results, set.parent.as_deref());
        let mut on_ready = |pending: &PendingResults, index: usize| {
            let result = &set.results[index];
            value(pending, result).map(|value| callback(result.id(), value))
        };
        options.each(&mut pending, what, true, &mut on_ready).await
    }

    /// The id and the outcome of each task, in the order in which they become ready (Celery: `iter_native`). The
    /// timeout is for all together.
    ///
    /// # Errors
    /// [`ErrorKind::GetInTask`]. The other errors of [`outcomes`](Self::outcomes) are the last item of the stream.
    pub fn iter_native(self) -> Result<impl Stream<Item = Result<(TaskId, Outcome<T>)>> + Send> {
        self.check()?;
        let Self { set, options } = self;
        let what = set.what();
        let pending = PendingResults::with_before(what.clone(), &set.results, set.parent.as_deref());
        Ok(options.in_completion_order(pending, what, move |pending, index| {
            let result = &set.results[index];
            Ok((result.id().clone(), outcome(pending, index, result)?))
        }))
    }

    /// Waits on this thread. For code that is not async.
    ///
    /// # Errors
    /// As awaiting it.
    pub fn wait(self) -> Result<Vec<T>> {
        self.check()?;
        let app = self.set.app.clone();
        app.blocking().run(self.values_unchecked())?
    }
}

impl<T: DeserializeOwned + Send + 'static> ResultSet<T> {
    /// Waits until every task is ready and returns their values in order: the same as [`get`](Self::get).
    pub fn join(&self) -> JoinAll<T> {
        self.get()
    }

    /// Waits on this thread. For code that is not async.
    ///
    /// # Errors
    /// As `get().await`.
    pub fn get_blocking(&self) -> Result<Vec<T>> {
        self.get().wait()
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for JoinAll<T> {
    type Output = Result<Vec<T>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.check()?;
            self.values_unchecked().await
        })
    }
}

impl<T> Clone for ResultSet<T> {
    fn clone(&self) -> Self {
        Self {
            app: self.app.clone(),
            results: self.results.clone(),
            group: self.group.clone(),
            parent: self.parent.clone(),
        }
    }
}

impl<T> Index<usize> for ResultSet<T> {
    type Output = AsyncResult<T>;

    fn index(&self, index: usize) -> &Self::Output {
        &self.results[index]
    }
}

impl<'a, T> IntoIterator for &'a ResultSet<T> {
    type Item = &'a AsyncResult<T>;
    type IntoIter = std::slice::Iter<'a, AsyncResult<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> PartialEq for ResultSet<T> {
    fn eq(&self, other: &Self) -> bool {
        self.results == other.results
    }
}

impl<T> Eq for ResultSet<T> {}

impl<T> fmt::Debug for ResultSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultSet").field("len", &self.len()).finish_non_exhaustive()
    }
}
