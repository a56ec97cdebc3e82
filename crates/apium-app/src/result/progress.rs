//! How many tasks of a group or of a workflow are ready: one cheap call, or a stream.

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

/// How many tasks are ready, of how many. The tasks of groups inside a group are counted one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Tasks that are SUCCESS, FAILURE or REVOKED, and tasks that will never run.
    pub done: u64,
    /// Tasks in all.
    pub total: u64,
}

impl Progress {
    /// `done` of `total` tasks.
    pub fn new(done: u64, total: u64) -> Self {
        Self { done, total }
    }

    /// Whether all are done.
    pub fn is_complete(self) -> bool {
        self.done >= self.total
    }

    /// The fraction that is done, from 0 to 1; it is 1 where there are no tasks.
    pub fn fraction(self) -> f64 {
        if self.total == 0 { 1.0 } else { self.done as f64 / self.total as f64 }
    }
}

/// The tasks that are counted.
struct CountedTasks {
    what: String,
    /// The tasks, and after them perhaps the one that runs when they are ready.
    tasks: Vec<AsyncResult<Json>>,
    total: usize,
    /// What came before all of them.
    parent: Option<AsyncResult<Json>>,
    /// The counter of a chord, where the tasks are its header.
    counter: Option<(SharedBackend, TaskId)>,
}

impl CountedTasks {
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
            let mut count = Self::of_group(&header);
            count.tasks.push(result.erased());
            return count;
        }
        let mut tasks: Vec<_> = result.before().map(AsyncResult::erased).collect();
        tasks.push(result.erased());
        Self { what: format!("task {}", result.id()), total: tasks.len(), tasks, parent: None, counter: None }
    }

    fn progress(&self, pending: &PendingResults) -> Progress {
        let body_is_ready = (self.total..self.tasks.len()).any(|index| pending.is_ready(index));
        let done = if body_is_ready { self.total } else { self.tasks.len() - pending.open() };
        Progress { done: done as u64, total: self.total as u64 }
    }

    async fn now(self) -> Result<Progress> {
        let mut pending = PendingResults::of(self.what.clone(), &self.tasks);
        let progress = self.progress(&pending);
        if progress.is_complete() {
            return Ok(progress);
        }
        if let Some(count) = self.count().await? {
            return Ok(count);
        }
        pending.fetch().await?;
        Ok(self.progress(&pending))
    }

    /// The counter of a chord, as long as the chord is not complete.
    async fn count(&self) -> Result<Option<Progress>> {
        let Some((backend, id)) = &self.counter else { return Ok(None) };
        let Some(chords) = backend.chords() else { return Ok(None) };
        let Some(first) = self.tasks.first() else { return Ok(None) };
        let counted = first.app().ask(backend.address(), || chords.count(id.as_str())).await;
        let count = counted.map_err(|error| {
            let text = format!("read the progress of the chord {id} from {}", backend.address());
            Error::new(ErrorKind::Backend, text).with_source(error)
        })?;
        Ok(count.map(|count| Progress { done: count.done.min(count.size), total: count.size }))
    }

    fn stream(self) -> impl Stream<Item = Result<Progress>> + Send {
        let pending = PendingResults::with_before(self.what.clone(), &self.tasks, self.parent.as_ref());
        try_unfold((self, pending, None), async |(count, mut pending, last)| {
            let last: Option<Progress> = last;
            if last.is_some_and(Progress::is_complete) {
                return Ok(None);
            }
            loop {
                let progress = count.progress(&pending);
                if last != Some(progress) {
                    return Ok(Some((progress, (count, pending, Some(progress)))));
                }
                pending.next().await?;
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
    /// How many tasks are ready, by one read of those that are not known to be.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub async fn progress(&self) -> Result<Progress> {
        CountedTasks::of_set(self).now().await
    }

    /// How many tasks are ready, now and whenever a task becomes ready. The stream ends when all are.
    pub fn progress_stream(&self) -> impl Stream<Item = Result<Progress>> + Send + use<T> {
        CountedTasks::of_set(self).stream()
    }
}

impl<T> GroupResult<T> {
    /// How many tasks are ready, by one cheap call. For the header of a chord (the [`parent`](AsyncResult::parent) of
    /// its body) the counter of the chord is read, as long as the chord is not complete. Else the tasks that are not
    /// known to be ready are read, all at once.
    ///
    /// # Errors
    /// As [`states`](ResultSet::states).
    pub async fn progress(&self) -> Result<Progress> {
        CountedTasks::of_group(self).now().await
    }
}

impl<T> AsyncResult<T> {
    /// How many tasks are ready: those of the header for a chord and for a task after one; those of a chain; and one
    /// for a single task. One cheap call, as [`GroupResult::progress`].
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn progress(&self) -> Result<Progress> {
        CountedTasks::of_result(self).now().await
    }

    /// As [`progress`](Self::progress), now and whenever a task becomes ready. The stream ends when all are.
    pub fn progress_stream(&self) -> impl Stream<Item = Result<Progress>> + Send + use<T> {
        CountedTasks::of_result(self).stream()
    }
}
