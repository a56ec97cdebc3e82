//! Results that are saved with everything before them under one id: the id of a group, of the last task of a chain, or
//! of the body of a chord.

use std::iter::once;

use apium_protocol::json::text::Json;
use apium_protocol::result::document::{GroupDocument, MAX_NESTED_RESULTS};
use apium_transport::backend::backend::{GroupStore, SharedBackend};

use crate::app::app::App;
use crate::error::{Error, ErrorKind, Result};
use crate::result::async_result::AsyncResult;
use crate::result::result_set::ResultSet;

impl App {
    /// Reads the result of a workflow that [`AsyncResult::save`] or
    /// [`GroupResult::save`](crate::result::group_result::GroupResult::save) saved, here or in Python. It has
    /// everything before it, and its members where it is the result of a group. `None` for an id under which nothing is
    /// saved. A single task need not be saved; use [`App::result`].
    ///
    /// [`progress`](AsyncResult::progress) says how many of its tasks are ready, and
    /// [`workflow`](AsyncResult::workflow) returns all of them. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] without a result backend, and with one that stores no groups; [`ErrorKind::Backend`]
    /// when it cannot be reached.
    pub async fn restore<T>(&self, id: &str) -> Result<Option<AsyncResult<T>>> {
        let (backend, groups) = groups(self)?;
        let loaded = self.ask(backend.address(), || groups.load_group(id)).await;
        let loaded = loaded
            .map_err(|error| Error::new(ErrorKind::Backend, format!("restore the result {id}")).with_source(error))?;
        Ok(loaded.map(|saved| AsyncResult::of_tuple(self, &saved.result)))
    }
}

impl<T> AsyncResult<T> {
    /// Saves the result with everything before it under its id, so that [`App::restore`] reads it in another process or
    /// after a restart. It expires like a result that is stored now (`result_expires`). It is written as Celery's
    /// `GroupResult.save` writes it, so that `GroupResult.restore` reads it in Python.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] without a result backend, and with one that stores no groups; [`ErrorKind::Backend`]
    /// when it cannot be reached; [`ErrorKind::Call`] for a chain of more than 256 results, since Celery's format nests
    /// them and cannot be read with more.
    pub async fn save(&self) -> Result<()> {
        if depth(&self.erased()) > MAX_NESTED_RESULTS {
            let text = format!(
                "save the result {}: it has more than {MAX_NESTED_RESULTS} results one after the other",
                self.id()
            );
            return Err(Error::new(ErrorKind::Call, text));
        }
        let document = GroupDocument::new(self.as_tuple());
        let app = self.app();
        let (backend, groups) = groups(app)?;
        let save = || groups.save_group(self.id().as_str(), document.clone(), app.config().result_ttl());
        let saved = app.ask(backend.address(), save).await;
        saved.map_err(|error| {
            Error::new(ErrorKind::Backend, format!("save the result {}", self.id())).with_source(error)
        })
    }

    /// Deletes what [`save`](Self::save) saved. The results of the tasks stay.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] and [`ErrorKind::Backend`], as for [`save`](Self::save).
    pub async fn delete_saved(&self) -> Result<()> {
        let (backend, groups) = groups(self.app())?;
        let deleted = self.app().ask(backend.address(), || groups.delete_group(self.id().as_str())).await;
        deleted.map_err(|error| {
            Error::new(ErrorKind::Backend, format!("delete the saved result {}", self.id())).with_source(error)
        })
    }

    /// The results of all tasks of the workflow that this result ends, in the order in which they run, with the members
    /// of groups one by one. To count those that are ready, [`progress`](Self::progress) is cheaper for a chord; it
    /// counts the header alone.
    pub fn workflow(&self) -> ResultSet<Json> {
        let mut tasks = Vec::new();
        add_tasks(&self.erased(), &mut tasks);
        ResultSet::new(self.app(), tasks)
    }
}

/// The result backend, and the part of it that stores groups.
pub(crate) fn groups(app: &App) -> Result<(&SharedBackend, &dyn GroupStore)> {
    let Some(backend) = app.backend() else {
        return Err(Error::new(ErrorKind::NoBackend, "save or restore results: no result backend is configured"));
    };
    backend.groups().map(|groups| (backend, groups)).ok_or_else(|| {
        let text = format!("save or restore results: the result backend {} stores no groups", backend.address());
        Error::new(ErrorKind::NoBackend, text)
    })
}

/// How deep a result is nested as Celery writes it.
fn depth(result: &AsyncResult<Json>) -> usize {
    let levels = once(result).chain(result.before()).enumerate();
    let of_level = |(level, result): (usize, &AsyncResult<Json>)| {
        let members = result.members().unwrap_or_default().iter().map(depth).max();
        level + 1 + members.unwrap_or_default()
    };
    levels.map(of_level).max().unwrap_or_default()
}

/// Adds the tasks of the workflow that `result` ends, in the order in which they run.
fn add_tasks(result: &AsyncResult<Json>, tasks: &mut Vec<AsyncResult<Json>>) {
    let newest_first: Vec<&AsyncResult<Json>> = once(result).chain(result.before()).collect();
    for result in newest_first.into_iter().rev() {
        match result.members() {
            Some(members) => members.iter().for_each(|member| add_tasks(member, tasks)),
            None => tasks.push(result.clone()),
        }
    }
}
