//! Results with what came before them and with the members of groups: how Celery writes them, how they are read, and
//! how they are deleted.

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{ResultDocument, ResultTuple};

use crate::app::app::App;
use crate::error::Result;
use crate::result::async_result::AsyncResult;
use crate::result::pending::{PendingResults, ReadyResult};

impl<T> AsyncResult<T> {
    /// Reads a result as Celery writes it (Celery: `result_from_tuple`): of a task, or of a group when it has members,
    /// with everything before it. All have the app's result backend.
    pub fn of_tuple(app: &App, tuple: &ResultTuple) -> Self {
        let before = std::iter::successors(tuple.parent.as_deref(), |parent| parent.parent.as_deref());
        let before: Vec<&ResultTuple> = before.collect();
        let parent = before.into_iter().rev().fold(None, |parent: Option<AsyncResult<Json>>, tuple| {
            let result = alone(app, tuple);
            Some(match parent {
                Some(parent) => result.with_parent(parent),
                None => result,
            })
        });
        match parent {
            Some(parent) => alone(app, tuple).with_parent(parent),
            None => alone(app, tuple),
        }
    }

    /// The result with what came before it, as Celery writes it: `[[id, parent], null]`, with the members of a group in
    /// place of null.
    pub fn as_tuple(&self) -> ResultTuple {
        let before: Vec<ResultTuple> = self.before().map(AsyncResult::bare_tuple).collect();
        let parent = before.into_iter().rev().reduce(|parent, tuple| tuple.with_parent(parent));
        match parent {
            Some(parent) => self.bare_tuple().with_parent(parent),
            None => self.bare_tuple(),
        }
    }

    fn bare_tuple(&self) -> ResultTuple {
        match self.members() {
            Some(members) => ResultTuple::group(self.id().clone(), members.iter().map(AsyncResult::as_tuple).collect()),
            None => ResultTuple::task(self.id().clone()),
        }
    }

    /// Its id and the ids of what came before, the nearest first.
    pub fn as_list(&self) -> Vec<TaskId> {
        std::iter::once(self.id()).chain(self.before().map(AsyncResult::id)).cloned().collect()
    }

    /// What came before, the nearest first.
    pub(crate) fn before(&self) -> impl Iterator<Item = &AsyncResult<Json>> {
        std::iter::successors(self.parent(), |parent| parent.parent())
    }

    /// The same result without the type of its value.
    pub(crate) fn erased(&self) -> AsyncResult<Json> {
        self.clone().cast()
    }

    /// Deletes the result and the results of everything before it, with the members of groups. Afterwards its state is
    /// PENDING, also for the clones of this value.
    ///
    /// # Errors
    /// As [`document`](Self::document).
    pub async fn forget(&self) -> Result<()> {
        PendingResults::with_before(format!("task {}", self.id()), std::slice::from_ref(self), None).forget().await
    }

    /// A document for a group. Its state is PENDING until every member is ready.
    pub(crate) async fn document_of_group(&self) -> Result<Option<ResultDocument>> {
        let mut pending = PendingResults::of(format!("group {}", self.id()), std::slice::from_ref(self));
        pending.fetch().await?;
        if pending.nothing_is_stored() {
            return Ok(None);
        }
        let mut document = ResultDocument::pending(self.id().clone());
        document.state = pending.state_of(self);
        if document.state.is_ready() {
            document.result = match pending.json_of(self)? {
                ReadyResult::Value(list) => list,
                ReadyResult::Failed(failed) => {
                    document.traceback.clone_from(&failed.traceback);
                    failed.result.clone()
                }
            };
        }
        document.children = self.bare_tuple().children;
        Ok(Some(document))
    }
}

/// A result without what came before it.
fn alone<T>(app: &App, tuple: &ResultTuple) -> AsyncResult<T> {
    match &tuple.children {
        None => AsyncResult::of(app, tuple.id.clone()),
        Some(members) => {
            let members = members.iter().map(|member| AsyncResult::of_tuple(app, member)).collect();
            AsyncResult::of_group(app, tuple.id.clone(), members, false)
        }
    }
}
