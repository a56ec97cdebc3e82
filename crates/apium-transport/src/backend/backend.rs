//! The result backend seam, and the overwrite rule: which write may replace which.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{GroupDocument, ResultDocument};
use apium_protocol::result::state::State;
use futures_core::Stream;
use futures_util::future::BoxFuture;

use crate::address::Address;
use crate::backend::chord::ChordStore;
use crate::error::Result;
use crate::health::Health;

/// What a result backend can do by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendCapabilities {
    /// Whether results survive the end of every process.
    pub durable: bool,
    /// Whether several processes see the same results.
    pub multi_process: bool,
    /// Whether `watch` reports every state; otherwise it may leave out states that were soon replaced.
    pub every_state: bool,
}

impl BackendCapabilities {
    /// Of a backend that can do none of it.
    pub const NONE: Self = Self { durable: false, multi_process: false, every_state: false };
}

/// A result on its way to the backend.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ResultRecord {
    /// The document as Celery stores it.
    pub document: ResultDocument,
    /// The run and delivery that write it; `None` for a write from outside a run.
    pub run: Option<RunVersion>,
    /// How long it is kept; `None` is for ever (Celery: `result_expires`).
    pub ttl: Option<Duration>,
    /// Where the caller of the task waits for results: the property `reply_to` of the task's message. Only a backend
    /// that delivers results instead of storing them reads it.
    pub reply_to: Option<Arc<str>>,
}

impl ResultRecord {
    /// A record from outside a run, kept for ever.
    pub fn new(document: ResultDocument) -> Self {
        Self { document, run: None, ttl: None, reply_to: None }
    }

    /// Written by this run.
    #[must_use]
    pub fn by(mut self, run: Option<RunVersion>) -> Self {
        self.run = run;
        self
    }

    /// Kept for so long; `None` is for ever.
    #[must_use]
    pub fn kept_for(mut self, ttl: Option<Duration>) -> Self {
        self.ttl = ttl;
        self
    }

    /// With the place where the caller waits.
    #[must_use]
    pub fn replying_to(mut self, reply_to: Option<Arc<str>>) -> Self {
        self.reply_to = reply_to;
        self
    }
}

/// Tells an older run of a task from a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunVersion {
    /// The retry count of the run.
    pub retries: u32,
    /// Names the delivery: the fence of its receipt mixed with its tag. Equal for two writes of the same run.
    pub delivery: u64,
}

impl RunVersion {
    /// The run of a delivery with so many retries.
    pub fn new(retries: u32, delivery: u64) -> Self {
        Self { retries, delivery }
    }
}

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreResult {
    /// It was stored, or sent to the caller.
    Written,
    /// It was not: the overwrite rule kept what was there, or no caller waits for it.
    Refused,
}

/// The overwrite rule: whether `new` may replace `old` (state and run of the stored document).
///
/// SUCCESS is final. FAILURE and REVOKED are replaced by a ready state, by a run with more retries, and by a new
/// delivery. A state that is not ready never replaces what a run with more retries wrote. ABORTED is replaced by a
/// ready state only, so that neither a run that begins nor the progress of one that goes on hides it.
pub fn may_replace(old: (&State, Option<RunVersion>), new: (&State, Option<RunVersion>)) -> bool {
    let (old_state, old_run) = old;
    let (new_state, new_run) = new;
    if *old_state == State::Success {
        return false;
    }
    if new_state.is_ready() {
        return true;
    }
    if old_state.is_aborted() {
        return false;
    }
    let newer = |old: RunVersion, new: RunVersion| new.retries.cmp(&old.retries);
    match (old_run, new_run) {
        (Some(old_run), Some(new_run)) => match newer(old_run, new_run) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => !old_state.is_ready() || old_run.delivery != new_run.delivery,
        },
        _ => !old_state.is_ready(),
    }
}

/// The states of some tasks. Each item is a document; the last one of a task is its ready state. The stream ends after
/// the last task is ready. It never misses a ready state: a backend subscribes first and reads then.
pub type ResultStream = Pin<Box<dyn Stream<Item = Result<ResultDocument>> + Send>>;

/// A result backend. Most store results ([`stored`](Self::stored)); one that only delivers them is possible too.
///
/// A backend without stored results (Celery's `rpc://`) sends each record to [`ResultRecord::reply_to`], once. Only the
/// process that called the task can watch it; nobody can read the result again later.
pub trait ResultBackend: Send + Sync + 'static {
    /// What this backend can do.
    fn capabilities(&self) -> BackendCapabilities;

    /// Its address. Printing it never shows a secret.
    fn address(&self) -> &Address;

    /// Where the results of this process's calls must be sent: the property `reply_to` of their messages. `None` where
    /// it does not matter, since results are stored.
    fn reply_to(&self) -> Option<Arc<str>> {
        None
    }

    /// Writes records in the given order. A backend with stored results writes each atomically and under
    /// [`may_replace`].
    fn store(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<Vec<StoreResult>>>;

    /// The states of `ids`: first the one that is stored now, then each new one.
    ///
    /// Without stored results, first the states that arrived and that no stream has yielded yet. A state that a dropped
    /// stream has not yielded is kept for the next one.
    fn watch(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<ResultStream>>;

    /// The results that it stores; `None` for a backend that only delivers them.
    fn stored(&self) -> Option<&dyn StoredResults>;

    /// Saved groups, if it has them.
    fn groups(&self) -> Option<&dyn GroupStore>;

    /// Counters of chords, if it has them.
    fn chords(&self) -> Option<&dyn ChordStore> {
        None
    }

    /// Whether it can be reached, as far as this process knows. Does no I/O and returns at once. A backend inside the
    /// process can always be reached.
    fn health(&self) -> Health {
        Health::Green
    }

    /// Closes its connections. Idempotent. Later calls of other methods, and streams that wait, return
    /// [`ErrorKind::Closed`](crate::error::ErrorKind::Closed).
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}

/// A shared result backend.
pub type SharedBackend = Arc<dyn ResultBackend>;

/// Results that a backend keeps: every process can read them, and as often as it likes.
pub trait StoredResults: Send + Sync {
    /// Reads documents, one answer for each id; `None` for an id that nothing is stored of.
    fn fetch<'a>(&'a self, ids: &'a [TaskId]) -> BoxFuture<'a, Result<Vec<Option<ResultDocument>>>>;

    /// Deletes results. A missing one is not an error.
    fn forget(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<()>>;

    /// Deletes what has expired; returns how many. Nothing to do where the store does it by itself.
    fn purge_expired(&self) -> BoxFuture<'_, Result<u64>>;
}

/// Saved groups (`GroupResult.save`).
pub trait GroupStore: Send + Sync {
    /// Saves a group for `ttl`; `None` is for ever.
    fn save_group<'a>(&'a self, id: &'a str, group: GroupDocument, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>>;

    /// Reads a saved group.
    fn load_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<GroupDocument>>>;

    /// Deletes a saved group. A missing one is not an error.
    fn delete_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>>;
}

#[cfg(test)]
mod tests {
    use apium_protocol::result::state::State;

    use super::{RunVersion, may_replace};

    fn run(retries: u32, delivery: u64) -> Option<RunVersion> {
        Some(RunVersion { retries, delivery })
    }

    fn check(old: (&str, Option<RunVersion>), new: (&str, Option<RunVersion>)) -> bool {
        may_replace((&State::from(old.0), old.1), (&State::from(new.0), new.1))
    }

    #[test]
    fn the_table_of_one_run() {
        // Rows: what is stored; columns: what comes. From the same run of the same delivery.
        let states = ["STARTED", "PROGRESS", "RETRY", "SUCCESS", "FAILURE", "REVOKED"];
        for (old, row) in [
            ("PENDING", [true, true, true, true, true, true]),
            ("STARTED", [true, true, true, true, true, true]),
            ("PROGRESS", [true, true, true, true, true, true]),
            ("RETRY", [true, true, true, true, true, true]),
            ("SUCCESS", [false, false, false, false, false, false]),
            ("FAILURE", [false, false, false, true, true, true]),
            ("REVOKED", [false, false, false, true, true, true]),
        ] {
            for (new, wanted) in states.iter().zip(row) {
                assert_eq!(check((old, run(1, 1)), (new, run(1, 1))), wanted, "{old} then {new}");
                assert_eq!(check((old, None), (new, None)), wanted, "{old} then {new}, from outside a run");
                assert_eq!(check((old, run(1, 1)), (new, None)), wanted, "{old} of a run, then {new} from outside");
                assert_eq!(check((old, None), (new, run(1, 1))), wanted, "{old} from outside, then {new} of a run");
            }
        }
    }

    #[test]
    fn success_is_final() {
        for new in ["STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "ABORTED"] {
            for version in [None, run(0, 1), run(1, 2), run(u32::MAX, u64::MAX)] {
                assert!(!check(("SUCCESS", run(0, 1)), (new, version)), "{new} of {version:?}");
            }
        }
    }

    #[test]
    fn only_an_end_replaces_an_abort() {
        for version in [None, run(0, 1), run(1, 2), run(u32::MAX, u64::MAX)] {
            for new in ["PENDING", "STARTED", "PROGRESS", "RETRY", "ABORTED"] {
                assert!(!check(("ABORTED", None), (new, version)), "{new} of {version:?}");
            }
            for new in ["SUCCESS", "FAILURE", "REVOKED"] {
                assert!(check(("ABORTED", None), (new, version)), "{new} of {version:?}");
            }
            assert!(check(("STARTED", version), ("ABORTED", None)), "over {version:?}");
        }
    }

    #[test]
    fn a_run_with_more_retries_replaces_an_end() {
        for old in ["FAILURE", "REVOKED", "RETRY", "STARTED"] {
            assert!(check((old, run(1, 5)), ("STARTED", run(2, 1))), "{old}");
        }
    }

    #[test]
    fn a_run_with_fewer_retries_only_brings_an_end() {
        for old in ["FAILURE", "REVOKED", "RETRY", "STARTED", "PROGRESS"] {
            for new in ["STARTED", "PROGRESS", "RETRY"] {
                assert!(!check((old, run(2, 1)), (new, run(1, 9))), "{old} then {new}");
            }
            assert!(check((old, run(2, 1)), ("SUCCESS", run(1, 9))), "{old}");
        }
    }

    #[test]
    fn a_new_delivery_replaces_an_end() {
        for old in ["FAILURE", "REVOKED"] {
            assert!(check((old, run(1, 1)), ("STARTED", run(1, 2))), "{old}");
            assert!(!check((old, run(1, 1)), ("STARTED", run(1, 1))), "{old}");
        }
    }
}
