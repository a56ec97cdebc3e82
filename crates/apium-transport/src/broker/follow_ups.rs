//! Follow-ups: what the end of a run does to the workflow around it. Results of other tasks are stored, chords are
//! opened, parts of chords are counted, messages are published.
//!
//! A driver does not know what the body of a chord is. With each part comes a [`ChordContinuation`], which makes what
//! follows when all parts are counted. A driver whose queues and results are one store calls it while it settles the
//! delivery of the last part.

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

/// What is to be done about a workflow, in the order of the fields.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct FollowUps {
    /// Results of other tasks: of the tasks that follow a failed one in its chain, of the body of a failed chord.
    pub records: Vec<ResultRecord>,
    /// Chords to open. The messages of their headers are in `publish`.
    pub opens: Vec<ChordHeader>,
    /// Parts of chords that have ended.
    pub parts: Vec<EndedPart>,
    /// Messages to publish.
    pub publish: Vec<Outgoing>,
}

impl FollowUps {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.opens.is_empty() && self.parts.is_empty() && self.publish.is_empty()
    }

    /// Adds what `other` has, after what is there.
    pub fn extend(&mut self, other: Self) {
        self.records.extend(other.records);
        self.opens.extend(other.opens);
        self.parts.extend(other.parts);
        self.publish.extend(other.publish);
    }
}

/// A part of a chord that has ended, with what makes the follow-ups of the chord if this is the last part.
#[derive(Clone)]
#[non_exhaustive]
pub struct EndedPart {
    /// The part.
    pub part: ChordPart,
    /// Makes what follows the chord.
    pub continuation: Arc<dyn ChordContinuation>,
}

impl EndedPart {
    /// A part and what makes the rest.
    pub fn new(part: ChordPart, continuation: Arc<dyn ChordContinuation>) -> Self {
        Self { part, continuation }
    }

    /// What follows the chord at this progress, and how the chord ends; `None` if the body is not the caller's to send.
    ///
    /// # Errors
    /// When the [`ChordContinuation`] panics, since it calls code of the user (a serializer). No lock of the caller is
    /// poisoned by that.
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

    /// What fails the chord by a ChordError, as Celery does: if the results cannot be joined (`what` is then "Join
    /// error"), or if the body cannot be made or published ("Callback error").
    ///
    /// # Errors
    /// As [`follow_ups_of`](Self::follow_ups_of).
    pub fn fail_chord(&self, what: &str, error: &Error) -> Result<Option<(FollowUps, ChordEnd)>> {
        let exception = ExceptionInfo::chord_error(format!("{what}: could not {error:#}")).to_json();
        let task_id = self.part.task_id.clone();
        self.follow_ups_of(ChordProgress::Failed(FailedPart { task_id, state: State::Failure, exception }))
    }

    /// [`ChordContinuation::recount_message`]; `None` if it panics.
    pub fn recount_message(&self, after: Option<Duration>) -> Option<Outgoing> {
        catch_unwind(AssertUnwindSafe(|| self.continuation.recount_message(&self.part, after))).unwrap_or_default()
    }
}

/// Makes what follows the header of a chord. It does no I/O and is quick: it may be called while a store is locked, and
/// more than once. If what [`complete`](Self::complete) makes cannot be published, [`failed`](Self::failed) is called
/// instead.
pub trait ChordContinuation: Send + Sync {
    /// All parts have returned; `results` are theirs, in the order of the header.
    fn complete(&self, results: Vec<Json>) -> FollowUps;

    /// All parts have ended, and this one has not returned.
    fn failed(&self, part: FailedPart) -> FollowUps;

    /// A message that counts the part once more and does what follows. It is needed for a part without a delivery in
    /// flight: if the last part is counted and its worker dies before the body is sent, no delivery comes again. It is
    /// published to a queue through the default exchange and delivered when `after` has passed. `None` if there is no
    /// such message.
    fn recount_message(&self, part: &ChordPart, after: Option<Duration>) -> Option<Outgoing> {
        let _ = (part, after);
        None
    }
}

impl fmt::Debug for EndedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndedPart").field("part", &self.part).finish_non_exhaustive()
    }
}
