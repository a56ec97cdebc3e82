//! A set of results, and waiting for all of them (Celery: `ResultSet`).

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
    /// The id of the group that it belongs to.
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

    /// The results of a group: as many as it has members, whatever their ids.
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

    /// Adds a result; one that is in it already is not added again.
    pub fn add(&mut self, result: AsyncResult<T>) {
        if !self.contains(result.id()) {
            self.results.push(result);
        }
    }

    /// Takes a result out.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] when it is not in the set (Celery: `KeyError`).
    pub fn remove(&mut self, id: &TaskId) -> Result<AsyncResult<T>> {
        self.discard(id).ok_or_else(|| {
            Error::new(ErrorKind::Call, format!("remove task {id} from a set of results: it is not in it"))
        })
    }

    /// Takes a result out, if it is in it.
    pub fn discard(&mut self, id: &TaskId) -> Option<AsyncResult<T>> {
        let place = self.results.iter().position(|result| result.id() == id)?;
        Some(self.results.remove(place))
    }

    /// Adds those that are not in it.
    pub fn update(&mut self, results: impl IntoIterator<Item = AsyncResult<T>>) {
        let mut known: std::collections::HashSet<TaskId> = self.results.iter().map(|one| one.id().clone()).collect();
        self.results.extend(results.into_iter().filter(|result| known.insert(result.id().clone())));
    }

    /// Takes all of them out.
    pub fn clear(&mut self) {
        self.results.clear();
    }

    pub(crate) fn what(&self) -> String {
        match &self.group {
            Some(id) => format!("group {id}"),
            None => format!("a set of {} tasks", self.len()),
        }
    }

    /// The states now, in order.
    ///
    /// # Errors
    /// As [`AsyncResult::document`]; so with every method that reads.
    pub async fn states(&self) -> Result<Vec<State>> {
        let mut arrivals = PendingResults::of(self.what(), &self.results);
        arrivals.fetch().await?;
        Ok(self.results.iter().map(|result| arrivals.state_of(result)).collect())
    }

    /// Whether every one is over.
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

    /// Whether any is not over.
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

    /// Raises the first failure, in their order; what is not over passes (Celery: `maybe_throw`).
    ///
    /// # Errors
    /// The failure; and as [`states`](Self::states).
    pub async fn maybe_throw(&self) -> Result<()> {
        let mut arrivals = PendingResults::of(self.what(), &self.results);
        arrivals.fetch().await?;
        self.results.iter().try_for_each(|result| arrivals.raise_of(result))
    }

    /// Deletes the results, and those of everything before them.
    ///
    /// # Errors
    /// As [`AsyncResult::forget`].
    pub async fn forget(&self) -> Result<()> {
        PendingResults::with_before(self.what(), &self.results, self.parent.as_deref()).forget().await
    }

    /// Waits until every one is over.
    pub fn get(&self) -> JoinAll<T> {
        JoinAll { set: self.clone(), waiting: WaitOptions::default() }
    }
}

/// A wait for all results of a set or group. Awaited, it is their values in order, or the first failure as soon as it
/// is seen; a failure of what came before is raised first.
#[must_use = "nothing happens until it is awaited, or until `wait` is called in plain code"]
pub struct JoinAll<T> {
    set: ResultSet<T>,
    waiting: WaitOptions,
}

impl<T> JoinAll<T> {
    /// Waits no longer than this, for all together; zero looks once.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.waiting.timeout = Some(limit);
        self
    }

    /// Calls `callback` with every state of every member, as its document.
    pub fn on_message(mut self, callback: impl FnMut(&ResultDocument) + Send + 'static) -> Self {
        self.waiting.on_message = Some(Box::new(callback));
        self
    }

    /// Allows it inside a task; see [`Get::allow_in_task`](crate::result::get::Get::allow_in_task).
    pub fn allow_in_task(mut self) -> Self {
        self.waiting.allow_in_task = true;
        self
    }

    fn check(&self) -> Result<()> {
        self.waiting.check(&self.set.what())
    }

    async fn arrived(self, propagate: bool) -> Result<(ResultSet<T>, PendingResults)> {
        let Self { set, waiting } = self;
        let what = set.what();
        let mut arrivals = PendingResults::with_before(what.clone(), &set.results, set.parent.as_deref());
        waiting.complete(&mut arrivals, what, propagate).await?;
        Ok((set, arrivals))
    }
}

impl<T: DeserializeOwned + Send + 'static> JoinAll<T> {
    async fn values_unchecked(self) -> Result<Vec<T>> {
        let (set, arrivals) = self.arrived(true).await?;
        set.results.iter().map(|result| value(&arrivals, result)).collect()
    }

    /// What became of each, in order; failures are no errors (Celery: `propagate=False`). Of a member that is a group,
    /// its first failure.
    ///
    /// # Errors
    /// As [`Get::outcome`](crate::result::get::Get::outcome).
    pub async fn outcomes(self) -> Result<Vec<Outcome<T>>> {
        self.check()?;
        let (set, arrivals) = self.arrived(false).await?;
        set.results.iter().enumerate().map(|(place, result)| outcome(&arrivals, place, result)).collect()
    }

    /// Calls back with the id and the value of each as it ends, instead of keeping the values (Celery: `callback`). The
    /// first failure ends it.
    ///
    /// # Errors
    /// As awaiting it.
    pub async fn callback(self, mut callback: impl FnMut(&TaskId, T) + Send) -> Result<()> {
        self.check()?;
        let Self { set, waiting } = self;
        let what = set.what();
        let mut arrivals = PendingResults::with_before(what.clone(), &set.results, set.parent.as_deref());
        let mut told = |arrivals: &PendingResults, place: usize| {
            let result = &set.results[place];
            value(arrivals, result).map(|value| callback(result.id(), value))
        };
        waiting.each(&mut arrivals, what, true, &mut told).await
    }

    /// What became of each with its id, in the order in which they end (Celery: `iter_native`). The timeout is for all
    /// of it.
    ///
    /// # Errors
    /// [`ErrorKind::GetInTask`]. What [`outcomes`](Self::outcomes) returns as an error is an item, the last.
    pub fn iter_native(self) -> Result<impl Stream<Item = Result<(TaskId, Outcome<T>)>> + Send> {
        self.check()?;
        let Self { set, waiting } = self;
        let what = set.what();
        let arrivals = PendingResults::with_before(what.clone(), &set.results, set.parent.as_deref());
        Ok(waiting.in_completion_order(arrivals, what, move |arrivals, place| {
            let result = &set.results[place];
            Ok((result.id().clone(), outcome(arrivals, place, result)?))
        }))
    }

    /// Waits on this thread. For plain code.
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
    /// Waits until every one is over and returns their values in order (Celery: `join`, the same as `get`).
    pub fn join(&self) -> JoinAll<T> {
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

    fn index(&self, place: usize) -> &Self::Output {
        &self.results[place]
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
