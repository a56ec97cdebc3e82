//! The results that somebody waits for, and the tasks before them: each document is read once, and one watch serves
//! all.
//!
//! A result that is a group is ready when its members are. Where a task before a result has failed, whoever asks for
//! the value gets that failure as an error. Whoever asks for the outcome gets it only where the result can have no
//! state of its own: after a failed or revoked task of the same chain. (The body of a chord whose header fails is
//! failed itself.)

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::error::Result as TransportResult;
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{FutureExt as _, StreamExt};

use crate::app::app::App;
use crate::error::{Error, ErrorKind, Result};
use crate::result::async_result::{AsyncResult, DocumentCell, raised, stored};

/// The states of tasks of several backends.
type States = SelectAll<BoxStream<'static, Result<ResultDocument>>>;

/// The results that are waited for.
pub(crate) struct PendingResults {
    /// What is waited for, in errors.
    what: String,
    /// The app that asks.
    app: Option<App>,
    tasks: HashMap<TaskId, PendingTask>,
    /// Their ids, in the order in which they are read: what came before, then the members.
    order: Vec<TaskId>,
    /// The tasks before the results, the oldest first.
    before: Vec<TaskId>,
    backends: Vec<SharedBackend>,
    results: Vec<PendingResult>,
    /// How many results are not ready.
    open: usize,
    /// Results that are ready and were not returned by [`pop_ready`](Self::pop_ready).
    ready: VecDeque<usize>,
    /// The first failure that was seen.
    failed: Option<Arc<ResultDocument>>,
    /// Why a result has no backend.
    backend_error: Option<Error>,
    /// The watch, once it has begun.
    states: Option<States>,
}

/// A task whose state is read.
#[derive(Default)]
struct PendingTask {
    /// Where the document is stored for the clones of its results.
    cells: Vec<DocumentCell>,
    /// The index of its backend.
    backend: Option<usize>,
    document: Option<Arc<ResultDocument>>,
    /// The results of which it is a part.
    results: Vec<usize>,
    /// The results that fail when it fails.
    fails_with: Vec<FailsWith>,
}

/// Which results fail with a task before them.
#[derive(Clone, Copy)]
enum FailsWith {
    /// The result of this index.
    Result(usize),
    /// All results.
    All,
}

/// One of the results.
#[derive(Default)]
struct PendingResult {
    /// How many of its tasks are not ready.
    open: usize,
    /// The failure before it, because of which its tasks do not run.
    failed_before: Option<Arc<ResultDocument>>,
}

/// The value of a ready result, or its failure.
pub(crate) enum ReadyResult {
    Value(Json),
    Failed(Arc<ResultDocument>),
}

impl PendingTask {
    fn is_ready(&self) -> bool {
        self.document.as_ref().is_some_and(|document| document.state.is_ready())
    }
}

impl PendingResults {
    /// These results alone.
    pub(crate) fn of<T>(what: String, wanted: &[AsyncResult<T>]) -> Self {
        let mut pending = Self::empty(what, wanted.len());
        for (index, result) in wanted.iter().enumerate() {
            pending.add(index, result, false);
        }
        pending.start()
    }

    /// These results with everything before each of them, and with what is before all of them (`parent`).
    pub(crate) fn with_before<T>(what: String, wanted: &[AsyncResult<T>], parent: Option<&AsyncResult<Json>>) -> Self {
        let mut pending = Self::empty(what, wanted.len());
        pending.add_before(parent, FailsWith::All);
        for (index, result) in wanted.iter().enumerate() {
            pending.add(index, result, true);
        }
        pending.start()
    }

    fn empty(what: String, results: usize) -> Self {
        Self {
            what,
            app: None,
            tasks: HashMap::with_capacity(results),
            order: Vec::with_capacity(results),
            before: Vec::new(),
            backends: Vec::new(),
            results: std::iter::repeat_with(PendingResult::default).take(results).collect(),
            open: results,
            ready: VecDeque::new(),
            failed: None,
            backend_error: None,
            states: None,
        }
    }

    fn add<T>(&mut self, index: usize, result: &AsyncResult<T>, before: bool) {
        if before {
            self.add_before(result.parent(), FailsWith::Result(index));
        }
        match result.members() {
            Some(members) => members.iter().for_each(|member| self.add(index, member, before)),
            None if result.ignored() => {}
            None => {
                let task = self.add_task(result);
                task.results.push(index);
                let ready = task.is_ready();
                self.results[index].open += usize::from(!ready);
            }
        }
    }

    /// Everything before a result, the oldest first.
    fn add_before(&mut self, parent: Option<&AsyncResult<Json>>, fails_with: FailsWith) {
        let before: Vec<&AsyncResult<Json>> = std::iter::successors(parent, |parent| parent.parent()).collect();
        for result in before.into_iter().rev() {
            match result.members() {
                Some(members) => self.add_header(members, fails_with),
                None if result.ignored() => {}
                None => {
                    self.add_task(result).fails_with.push(fails_with);
                    self.before.push(result.id().clone());
                }
            }
        }
    }

    fn add_header(&mut self, members: &[AsyncResult<Json>], fails_with: FailsWith) {
        for member in members {
            self.add_before(member.parent(), fails_with);
            match member.members() {
                Some(members) => self.add_header(members, fails_with),
                None if member.ignored() => {}
                None => {
                    self.add_task(member);
                    self.before.push(member.id().clone());
                }
            }
        }
    }

    fn add_task<T>(&mut self, result: &AsyncResult<T>) -> &mut PendingTask {
        self.app.get_or_insert_with(|| result.app().clone());
        let backend = match result.backend() {
            Ok(backend) => Some(self.backend_index(backend)),
            Err(error) => {
                if result.cached_document().is_none() {
                    self.backend_error.get_or_insert(error);
                }
                None
            }
        };
        let task = match self.tasks.entry(result.id().clone()) {
            Entry::Occupied(task) => task.into_mut(),
            Entry::Vacant(new) => {
                self.order.push(result.id().clone());
                new.insert(PendingTask::default())
            }
        };
        task.backend = task.backend.or(backend);
        task.cells.push(result.cell().clone());
        if task.document.is_none() {
            task.document = result.cached_document();
        }
        task
    }

    fn backend_index(&mut self, backend: &SharedBackend) -> usize {
        match self.backends.iter().position(|other| Arc::ptr_eq(other, backend)) {
            Some(index) => index,
            None => {
                self.backends.push(backend.clone());
                self.backends.len() - 1
            }
        }
    }

    /// Takes in the documents that were read before.
    fn start(mut self) -> Self {
        for index in 0..self.results.len() {
            if self.results[index].open == 0 {
                self.mark_ready(index);
            }
        }
        let document = |id| self.tasks.get(id)?.document.clone().filter(|document| document.state.propagates());
        let failed: Vec<Arc<ResultDocument>> = self.order.iter().filter_map(document).collect();
        failed.iter().for_each(|document| self.apply_failure(document));
        self
    }

    fn mark_ready(&mut self, index: usize) {
        self.open -= 1;
        self.ready.push_back(index);
    }

    /// What the failure of a task means for the results after it.
    fn apply_failure(&mut self, document: &Arc<ResultDocument>) {
        self.failed.get_or_insert_with(|| document.clone());
        let fails_with = self.tasks.get(&document.task_id).map(|task| task.fails_with.clone()).unwrap_or_default();
        for fails_with in fails_with {
            match fails_with {
                FailsWith::Result(index) => self.set_failed_before(index, document),
                FailsWith::All => (0..self.results.len()).for_each(|index| self.set_failed_before(index, document)),
            }
        }
    }

    fn set_failed_before(&mut self, index: usize, document: &Arc<ResultDocument>) {
        let result = &mut self.results[index];
        if result.open > 0 && result.failed_before.is_none() {
            result.failed_before = Some(document.clone());
            self.mark_ready(index);
        }
    }

    /// Takes a document in, and returns it if its task is a part of a result.
    fn record(&mut self, document: ResultDocument) -> Option<Arc<ResultDocument>> {
        let task = self.tasks.get_mut(&document.task_id)?;
        if task.is_ready() {
            return None;
        }
        let document = Arc::new(document);
        task.document = Some(document.clone());
        let results = task.results.clone();
        if document.state.is_ready() {
            task.cells.iter().for_each(|cell| cell.set(Some(document.clone())));
            for index in &results {
                let result = &mut self.results[*index];
                result.open -= 1;
                if result.open == 0 && result.failed_before.is_none() {
                    self.mark_ready(*index);
                }
            }
        }
        if document.state.propagates() {
            self.apply_failure(&document);
        }
        (!results.is_empty()).then_some(document)
    }

    /// The tasks that are not ready as far as is known, by backend.
    fn not_ready(&self, wanted: impl Fn(&PendingTask) -> bool) -> Vec<(SharedBackend, Vec<TaskId>)> {
        let mut by_backend: Vec<_> = self.backends.iter().map(|backend| (backend.clone(), Vec::new())).collect();
        for (id, task) in self.order.iter().filter_map(|id| self.tasks.get_key_value(id)) {
            if let Some(backend) = task.backend.filter(|_| !task.is_ready() && wanted(task)) {
                by_backend[backend].1.push(id.clone());
            }
        }
        by_backend.retain(|(_, ids)| !ids.is_empty());
        by_backend
    }

    fn check(&mut self) -> Result<()> {
        self.backend_error.take().map_or(Ok(()), Err)
    }

    /// Reads from the backends that store results.
    async fn fetch_where(&mut self, wanted: impl Fn(&PendingTask) -> bool) -> Result<Vec<Arc<ResultDocument>>> {
        self.check()?;
        let mut found = Vec::new();
        for (backend, ids) in self.not_ready(wanted) {
            let Some(stored) = backend.stored() else { continue };
            let read = ask(self.app.as_ref(), &backend, || stored.fetch(&ids)).await;
            let read = read.map_err(|error| reading(&self.what, &backend, error))?;
            found.extend(read.into_iter().flatten().filter_map(|document| self.record(document)));
        }
        Ok(found)
    }

    /// Reads what is not ready as far as is known, all at once. Returns the documents of the results.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] when one of the backends stores no results.
    pub(crate) async fn fetch(&mut self) -> Result<Vec<Arc<ResultDocument>>> {
        self.check()?;
        for (backend, _) in self.not_ready(|_| true) {
            stored(&format!("read the result of {}", self.what), &backend)?;
        }
        self.fetch_where(|_| true).await
    }

    /// Reads the states once, without waiting: what is stored, and what was delivered where nothing is stored.
    pub(crate) async fn look(&mut self) -> Result<Vec<Arc<ResultDocument>>> {
        let mut found = self.fetch_where(|_| true).await?;
        let mut delivered = self.watch(|backend| backend.stored().is_none()).await?;
        while let Some(Some(document)) = delivered.next().now_or_never() {
            found.extend(self.record(document?));
        }
        Ok(found)
    }

    /// The next document of any of the tasks; `None` for one of a task before the results. The first call begins to
    /// watch.
    pub(crate) async fn next(&mut self) -> Result<Option<Arc<ResultDocument>>> {
        loop {
            let states = match &mut self.states {
                Some(states) => states,
                None => {
                    let states = self.watch(|_| true).await?;
                    self.states.insert(states)
                }
            };
            let Some(document) = states.next().await else {
                return Err(Error::new(
                    ErrorKind::Backend,
                    format!("get the result of {}: the result backend ended the watch", self.what),
                ));
            };
            let failed = self.failed.is_some();
            let recorded = self.record(document?);
            if recorded.is_some() || self.failed.is_some() != failed || !self.ready.is_empty() {
                return Ok(recorded);
            }
        }
    }

    async fn watch(&mut self, wanted: impl Fn(&SharedBackend) -> bool) -> Result<States> {
        self.check()?;
        let mut states = SelectAll::new();
        for (backend, ids) in self.not_ready(|_| true).into_iter().filter(|(backend, _)| wanted(backend)) {
            let watched = ask(self.app.as_ref(), &backend, || backend.watch(ids.clone())).await;
            let watched = watched.map_err(|error| reading(&self.what, &backend, error))?;
            let what = self.what.clone();
            states.push(watched.map(move |state| state.map_err(|error| reading(&what, &backend, error))).boxed());
        }
        Ok(states)
    }

    /// The index of a result that became ready, each once.
    pub(crate) fn pop_ready(&mut self) -> Option<usize> {
        self.ready.pop_front()
    }

    /// How many results are not ready.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Whether a result is ready.
    pub(crate) fn is_ready(&self, index: usize) -> bool {
        self.results[index].open == 0 || self.results[index].failed_before.is_some()
    }

    /// Whether a failure was seen, of a result or before one.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Returns the first failure as an error, one of a task before the results first. The states of those tasks are
    /// read once more.
    pub(crate) async fn raise(&mut self) -> Result<()> {
        self.fetch_where(|task| task.results.is_empty()).await?;
        let documents = self.before.iter().filter_map(|id| self.tasks.get(id)?.document.as_ref());
        let failed = documents.into_iter().find(|document| document.state.propagates()).or(self.failed.as_ref());
        failed.map_or(Ok(()), |document| Err(raised(document)))
    }

    /// The documents of the results that were read so far.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &Arc<ResultDocument>> {
        let tasks = self.order.iter().filter_map(|id| self.tasks.get(id));
        tasks.filter(|task| !task.results.is_empty()).filter_map(|task| task.document.as_ref())
    }

    /// Whether nothing is stored of any task.
    pub(crate) fn nothing_is_stored(&self) -> bool {
        !self.tasks.is_empty() && self.tasks.values().all(|task| task.document.is_none())
    }

    /// The document of a task.
    pub(crate) fn document(&self, id: &TaskId) -> Option<&Arc<ResultDocument>> {
        self.tasks.get(id)?.document.as_ref()
    }

    /// The failure before a result, because of which its tasks do not run.
    pub(crate) fn failed_before(&self, index: usize) -> Option<&Arc<ResultDocument>> {
        self.results[index].failed_before.as_ref()
    }

    /// The state of a result. A group is PENDING until its members are ready; then it has the state of the first member
    /// that failed or was revoked, else SUCCESS.
    pub(crate) fn state_of<T>(&self, result: &AsyncResult<T>) -> State {
        let Some(members) = result.members() else {
            return self.document(result.id()).map_or(State::Pending, |document| document.state.clone());
        };
        let states: Vec<State> = members.iter().map(|member| self.state_of(member)).collect();
        match states.iter().all(State::is_ready) {
            true => states.into_iter().find(State::propagates).unwrap_or(State::Success),
            false => State::Pending,
        }
    }

    /// The value of a ready result, a list for a group; or its first failure.
    pub(crate) fn json_of<T>(&self, result: &AsyncResult<T>) -> Result<ReadyResult> {
        let Some(members) = result.members() else {
            return Ok(match self.document(result.id()) {
                Some(document) if document.state.propagates() => ReadyResult::Failed(document.clone()),
                Some(document) => ReadyResult::Value(document.result.clone()),
                None => ReadyResult::Value(Json::NULL),
            });
        };
        let mut list = String::from("[");
        for member in members {
            match self.json_of(member)? {
                ReadyResult::Failed(document) => return Ok(ReadyResult::Failed(document)),
                ReadyResult::Value(value) => {
                    list.push_str(if list.len() > 1 { ", " } else { "" });
                    list.push_str(value.as_str());
                }
            }
        }
        list.push(']');
        Ok(ReadyResult::Value(Json::from_bytes(list.into())?))
    }

    /// The failure of a result as an error.
    pub(crate) fn raise_of<T>(&self, result: &AsyncResult<T>) -> Result<()> {
        match self.json_of(result)? {
            ReadyResult::Failed(document) => Err(raised(&document)),
            ReadyResult::Value(_) => Ok(()),
        }
    }

    /// Deletes all of these results.
    pub(crate) async fn forget(mut self) -> Result<()> {
        self.check()?;
        let mut by_backend: Vec<_> = self.backends.iter().map(|backend| (backend.clone(), Vec::new())).collect();
        for (id, task) in &self.tasks {
            if let Some(backend) = task.backend {
                by_backend[backend].1.push(id.clone());
            }
        }
        for (backend, ids) in by_backend {
            // Where nothing is stored there is nothing to delete.
            let Some(stored) = backend.stored() else { continue };
            ask(self.app.as_ref(), &backend, || stored.forget(ids.clone())).await.map_err(|error| {
                let text = format!("forget the result of {} at {}", self.what, backend.address());
                Error::new(ErrorKind::Backend, text).with_source(error)
            })?;
        }
        self.tasks.values().flat_map(|task| &task.cells).for_each(|cell| cell.set(None));
        Ok(())
    }
}

/// Asks a backend as the app asks it; once where there is no result and so no app.
async fn ask<T, F: Future<Output = TransportResult<T>>>(
    app: Option<&App>,
    backend: &SharedBackend,
    mut operation: impl FnMut() -> F,
) -> TransportResult<T> {
    match app {
        Some(app) => app.ask(backend.address(), operation).await,
        None => operation().await,
    }
}

fn reading(what: &str, backend: &SharedBackend, error: apium_transport::error::Error) -> Error {
    let text = format!("read the result of {what} from {}", backend.address());
    Error::new(ErrorKind::Backend, text).with_source(error)
}
