//! Results that are saved with everything before them, and found again by one id: that of a group, of the last task of
//! a chain, or of the body of a chord.

use std::iter::once;

use apium_protocol::json::text::Json;
use apium_protocol::result::document::{GroupDocument, MAX_NESTED_RESULTS};
use apium_transport::backend::backend::GroupStore;

use crate::app::app::App;
use crate::error::{Error, ErrorKind, Result};
use crate::result::async_result::AsyncResult;
use crate::result::result_set::ResultSet;

impl App {
    /// The result of a workflow that was saved under its id by [`AsyncResult::save`] or
    /// [`GroupResult::save`](crate::result::group_result::GroupResult::save), here or in Python: with its members,
    /// where it is that of a group, and everything before it. `None` for an id under which nothing is saved; the result
    /// of a single task needs no saving ([`App::result`]).
    ///
    /// [`progress`](AsyncResult::progress) then says how far it is, and [`workflow`](AsyncResult::workflow) names all
    /// of its tasks.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] without a result backend, or with one that keeps no groups; [`ErrorKind::Backend`] when
    /// it cannot be reached. Cancel-safe.
    pub async fn restore<T>(&self, id: &str) -> Result<Option<AsyncResult<T>>> {
        let loaded = store(self)?.load_group(id).await;
        let loaded = loaded
            .map_err(|error| Error::new(ErrorKind::Backend, format!("restore the result {id}")).with_source(error))?;
        Ok(loaded.map(|saved| AsyncResult::of_tuple(self, &saved.result)))
    }
}

impl<T> AsyncResult<T> {
    /// Saves the result under its id, with everything before it: [`App::restore`] finds it there, in another process
    /// and after a restart. It is kept as long as a result (`result_expires`), from now on. What is saved is what
    /// Celery's `GroupResult.save` writes, so that `GroupResult.restore` finds it in Python.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] without a result backend, or with one that keeps no groups; [`ErrorKind::Backend`] when
    /// it cannot be reached; [`ErrorKind::Call`] when more than 256 results stand one before the other, which Celery's
    /// form has no place for.
    pub async fn save(&self) -> Result<()> {
        if depth(&self.erased()) > MAX_NESTED_RESULTS {
            let text =
                format!("save the result {}: more than {MAX_NESTED_RESULTS} stand one before the other", self.id());
            return Err(Error::new(ErrorKind::Call, text));
        }
        let document = GroupDocument::new(self.as_tuple());
        let saved = store(self.app())?.save_group(self.id().as_str(), document, self.app().config().result_ttl()).await;
        saved.map_err(|error| {
            Error::new(ErrorKind::Backend, format!("save the result {}", self.id())).with_source(error)
        })
    }

    /// Deletes what [`save`](Self::save) saved; the results stay.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`], [`ErrorKind::Backend`], as [`save`](Self::save).
    pub async fn delete_saved(&self) -> Result<()> {
        let deleted = store(self.app())?.delete_group(self.id().as_str()).await;
        deleted.map_err(|error| {
            Error::new(ErrorKind::Backend, format!("delete the saved result {}", self.id())).with_source(error)
        })
    }

    /// All tasks of the workflow that ends here, those that run first first, with the members of groups one by one: a
    /// set that tells their states and how many are over.
    ///
    /// [`progress`](Self::progress) is cheaper for a chord, and counts its header alone.
    pub fn workflow(&self) -> ResultSet<Json> {
        let mut tasks = Vec::new();
        in_order(&self.erased(), &mut tasks);
        ResultSet::new(self.app(), tasks)
    }
}

/// Where groups are saved.
pub(crate) fn store(app: &App) -> Result<&dyn GroupStore> {
    let Some(backend) = app.backend() else {
        return Err(Error::new(ErrorKind::NoBackend, "save or restore results: no result backend is configured"));
    };
    backend.groups().ok_or_else(|| {
        let text = format!("save or restore results: the result backend {} keeps no groups", backend.address());
        Error::new(ErrorKind::NoBackend, text)
    })
}

/// How deep Celery's form of a result nests.
fn depth(result: &AsyncResult<Json>) -> usize {
    let levels = once(result).chain(result.before()).enumerate();
    let of_level = |(level, result): (usize, &AsyncResult<Json>)| {
        let members = result.members().unwrap_or_default().iter().map(depth).max();
        level + 1 + members.unwrap_or_default()
    };
    levels.map(of_level).max().unwrap_or_default()
}

fn in_order(result: &AsyncResult<Json>, tasks: &mut Vec<AsyncResult<Json>>) {
    let mut all: Vec<&AsyncResult<Json>> = once(result).chain(result.before()).collect();
    all.reverse();
    for result in all {
        match result.members() {
            Some(members) => members.iter().for_each(|member| in_order(member, tasks)),
            None => tasks.push(result.clone()),
        }
    }
}
