//! The results of a group (Celery: `GroupResult`): a set of results with an id, which can be saved.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultTuple;

use crate::app::app::App;
use crate::error::{Error, ErrorKind, Result};
use crate::result::async_result::AsyncResult;
use crate::result::result_set::ResultSet;
use crate::result::saved::groups;

/// The results of a group, in the order of its members. It has the methods of a [`ResultSet`] too. A clone copies one
/// small entry for each member. Two are equal when their ids, members and parents are.
pub struct GroupResult<T> {
    id: TaskId,
    set: ResultSet<T>,
    header: bool,
}

impl<T> GroupResult<T> {
    /// A group of these results.
    pub fn new(app: &App, id: impl Into<TaskId>, results: Vec<AsyncResult<T>>) -> Self {
        let id = id.into();
        Self { id: id.clone(), set: ResultSet::of_group(app, id, results), header: false }
    }

    /// Reads a group as Celery writes it, with everything before it. A member that is a group itself is a result whose
    /// value is a list. A single task becomes a group of one, since a group of one task in a chain is written as that
    /// task.
    pub fn of_tuple(app: &App, tuple: &ResultTuple) -> Self {
        let whole = AsyncResult::<Json>::of_tuple(app, tuple);
        match whole.members() {
            Some(members) => Self::of_members(&whole, members),
            None => {
                let parent = whole.shared_parent();
                let mut group = Self::new(app, whole.id().clone(), vec![whole.cast()]);
                group.set.set_parent(parent);
                group
            }
        }
    }

    fn of_members<U>(whole: &AsyncResult<U>, members: &[AsyncResult<Json>]) -> Self {
        let members = members.iter().map(|member| member.clone().cast()).collect();
        let mut group = Self::new(whole.app(), whole.id().clone(), members);
        group.set.set_parent(whole.shared_parent());
        group.header = whole.is_header();
        group
    }

    /// With the result of what came before it, as at the end of a chain. `get` returns its failure first, and `forget`
    /// deletes it too.
    #[must_use]
    pub fn with_parent(mut self, parent: impl Into<AsyncResult<Json>>) -> Self {
        let parent = AsyncResult::from(self.clone()).with_parent(parent).shared_parent();
        self.set.set_parent(parent);
        self
    }

    /// The group's id.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The result of what came before it.
    pub fn parent(&self) -> Option<&AsyncResult<Json>> {
        self.set.shared_parent().map(Arc::as_ref)
    }

    /// Whether it is known to be the header of a chord.
    pub(crate) fn is_header(&self) -> bool {
        self.header
    }

    /// The group with its members, as Celery writes it: `[[id, parent], [[[id, null], null], …]]`.
    pub fn as_tuple(&self) -> ResultTuple {
        let tuple = ResultTuple::group(self.id.clone(), self.set.iter().map(AsyncResult::as_tuple).collect());
        match self.parent() {
            Some(parent) => tuple.with_parent(parent.as_tuple()),
            None => tuple,
        }
    }

    /// Saves the group under its id in the result backend, from where [`restore`](Self::restore) and [`App::restore`]
    /// read it. It expires like a result stored now (`result_expires`).
    ///
    /// # Errors
    /// As [`AsyncResult::save`].
    pub async fn save(&self) -> Result<()> {
        AsyncResult::from(self.clone()).save().await
    }

    /// Reads a saved group; `None` for an id that is not saved.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn restore(app: &App, id: &str) -> Result<Option<Self>> {
        let (backend, groups) = groups(app)?;
        let loaded = app.ask(backend.address(), || groups.load_group(id)).await;
        let loaded =
            loaded.map_err(|error| Error::new(ErrorKind::Backend, format!("restore group {id}")).with_source(error))?;
        Ok(loaded.map(|group| Self::of_tuple(app, &group.result)))
    }

    /// Deletes the saved group. The results of its members stay.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn delete(&self) -> Result<()> {
        AsyncResult::from(self.clone()).delete_saved().await
    }
}

impl<T> GroupResult<T> {
    /// All tasks of the workflow that ends here; see [`AsyncResult::workflow`].
    pub fn workflow(&self) -> ResultSet<Json> {
        AsyncResult::from(self.clone()).workflow()
    }
}

impl<T> AsyncResult<T> {
    /// The group, where this is the result of a group: the header before the body of a chord, the end of a chain, a
    /// member of another group.
    pub fn group(&self) -> Option<GroupResult<Json>> {
        self.members().map(|members| GroupResult::of_members(self, members))
    }
}

impl<T> From<GroupResult<T>> for AsyncResult<Json> {
    fn from(group: GroupResult<T>) -> Self {
        let members = group.set.iter().map(AsyncResult::erased).collect();
        let result = AsyncResult::of_group(group.set.app(), group.id.clone(), members, group.header);
        result.with_shared_parent(group.set.shared_parent().cloned())
    }
}

impl<T> Deref for GroupResult<T> {
    type Target = ResultSet<T>;

    fn deref(&self) -> &Self::Target {
        &self.set
    }
}

impl<T> Clone for GroupResult<T> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), set: self.set.clone(), header: self.header }
    }
}

impl<T> PartialEq for GroupResult<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.set == other.set && self.parent() == other.parent()
    }
}

impl<T> Eq for GroupResult<T> {}

impl<'a, T> IntoIterator for &'a GroupResult<T> {
    type Item = &'a AsyncResult<T>;
    type IntoIter = std::slice::Iter<'a, AsyncResult<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.set.iter()
    }
}

impl<T> fmt::Debug for GroupResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupResult").field("id", &self.id.as_str()).field("len", &self.len()).finish()
    }
}
