//! Result objects of the tuples of the canvas.

use apium_protocol::record::{ResultDocument, ResultTuple};

use crate::app::App;
use crate::group_result::GroupResult;
use crate::result::AsyncResult;

impl<T> AsyncResult<T> {
    /// The result with what came before it.
    pub fn of_tuple(app: &App, tuple: &ResultTuple) -> Self {
        let result = Self::of(app, tuple.id.clone());
        match &tuple.parent {
            Some(parent) => result.with_parent(AsyncResult::of_tuple(app, parent)),
            None => result,
        }
    }

    pub(crate) fn know(&self, documents: &[ResultDocument]) {
        if let Some(document) = documents.iter().find(|document| document.task_id == *self.id()) {
            self.set_known(Some(document.clone()));
        }
    }
}

impl<T> GroupResult<T> {
    /// The results of a group.
    pub fn of_tuple(app: &App, tuple: &ResultTuple) -> Self {
        let members = tuple.children.iter().flatten().map(|member| AsyncResult::of_tuple(app, member)).collect();
        Self::new(app, tuple.id.clone(), members)
    }
}
