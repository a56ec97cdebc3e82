//! The parts of a chord, and what follows the last of them: the body with the results, or the failure of the body.

use std::sync::Arc;
use std::time::Duration;

use apium_app::canvas::freeze::IdSeed;
use apium_app::canvas::node::Node;
use apium_app::canvas::plan::SendWith;
use apium_app::context::request::Request;
use apium_app::error::Result;
use apium_app::failure::Failure;
use apium_app::publish::prepare::ParentTask;
use apium_protocol::error::with_causes;
use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_transport::backend::chord::{ChordPart, FailedPart};
use apium_transport::broker::follow_ups::{ChordContinuation, EndedPart, FollowUps};
use apium_transport::broker::outgoing::Outgoing;

use crate::follow_up::builder::FollowUpBuilder;
use crate::follow_up::errback_style::calls_errbacks;
use crate::follow_up::failure::FailurePropagation;
use crate::follow_up::pending_errback::PendingErrbacks;
use crate::follow_up::recount::Recount;

/// What continues a chord after its last part. Each part brings it along, since any of them may be the last one
/// counted.
pub(crate) struct ChordBody {
    pub(crate) builder: FollowUpBuilder,
    pub(crate) body: Node,
    /// The seed of the ids in what follows. It depends on the chord alone, so each part would make the same ids.
    pub(crate) seed: IdSeed,
    /// The task whose part it is: the parent of the body.
    pub(crate) parent: ParentTask,
    /// The list for errbacks that this worker calls itself.
    pub(crate) errbacks: PendingErrbacks,
    /// The request of the run whose end ends the part.
    pub(crate) request: Arc<Request>,
}

/// Names a part of a chord.
pub(crate) struct ChordPosition {
    pub(crate) group: String,
    pub(crate) task_id: TaskId,
    pub(crate) group_index: Option<i64>,
}

/// What everything that follows one run has in common.
#[derive(Clone, Copy)]
pub(crate) struct FollowUpSource<'a> {
    pub(crate) builder: &'a FollowUpBuilder,
    /// The list for errbacks that this worker calls itself.
    pub(crate) errbacks: &'a PendingErrbacks,
    /// The request of the run.
    pub(crate) request: &'a Arc<Request>,
}

/// The part of a chord that ended with this state and result. `parent` is the task whose part it is.
pub(crate) fn chord_part(
    source: FollowUpSource<'_>,
    position: ChordPosition,
    body: Node,
    (state, result): (State, Json),
    parent: ParentTask,
) -> EndedPart {
    let FollowUpSource { builder, errbacks, request } = source;
    let config = builder.publisher.config();
    let ChordPosition { group, task_id, group_index } = position;
    if calls_errbacks(&builder.registry, &body) {
        errbacks.await_chords();
    }
    let continuation = ChordBody {
        builder: builder.clone(),
        body,
        seed: IdSeed::of_chord(&group),
        parent,
        errbacks: errbacks.clone(),
        request: request.clone(),
    };
    let claimant = task_id.to_string();
    let mut part = ChordPart::new(group, task_id, state, result, claimant, config.chord_claim());
    part.group_index = group_index;
    part.ttl = config.chord_ttl();
    EndedPart::new(part, Arc::new(continuation))
}

/// A part that the run added to its chord and did not send, as failed: the chord would wait for it for ever.
pub(crate) fn unsent_part(source: FollowUpSource<'_>, body: &Node, added: &TaskId) -> Option<EndedPart> {
    let request = source.request;
    let text = "it was added to the chord, and the run that added it ended before it was sent";
    let failure = ExceptionInfo::new("apium", "FollowUpError", text);
    let (group, group_index) = (request.group()?.to_owned(), request.group_index());
    let position = ChordPosition { group, task_id: added.clone(), group_index };
    Some(chord_part(source, position, body.clone(), (State::Failure, failure.to_json()), ParentTask::of(request)?))
}

impl ChordBody {
    fn body_message(&self, results: &[Json]) -> Result<FollowUps> {
        let mut follow_ups = FollowUps::default();
        let mut planner = self.builder.planner(self.seed);
        planner.add(self.body.clone(), SendWith::result(Json::from_serialize(results)?))?;
        self.builder.add_messages(planner, &self.parent, &self.request, &mut follow_ups)?;
        Ok(follow_ups)
    }

    fn fail(&self, original: Failure, chord_error: Failure) -> FollowUps {
        let mut follow_ups = FollowUps::default();
        // The store may call this more than once.
        self.errbacks.remove(self.seed);
        let source = FollowUpSource { builder: &self.builder, errbacks: &self.errbacks, request: &self.request };
        let mut propagation = FailurePropagation::new((source, self.seed), &chord_error, &mut follow_ups);
        propagation.body(&self.body, &original, &self.parent, self.seed);
        follow_ups
    }
}

impl ChordContinuation for ChordBody {
    fn complete(&self, results: Vec<Json>) -> FollowUps {
        self.body_message(&results).unwrap_or_else(|error| {
            tracing::error!(error = %with_causes(&error), "could not make the message of a chord's body");
            let failure = Failure::from_exception(ExceptionInfo::chord_error(format!("Callback error: {error:#}")));
            self.fail(failure.clone(), failure)
        })
    }

    fn failed(&self, part: FailedPart) -> FollowUps {
        let FailedPart { task_id, state, exception, .. } = part;
        let text = match state {
            State::Failure | State::Revoked => {
                format!("Dependency {task_id} raised {}", ExceptionInfo::from_json(&exception).python_repr())
            }
            _ => format!("Join error: the result of task {task_id} is not there any more"),
        };
        let original = Failure::from_exception(ExceptionInfo::from_json(&exception));
        self.fail(original, Failure::from_exception(ExceptionInfo::chord_error(text)))
    }

    fn recount_message(&self, part: &ChordPart, after: Option<Duration>) -> Option<Outgoing> {
        let Self { builder, request, parent, body, .. } = self;
        let message = Recount::recount_message(builder, request, parent, body, part, after);
        let logged = message.inspect_err(|error| {
            tracing::error!(error = %with_causes(&error), "could not make the message that counts a part of a chord once more");
        });
        logged.ok()
    }
}
