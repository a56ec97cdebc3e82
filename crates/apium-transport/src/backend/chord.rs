//! The chord seam: counting the parts of a header, so that exactly one worker sends the body.
//!
//! The worker that counts the last part finds the chord complete and has a claim on the body for a while. It sends the
//! body and then ends the chord. If it dies between the two, its task is delivered again. Whoever counts the part then
//! finds the chord complete as soon as the claim has run out, or at once as the same claimant.

use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::GroupDocument;
use apium_protocol::result::state::State;
use futures_util::future::BoxFuture;

use crate::error::Result;

/// How long a chord stays fired after its body was sent (as in Celery).
pub const FIRED_FOR: Duration = Duration::from_secs(300);

/// The header of a chord, to be opened before its tasks are sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChordHeader {
    /// The id of the header's group.
    pub group: String,
    /// How many parts it has.
    pub size: u64,
    /// How the results nest, if the header contains groups; otherwise they are a list in the order of the parts.
    pub structure: Option<GroupDocument>,
    /// How long it is kept; `None` is for ever (Celery: `result_chord_expires`).
    pub ttl: Option<Duration>,
}

impl ChordHeader {
    /// A header whose results are a list, kept for ever.
    pub fn new(group: String, size: u64) -> Self {
        Self { group, size, structure: None, ttl: None }
    }
}

/// A part that has ended and whose result is stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChordPart {
    /// The id of the header's group.
    pub group: String,
    /// The task.
    pub task_id: TaskId,
    /// Its index in the header.
    pub group_index: Option<i64>,
    /// How it ended: a ready state.
    pub state: State,
    /// What it returned, or the map of its exception.
    pub result: Json,
    /// How long the chord is kept from now on; `None` changes nothing.
    pub ttl: Option<Duration>,
    /// Names the caller. One that calls again with the same name keeps its claim.
    pub claimant: String,
    /// How long its claim lasts if this is the last part.
    pub claim: Duration,
}

impl ChordPart {
    /// A part that has ended so, without a place in the header; what is counted is kept for ever.
    pub fn new(group: String, task_id: TaskId, state: State, result: Json, claimant: String, claim: Duration) -> Self {
        Self { group, task_id, group_index: None, state, result, ttl: None, claimant, claim }
    }
}

/// The progress of a chord after a part was counted.
#[derive(Debug, Clone, PartialEq)]
pub enum ChordProgress {
    /// Parts are missing, or another caller has the claim on the body, or the chord was failed before.
    Waiting,
    /// All parts have returned. The caller has the claim and sends the body with these results.
    Complete(Vec<Json>),
    /// All parts have ended, and this one has not returned. The caller has the claim and fails the body.
    Failed(FailedPart),
    /// The body was sent before.
    Fired,
}

/// The first part, in the order of the header, that has not returned.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FailedPart {
    /// The task.
    pub task_id: TaskId,
    /// FAILURE or REVOKED; PENDING if its result is gone.
    pub state: State,
    /// The map of its exception.
    pub exception: Json,
}

impl FailedPart {
    /// A part that has not returned.
    pub fn new(task_id: TaskId, state: State, exception: Json) -> Self {
        Self { task_id, state, exception }
    }
}

/// How a chord ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChordEnd {
    /// The body was sent. What was counted is deleted, and for [`FIRED_FOR`] parts that come again find the chord
    /// fired.
    Fired,
    /// The body was failed. What was counted is kept for its time, and the chord is never complete again.
    Failed,
}

/// How many parts of a chord are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChordCount {
    /// Counted parts.
    pub done: u64,
    /// All parts.
    pub size: u64,
}

impl ChordCount {
    /// So many parts of so many.
    pub fn new(done: u64, size: u64) -> Self {
        Self { done, size }
    }

    /// Whether the next part may be the last one.
    pub fn may_end(self) -> bool {
        self.done + 1 >= self.size
    }
}

/// Counts the parts of chords.
pub trait ChordStore: Send + Sync {
    /// Opens a chord. Its parts may have come before. Opening it again, because its sender was delivered twice, loses
    /// nothing of what was counted. A chord that is fired stays so, or copies of its tasks would send the body again.
    fn open(&self, header: ChordHeader) -> BoxFuture<'_, Result<()>>;

    /// Counts a part, once however often it comes. While a claim lasts, only the claimant finds the chord complete or
    /// failed.
    fn part_done(&self, part: ChordPart) -> BoxFuture<'_, Result<ChordProgress>>;

    /// As [`part_done`](Self::part_done), but does nothing and returns `None` if the part may be the last one. It may
    /// say so of a part that is not; but it never counts the last part, even if others count at the same time.
    fn part_unless_last(&self, part: ChordPart) -> BoxFuture<'_, Result<Option<ChordProgress>>>;

    /// Adds the part `added` to the chord's size, once however often it is asked for (Celery: `add_to_chord`, which
    /// adds one more each time). A chord that is fired stays so.
    fn grow<'a>(&'a self, group: &'a str, added: &'a TaskId, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>>;

    /// How many parts are counted, by one cheap call; `None` if the chord is not open, or has ended.
    fn count<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Option<ChordCount>>>;

    /// Ends a chord; returns `false` and does nothing if `claimant` has no claim.
    fn end<'a>(&'a self, group: &'a str, claimant: &'a str, end: ChordEnd) -> BoxFuture<'a, Result<bool>>;
}
