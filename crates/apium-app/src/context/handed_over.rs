//! What a child process hands over with the end of a run of its own kind: it has sent what follows the task, and leaves
//! to the worker what is stored and counted.

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use serde::Deserialize;

/// What a child has left to its worker.
#[derive(Debug, Clone, Default)]
pub struct HandedOver {
    /// Whether the state of the task is stored.
    pub is_stored: bool,
    /// Results of other tasks: of the steps behind one that failed.
    pub records: Vec<ResultDocument>,
    /// Parts of chords that have ended.
    pub parts: Vec<HandedPart>,
}

/// A part of a chord that has ended.
#[derive(Debug, Clone, Deserialize)]
pub struct HandedPart {
    /// The task that is the part.
    pub task_id: TaskId,
    /// Its group.
    pub group: String,
    /// Its position in the group.
    pub group_index: Option<i64>,
    /// The body of the chord.
    pub chord: Signature,
    /// How it ended.
    pub state: State,
    /// Its value, or its exception.
    pub result: Json,
}
