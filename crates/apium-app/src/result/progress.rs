//! How far a group is, or what comes before a result: one cheap call, or a stream.

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_transport::backend::backend::SharedBackend;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::result::async_result::AsyncResult;
use crate::result::group_result::GroupResult;
use crate::result::pending::PendingResults;
use crate::result::result_set::ResultSet;

/// How many tasks are over, of how many. Those of groups inside a group are counted one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Tasks that are over: SUCCESS, FAILURE or REVOKED, or will never run.
    pub done: u64,
    /// Tasks in all.
    pub total: u64,
}

impl Progress {
    /// So many of so many.
    pub fn new(done: u64, total: u64) -> Self {
        Self { done, total }
    }

    /// Whether all are over.
    pub fn is_complete(self) -> bool {
        self.done >= self.total
    }

    /// The part that is over, from 0 to 1; 1 of nothing.
    pub fn fraction(self) -> f64 {
        if self.total == 0 { 1.0 } else { self.done as f64 / self.total as f64 }
    }
}

/// What is counted.
struct Counted {
    what: String,
    /// The tasks, and behind them perhaps the one that runs when they are over.
    tasks: Vec<AsyncResult<Json>>,
    total: usize,
    /// What came before all of them.
    parent: Option<AsyncResult<Json>>,
    /// The counter of a chord, where the tasks are its header.
    counter: Option<(SharedBackend, TaskId)>,
}

impl Counted {
    fn of_set<T>(set: &ResultSet<T>) -> Self {
        let mut tasks = Vec::with_capacity(set.len());
        set.iter().for_each(|result| tasks_of(result, &mut tasks));
        let parent = set.shared_parent().map(|parent| parent.erased());
        Self { what: set.what(), total: tasks.len(), tasks, parent, counter: None }
    }

    fn of_group<T>(group: &GroupResult<T>) -> Self {
        let backend = group.app().backend().filter(|backend| group.is_header() && backend.chords().is_some());
        let counter = backend.map(|backend| (backend.clone(), group.id().clone()));
        Self { counter, ..Self::of_set(group) }
    }

    fn of_result<T>(result: &AsyncResult<T>) -> Self {
        if let Some(group) = result.group() {
            return Self::of_group(&group);
        }
        if let Some(header) = result.before().find_map(AsyncResult::group) {
            let mut counted = Self::of_group(&header);
            counted.tasks.push(result.erased());
            return counted;
        }
        let mut tasks: Vec<_> = result.before().map(AsyncResult::erased).collect();
        tasks.push(result.erased());
        Self { what: format!("task {}", result.id()), total: tasks.len(), tasks, parent: None, counter: None }
    }

    fn progress(&self, arrivals: &PendingResults) -> Progress {
        let behind = (self.total..self.tasks.len()).any(|place| arrivals.is_over(place));
        let done = if behind { self.total } else { self.tasks.len() - arrivals.open() };
        Progress { done: done as u64, total: self.total as u64 }
    }

    async fn now(self) -> Result<Progress> {
        let mut arrivals = PendingResults::of(self.what.clone(), &self.tasks);
        let known = self.progress(&arrivals);
        if known.is_complete() {
            return Ok(known);
        }
        if let Some(counted) = self.count().await? {
            return Ok(counted);
        }
        arrivals.fetch().await?;
        Ok(self.progress(&arrivals))
    }

    /// What the counter of a chord says that is not over.
    async fn count(&self) -> Result<Option<Progress>> {
        let Some((backend, id)) = &self.counter else { return Ok(None) };
        let Some(chords) = backend.chords() else { return Ok(None) };
        let count = chords.count(id.as_str()).await.map_err(|error| {
            let text = format!("read how far the header {id} of a chord is from {}", backend.address());
            Error::new(ErrorKind::Backend, text).with_source(error)
        })?;
        Ok(count.map(|count| Progress { done: count.done.min(count.size), total: count.size }))
    }

    fn stream(self) -> impl Stream<Item = Result<Progress>> + Send {
        let arrivals = PendingResults::with_before(self.what.clone(), &self.tasks, self.parent.as_ref());
        try_unfold((self, arrivals, None), async |(counted, mut arrivals, told)| {
            let told: Option<Progress> = told;
            if told.is_some_and(Progress::is_complete) {
                return Ok(None);
            }
            loop {
                let progress = counted.progress(&arrivals);
                if told != Some(progress) {
                    return Ok(Some((progress, (counted, arrivals, Some(progress)))));
                }
                arrivals.next().await?;
            }
        })
    }
}

fn tasks_of<T>(result: &AsyncResult<T>, tasks: &mut Vec<AsyncResult<Json>>) {
    match result.members() {
        Some(members) => members.iter().for_each(|member| tasks_of(member, tasks)),
        None => tasks.push(result.erased()),
    }
}

impl<T> ResultSet<T> {
    /// How far it is, by one read of what is not known to be over.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub async fn progress(&self) -> Result<Progress> {
        Counted::of_set(self).now().await
    }

    /// How far it is, now and whenever a task ends; the stream ends when all are over.
    pub fn progress_stream(&self) -> impl Stream<Item = Result<Progress>> + Send + use<T> {
        Counted::of_set(self).stream()
    }
}

impl<T> GroupResult<T> {
    /// How far it is, by one cheap call. The header of a chord (the [`parent`](AsyncResult::parent) of its body) asks
    /// the counter of the chord, as long as that is there; otherwise what is not known to be over is read, all at once.
    ///
    /// # Errors
    /// As [`states`](ResultSet::states).
    pub async fn progress(&self) -> Result<Progress> {
        Counted::of_group(self).now().await
    }
}

impl<T> AsyncResult<T> {
    /// How far it is: of a chord, and of what follows one, how much of the header is over; of a chain how many of its
    /// tasks; of a task alone whether it is over. One cheap call, as with [`GroupResult::progress`].
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn progress(&self) -> Result<Progress> {
        Counted::of_result(self).now().await
    }

    /// As [`progress`](Self::progress), now and whenever a task ends; the stream ends when all are over.
    pub fn progress_stream(&self) -> impl Stream<Item = Result<Progress>> + Send + use<T> {
        Counted::of_result(self).stream()
    }
}
