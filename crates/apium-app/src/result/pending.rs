//! What arrives of results that somebody waits for, and of the tasks before them: each document is read once, and one
//! watch is for all.
//!
//! A *place* is one of the results that are wanted; a group in a place is over when its members are. A task before it
//! that has failed is raised by who asks for a value. For who asks what became of it, it ends the place only where the
//! place can have no end of its own: behind a task of its chain that has failed or was revoked. (The body of a chord
//! whose header fails has one: it is failed.)

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::SharedBackend;
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{FutureExt as _, StreamExt};

use crate::error::{Error, ErrorKind, Result};
use crate::result::async_result::{AsyncResult, DocumentCell, raised, stored};

/// The states of tasks of several backends.
type States = SelectAll<BoxStream<'static, Result<ResultDocument>>>;

/// The results that are waited for.
pub(crate) struct PendingResults {
    what: String,
    tasks: HashMap<TaskId, PendingTask>,
    /// Their ids, as they are asked for: what came before, then the members in their order.
    order: Vec<TaskId>,
    /// The tasks before, the oldest first.
    before: Vec<TaskId>,
    backends: Vec<SharedBackend>,
    places: Vec<PendingResult>,
    /// How many places are not over.
    open: usize,
    /// Places that are over and were not told of.
    ended: VecDeque<usize>,
    /// The first failure that was seen.
    failed: Option<Arc<ResultDocument>>,
    /// Why a backend could not be found.
    refused: Option<Error>,
    states: Option<States>,
}

/// A task that is looked at.
#[derive(Default)]
struct PendingTask {
    known: Vec<DocumentCell>,
    backend: Option<usize>,
    document: Option<Arc<ResultDocument>>,
    /// The places it belongs to.
    places: Vec<usize>,
    /// The places that come to nothing when it fails.
    behind: Vec<FailsWith>,
}

#[derive(Clone, Copy)]
enum FailsWith {
    Result(usize),
    All,
}

#[derive(Default)]
struct PendingResult {
    /// How many of its tasks are not ready.
    open: usize,
    /// The failure before it that left it without an end of its own.
    lost: Option<Arc<ResultDocument>>,
}

/// How a result ended.
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
    /// Of these results alone.
    pub(crate) fn of<T>(what: String, wanted: &[AsyncResult<T>]) -> Self {
        let mut arrivals = Self::empty(what, wanted.len());
        for (place, result) in wanted.iter().enumerate() {
            arrivals.want(place, result, false);
        }
        arrivals.begun()
    }

    /// Of these results and everything before each of them, and before all (`parent`).
    pub(crate) fn with_before<T>(what: String, wanted: &[AsyncResult<T>], parent: Option<&AsyncResult<Json>>) -> Self {
        let mut arrivals = Self::empty(what, wanted.len());
        arrivals.look_before(parent, FailsWith::All);
        for (place, result) in wanted.iter().enumerate() {
            arrivals.want(place, result, true);
        }
        arrivals.begun()
    }

    fn empty(what: String, places: usize) -> Self {
        Self {
            what,
            tasks: HashMap::with_capacity(places),
            order: Vec::with_capacity(places),
            before: Vec::new(),
            backends: Vec::new(),
            places: std::iter::repeat_with(PendingResult::default).take(places).collect(),
            open: places,
            ended: VecDeque::new(),
            failed: None,
            refused: None,
            states: None,
        }
    }

    fn want<T>(&mut self, place: usize, result: &AsyncResult<T>, before: bool) {
        if before {
            self.look_before(result.parent(), FailsWith::Result(place));
        }
        match result.members() {
            Some(members) => members.iter().for_each(|member| self.want(place, member, before)),
            None if result.ignored() => {}
            None => {
                let task = self.look_at(result);
                task.places.push(place);
                let ready = task.is_ready();
                self.places[place].open += usize::from(!ready);
            }
        }
    }

    /// Everything before a result, the oldest first.
    fn look_before(&mut self, parent: Option<&AsyncResult<Json>>, behind: FailsWith) {
        let before: Vec<&AsyncResult<Json>> = std::iter::successors(parent, |parent| parent.parent()).collect();
        for result in before.into_iter().rev() {
            match result.members() {
                Some(members) => self.look_at_header(members, behind),
                None if result.ignored() => {}
                None => {
                    self.look_at(result).behind.push(behind);
                    self.before.push(result.id().clone());
                }
            }
        }
    }

    fn look_at_header(&mut self, members: &[AsyncResult<Json>], behind: FailsWith) {
        for member in members {
            self.look_before(member.parent(), behind);
            match member.members() {
                Some(members) => self.look_at_header(members, behind),
                None if member.ignored() => {}
                None => {
                    self.look_at(member);
                    self.before.push(member.id().clone());
                }
            }
        }
    }

    fn look_at<T>(&mut self, result: &AsyncResult<T>) -> &mut PendingTask {
        let backend = match result.backend() {
            Ok(backend) => Some(self.place_of(backend)),
            Err(error) => {
                if result.cached_document().is_none() {
                    self.refused.get_or_insert(error);
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
        task.known.push(result.cell().clone());
        if task.document.is_none() {
            task.document = result.cached_document();
        }
        task
    }

    fn place_of(&mut self, backend: &SharedBackend) -> usize {
        match self.backends.iter().position(|known| Arc::ptr_eq(known, backend)) {
            Some(place) => place,
            None => {
                self.backends.push(backend.clone());
                self.backends.len() - 1
            }
        }
    }

    /// With what was known from the start.
    fn begun(mut self) -> Self {
        for place in 0..self.places.len() {
            if self.places[place].open == 0 {
                self.end(place);
            }
        }
        let document = |id| self.tasks.get(id)?.document.clone().filter(|document| document.state.propagates());
        let failed: Vec<Arc<ResultDocument>> = self.order.iter().filter_map(document).collect();
        failed.iter().for_each(|document| self.fail(document));
        self
    }

    fn end(&mut self, place: usize) {
        self.open -= 1;
        self.ended.push_back(place);
    }

    /// What the failure of a task means for the places behind it.
    fn fail(&mut self, document: &Arc<ResultDocument>) {
        self.failed.get_or_insert_with(|| document.clone());
        let behind = self.tasks.get(&document.task_id).map(|task| task.behind.clone()).unwrap_or_default();
        for behind in behind {
            match behind {
                FailsWith::Result(place) => self.lose(place, document),
                FailsWith::All => (0..self.places.len()).for_each(|place| self.lose(place, document)),
            }
        }
    }

    fn lose(&mut self, place: usize, document: &Arc<ResultDocument>) {
        let lost = &mut self.places[place];
        if lost.open > 0 && lost.lost.is_none() {
            lost.lost = Some(document.clone());
            self.end(place);
        }
    }

    /// Takes a document in; returns it if it belongs to a place.
    fn take(&mut self, document: ResultDocument) -> Option<Arc<ResultDocument>> {
        let task = self.tasks.get_mut(&document.task_id)?;
        if task.is_ready() {
            return None;
        }
        let document = Arc::new(document);
        task.document = Some(document.clone());
        let places = task.places.clone();
        if document.state.is_ready() {
            task.known.iter().for_each(|known| known.set(Some(document.clone())));
            for place in &places {
                let open = &mut self.places[*place];
                open.open -= 1;
                if open.open == 0 && open.lost.is_none() {
                    self.end(*place);
                }
            }
        }
        if document.state.propagates() {
            self.fail(&document);
        }
        (!places.is_empty()).then_some(document)
    }

    /// The tasks that are not known to be ready, by backend.
    fn unknown(&self, wanted: impl Fn(&PendingTask) -> bool) -> Vec<(SharedBackend, Vec<TaskId>)> {
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
        self.refused.take().map_or(Ok(()), Err)
    }

    /// Reads from the backends that store results.
    async fn fetch_where(&mut self, wanted: impl Fn(&PendingTask) -> bool) -> Result<Vec<Arc<ResultDocument>>> {
        self.check()?;
        let mut found = Vec::new();
        for (backend, ids) in self.unknown(wanted) {
            let Some(stored) = backend.stored() else { continue };
            let read = stored.fetch(&ids).await.map_err(|error| reading(&self.what, &backend, error))?;
            found.extend(read.into_iter().flatten().filter_map(|document| self.take(document)));
        }
        Ok(found)
    }

    /// Reads what is not known to be ready, all at once; returns the documents of places.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] when one of the backends stores no results.
    pub(crate) async fn fetch(&mut self) -> Result<Vec<Arc<ResultDocument>>> {
        self.check()?;
        for (backend, _) in self.unknown(|_| true) {
            stored(&format!("read the result of {}", self.what), &backend)?;
        }
        self.fetch_where(|_| true).await
    }

    /// Looks once, without waiting: reads what is stored, and takes what was delivered where nothing is stored.
    pub(crate) async fn look(&mut self) -> Result<Vec<Arc<ResultDocument>>> {
        let mut found = self.fetch_where(|_| true).await?;
        let mut delivered = self.watch(|backend| backend.stored().is_none()).await?;
        while let Some(Some(document)) = delivered.next().now_or_never() {
            found.extend(self.take(document?));
        }
        Ok(found)
    }

    /// The next document of a task that is looked at. Begins to watch with the first call.
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
                    format!("get the result of {}: the result backend stopped telling", self.what),
                ));
            };
            let failed = self.failed.is_some();
            let taken = self.take(document?);
            if taken.is_some() || self.failed.is_some() != failed || !self.ended.is_empty() {
                return Ok(taken);
            }
        }
    }

    async fn watch(&mut self, wanted: impl Fn(&SharedBackend) -> bool) -> Result<States> {
        self.check()?;
        let mut states = SelectAll::new();
        for (backend, ids) in self.unknown(|_| true).into_iter().filter(|(backend, _)| wanted(backend)) {
            let watched = backend.watch(ids).await.map_err(|error| reading(&self.what, &backend, error))?;
            let what = self.what.clone();
            states.push(watched.map(move |state| state.map_err(|error| reading(&what, &backend, error))).boxed());
        }
        Ok(states)
    }

    /// A place that is over and was not told of.
    pub(crate) fn pop_ended(&mut self) -> Option<usize> {
        self.ended.pop_front()
    }

    /// How many places are not over.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Whether a place is over.
    pub(crate) fn is_over(&self, place: usize) -> bool {
        self.places[place].open == 0 || self.places[place].lost.is_some()
    }

    /// Whether a failure was seen, of a place or before it.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Raises what has failed, of the tasks before first. What is not known of them is read, once.
    pub(crate) async fn raise(&mut self) -> Result<()> {
        self.fetch_where(|task| task.places.is_empty()).await?;
        let documents = self.before.iter().filter_map(|id| self.tasks.get(id)?.document.as_ref());
        let failed = documents.into_iter().find(|document| document.state.propagates()).or(self.failed.as_ref());
        failed.map_or(Ok(()), |document| Err(raised(document)))
    }

    /// The documents of places that are known.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &Arc<ResultDocument>> {
        let tasks = self.order.iter().filter_map(|id| self.tasks.get(id));
        tasks.filter(|task| !task.places.is_empty()).filter_map(|task| task.document.as_ref())
    }

    /// Whether nothing is stored of any task.
    pub(crate) fn is_unknown(&self) -> bool {
        !self.tasks.is_empty() && self.tasks.values().all(|task| task.document.is_none())
    }

    /// The document of a task.
    pub(crate) fn document(&self, id: &TaskId) -> Option<&Arc<ResultDocument>> {
        self.tasks.get(id)?.document.as_ref()
    }

    /// The failure that left a place without an end of its own.
    pub(crate) fn lost(&self, place: usize) -> Option<&Arc<ResultDocument>> {
        self.places[place].lost.as_ref()
    }

    /// The state of a result. A group is PENDING until its members are over, and then what the first that has not
    /// returned is.
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

    /// The value of a result that is over, a list for a group; or its first failure.
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

    /// Deletes all of it.
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
            stored.forget(ids).await.map_err(|error| {
                let text = format!("forget the result of {} at {}", self.what, backend.address());
                Error::new(ErrorKind::Backend, text).with_source(error)
            })?;
        }
        self.tasks.values().flat_map(|task| &task.known).for_each(|known| known.set(None));
        Ok(())
    }
}

fn reading(what: &str, backend: &SharedBackend, error: apium_transport::error::Error) -> Error {
    let text = format!("read the result of {what} from {}", backend.address());
    Error::new(ErrorKind::Backend, text).with_source(error)
}
