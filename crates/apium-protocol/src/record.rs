//! Result documents as Celery stores them.

use std::collections::BTreeMap;

use crate::id::TaskId;
use crate::json::Json;
use crate::state::State;

/// The result document of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultDocument {
    /// The task's id.
    pub task_id: TaskId,
    /// Its state.
    pub state: State,
    /// The return value, the exception map (see `exception`), or the meta of a custom state.
    pub result: Json,
    /// The traceback's text.
    pub traceback: Option<String>,
    /// What the run sent; `None` when the writer had no request.
    pub children: Option<Vec<ResultTuple>>,
    /// When it became ready, as Celery writes it.
    pub date_done: Option<String>,
    /// The group it belongs to.
    pub group_id: Option<String>,
    /// The task that sent it.
    pub parent_id: Option<TaskId>,
    /// What `result_extended` adds.
    pub extended: Option<Box<Extended>>,
    /// Every other key (stamps, foreign ones).
    pub extra: BTreeMap<String, Json>,
}

/// What `result_extended` adds to a result document.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extended {
    /// The task's name.
    pub name: Option<String>,
    /// Positional arguments.
    pub args: Option<Json>,
    /// Keyword arguments.
    pub kwargs: Option<Json>,
    /// The worker's node name.
    pub worker: Option<String>,
    /// Retries so far.
    pub retries: Option<u32>,
    /// The routing key.
    pub queue: Option<String>,
}

/// A result with its parent, or a group with its members: `[[id, parent], children]` on the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultTuple {
    /// The id of the task or group.
    pub id: TaskId,
    /// What came before it.
    pub parent: Option<Box<ResultTuple>>,
    /// The members, for a group.
    pub children: Option<Vec<ResultTuple>>,
}

/// A saved group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupDocument {
    /// The group with its members.
    pub result: ResultTuple,
}
