//! What all workers of a broker have to know, also those that start later: which tasks are revoked, which queues are
//! paused. Celery keeps such things in the memory of each worker, and forgets them with it.

use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::value::value::Value;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::error::Result;

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FleetTopic {
    /// Tasks that are revoked, by id.
    RevokedTasks,
    /// Stamps whose tasks are revoked, by [`stamp_key`].
    RevokedStamps,
    /// Queues that are paused, by name.
    PausedQueues,
}

impl FleetTopic {
    /// All topics.
    pub const ALL: [Self; 3] = [Self::RevokedTasks, Self::RevokedStamps, Self::PausedQueues];

    /// Its name in stores: `revoked`, `revoked-stamps`, `paused`.
    pub fn name(self) -> &'static str {
        match self {
            Self::RevokedTasks => "revoked",
            Self::RevokedStamps => "revoked-stamps",
            Self::PausedQueues => "paused",
        }
    }
}

/// The key of a stamp: `<header>=<value>`, the value as JSON.
pub fn stamp_key(header: &str, value: &Json) -> String {
    // Read and written again, so that two spellings of a value are one.
    match value.to_value() {
        Ok(value) => format!("{header}={}", Json::from_value(&value)),
        Err(_) => format!("{header}={value}"),
    }
}

/// The keys of the stamps that a header names: one for each value of a list.
pub fn stamp_keys(header: &str, values: &Json) -> Vec<String> {
    match values.to_value() {
        Ok(Value::List(values)) => values.iter().map(|value| stamp_key(header, &Json::from_value(value))).collect(),
        _ => vec![stamp_key(header, values)],
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FleetRecord {
    /// What it is about: a task id, a stamp, a queue. Unique within its topic.
    pub key: String,
    /// What is known of it; null where nothing is.
    pub value: Json,
    /// When it was written, to the microsecond.
    pub at: Timestamp,
}

impl FleetRecord {
    /// A record that is written at this time. Stores keep microseconds, and so does it.
    pub fn new(key: impl Into<String>, value: Json, at: Timestamp) -> Self {
        let at = Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
        Self { key: key.into(), value, at }
    }
}

/// How much of a topic is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetLimits {
    /// How many records at most; the oldest go.
    pub most: usize,
    /// How long a record is kept; `None` is for ever.
    pub keep: Option<Duration>,
}

impl FleetLimits {
    /// At most so many, for so long.
    pub const fn new(most: usize, keep: Option<Duration>) -> Self {
        Self { most, keep }
    }

    /// The time of the oldest record that is kept at `now`.
    pub fn oldest(&self, now: Timestamp) -> Timestamp {
        self.keep.map_or(Timestamp::MIN, |keep| now.saturating_sub(keep).unwrap_or(Timestamp::MIN))
    }
}

/// The records that all workers share. They live as long as the broker's queues do. Which of two records is older is
/// said by their times alone; of two with the same time, either may count as the older one.
pub trait FleetRecords: Send + Sync {
    /// Writes records, in order; one of the same key is replaced. Then drops what the limits say. Returns how many were
    /// dropped for lack of room.
    fn put<'a>(
        &'a self,
        topic: FleetTopic,
        records: Vec<FleetRecord>,
        limits: FleetLimits,
    ) -> BoxFuture<'a, Result<usize>>;

    /// Removes records. Returns how many there were.
    fn remove<'a>(&'a self, topic: FleetTopic, keys: &'a [String]) -> BoxFuture<'a, Result<usize>>;

    /// All records of a topic that were written at this time or later, the oldest first; `None` is all of them. What
    /// is older than `limits` allow is left out.
    fn list(
        &self,
        topic: FleetTopic,
        since: Option<Timestamp>,
        limits: FleetLimits,
    ) -> BoxFuture<'_, Result<Vec<FleetRecord>>>;
}
