//! What the end of a run does to the workflow around it: results of other tasks, chords that begin, parts of chords that end.
//!
//! Drivers do not know what a body is. Whoever settles brings, with each part, something that makes the rest of it once all parts
//! are in; a driver whose queue and results are one store asks it inside the same step (P10).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;

use crate::backend::backend::ResultRecord;
use crate::backend::chord::{ChordEnd, ChordHeader, ChordPart, ChordProgress, FailedPart};
use crate::broker::outgoing::Outgoing;
use crate::error::{Error, ErrorKind, Result};

/// What is to be done about a workflow. In this order: records, opens, parts, messages.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct FollowUps {
    /// Results of other tasks: what comes behind a failed one in its chain, the body of a chord whose header failed.
    pub records: Vec<ResultRecord>,
    /// Chords whose headers are among the messages.
    pub opens: Vec<ChordHeader>,
    /// Parts of chords that ended.
    pub parts: Vec<EndedPart>,
    /// Messages.
    pub publish: Vec<Outgoing>,
}

impl FollowUps {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.opens.is_empty() && self.parts.is_empty() && self.publish.is_empty()
    }

    /// Adds another one behind.
    pub fn extend(&mut self, other: Self) {
        self.records.extend(other.records);
        self.opens.extend(other.opens);
        self.parts.extend(other.parts);
        self.publish.extend(other.publish);
    }
}

/// A part of a chord that ended, and what makes the rest should it be the last one.
#[derive(Clone)]
#[non_exhaustive]
pub struct EndedPart {
    /// The part.
    pub part: ChordPart,
    /// Makes what follows all parts.
    pub continuation: Arc<dyn ChordContinuation>,
}

impl EndedPart {
    /// A part and what makes the rest.
    pub fn new(part: ChordPart, continuation: Arc<dyn ChordContinuation>) -> Self {
        Self { part, continuation }
    }

    /// What is to be done now that the chord stands so, and how the chord ends by it; nothing where the body is not ours to send.
    ///
    /// # Errors
    /// When [`ChordContinuation`] panics, which calls code of the user's (a serializer). Nothing of the caller's is poisoned by that.
    pub fn follow_ups_of(&self, progress: ChordProgress) -> Result<Option<(FollowUps, ChordEnd)>> {
        let ask = AssertUnwindSafe(|| match progress {
            ChordProgress::Waiting | ChordProgress::Fired => None,
            ChordProgress::Complete(results) => Some((self.continuation.complete(results), ChordEnd::Fired)),
            ChordProgress::Failed(part) => Some((self.continuation.failed(part), ChordEnd::Failed)),
        });
        catch_unwind(ask).map_err(|_| {
            let (task, group) = (&self.part.task_id, &self.part.group);
            let text = format!("make what follows the chord {group}, whose last part is {task}: its code panicked");
            Error::new(ErrorKind::Other, text)
        })
    }

    /// The same where the results cannot be joined (`what` is then "Join error") or the body cannot be made or goes nowhere ("Callback
    /// error"): as with Celery the chord is failed by a ChordError, or nobody would ever hear of it.
    ///
    /// # Errors
    /// As [`rest_of`](Self::rest_of).
    pub fn fail_chord(&self, what: &str, error: &Error) -> Result<Option<(FollowUps, ChordEnd)>> {
        let exception = ExceptionInfo::chord_error(format!("{what}: could not {error}")).to_json();
        let task_id = self.part.task_id.clone();
        self.follow_ups_of(ChordProgress::Failed(FailedPart { task_id, state: State::Failure, exception }))
    }

    /// The message of [`ChordContinuation::again`]; none when it cannot be made, or its code panics.
    pub fn recount_message(&self, after: Option<Duration>) -> Option<Outgoing> {
        catch_unwind(AssertUnwindSafe(|| self.continuation.recount_message(&self.part, after))).unwrap_or_default()
    }
}

/// Makes what follows a header. Pure and quick: it may be called while a store is locked, and more than once. Where what
/// [`complete`](Self::complete) makes cannot be published, [`failed`](Self::failed) is called in its place.
pub trait ChordContinuation: Send + Sync {
    /// All parts returned: these are their results, in order.
    fn complete(&self, results: Vec<Json>) -> FollowUps;

    /// All parts have come, and this one has not returned.
    fn failed(&self, part: FailedPart) -> FollowUps;

    /// A message that counts the part once more and does what follows of it. It is kept where the part has no delivery that would
    /// come again, should the last part be counted and its worker die before the body is sent. It goes to a queue by its name, on
    /// the default exchange, and is not delivered before `after` has passed. `None` where there is no such message.
    fn recount_message(&self, part: &ChordPart, after: Option<Duration>) -> Option<Outgoing> {
        let _ = (part, after);
        None
    }
}

impl fmt::Debug for EndedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartEnd").field("part", &self.part).finish_non_exhaustive()
    }
}
