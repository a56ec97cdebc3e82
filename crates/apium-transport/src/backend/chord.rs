//! The chord seam: counting the parts of a header, so that exactly one of the workers that end them sends the body.
//!
//! The one that brings the last part is told so and has a claim on the body for a while. It sends the body and then ends the
//! chord. Should it die between the two, its task is delivered again after the claim has run out (or asks under the same
//! name, and has the claim still), and whoever runs it is told the same.

use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::GroupDocument;
use apium_protocol::result::state::State;
use futures_util::future::BoxFuture;

use crate::error::Result;

/// How long a chord whose body was sent is known as fired (Celery's).
pub const FIRED_FOR: Duration = Duration::from_secs(300);

/// The header of a chord, before its tasks are sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChordHeader {
    /// The id of the header's group.
    pub group: String,
    /// How many parts are to come.
    pub size: u64,
    /// How the results nest, where the header holds groups; otherwise they are a list in the order of the parts.
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

/// A part that has ended. Its result is stored before.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChordPart {
    /// The id of the header's group.
    pub group: String,
    /// The task.
    pub task_id: TaskId,
    /// Its place in the header.
    pub group_index: Option<i64>,
    /// How it ended: a ready state.
    pub state: State,
    /// What it returned, or the exception map.
    pub result: Json,
    /// How long what is counted is kept from now on.
    pub ttl: Option<Duration>,
    /// Names who asks. Who asks again under the same name has what it claimed.
    pub claimant: String,
    /// How long the claim lasts, if this is the last part.
    pub claim: Duration,
}

impl ChordPart {
    /// A part that has ended so, without a place in the header; what is counted is kept for ever.
    pub fn new(group: String, task_id: TaskId, state: State, result: Json, claimant: String, claim: Duration) -> Self {
        Self { group, task_id, group_index: None, state, result, ttl: None, claimant, claim }
    }
}

/// How a chord stands after a part.
#[derive(Debug, Clone, PartialEq)]
pub enum ChordProgress {
    /// More parts are to come, or another has the claim on the body.
    Waiting,
    /// All parts have come, all returned; the caller has the claim and sends the body with these results.
    Complete(Vec<Json>),
    /// All parts have come and one has not returned; the caller has the claim and fails the body.
    Failed(FailedPart),
    /// The body was sent before.
    Fired,
}

/// The first part that has not returned.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FailedPart {
    /// The task.
    pub task_id: TaskId,
    /// FAILURE or REVOKED; PENDING when its result is not there any more.
    pub state: State,
    /// The exception map.
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
    /// The body was sent: what was counted goes, and copies of parts that come late are told that it was, for [`FIRED_FOR`].
    Fired,
    /// The body was failed: what was counted stays for its time, and is never complete again.
    Failed,
}

/// How far a chord is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChordCount {
    /// Parts that have ended.
    pub done: u64,
    /// Parts in all.
    pub size: u64,
}

impl ChordCount {
    /// So many parts of so many.
    pub fn new(done: u64, size: u64) -> Self {
        Self { done, size }
    }

    /// Whether one part more may be the last one.
    pub fn may_end(self) -> bool {
        self.done + 1 >= self.size
    }
}

/// Counts the parts of chords.
pub trait ChordStore: Send + Sync {
    /// Begins to count. Parts may have come before. A header that is sent again, since the delivery of its sender came twice, loses
    /// nothing of what was counted; and it does not begin anew while the chord is known as fired, or the copies of its tasks would
    /// fire the body a second time.
    fn open(&self, header: ChordHeader) -> BoxFuture<'_, Result<()>>;

    /// Counts a part, once however often it comes. Exactly one caller is told that the chord is complete or failed, and no
    /// other as long as its claim lasts.
    fn part_done(&self, part: ChordPart) -> BoxFuture<'_, Result<ChordProgress>>;

    /// The same, but a part that may be the last one is not counted: `None`, and nothing was changed. One that is not counted need not
    /// be the last one; one that is counted must not be, not even when others count at the same time.
    fn part_unless_last(&self, part: ChordPart) -> BoxFuture<'_, Result<Option<ChordProgress>>>;

    /// So many more parts are to come than it was opened for (Celery: `add_to_chord`).
    fn grow<'a>(&'a self, group: &'a str, by: u64, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>>;

    /// How far it is, by one cheap call; `None` when it is not open, or over.
    fn count<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Option<ChordCount>>>;

    /// Ends a chord; `false` when the claim of `claimant` was lost before, and nothing was changed.
    fn end<'a>(&'a self, group: &'a str, claimant: &'a str, end: ChordEnd) -> BoxFuture<'a, Result<bool>>;
}
