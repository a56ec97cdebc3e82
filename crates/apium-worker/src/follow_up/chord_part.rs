//! What follows the header of a chord: its body with the results, or the failure of the body.

use std::sync::Arc;
use std::time::Duration;

use apium_app::canvas::node::Node;
use apium_app::canvas::plan::SendWith;
use apium_app::error::Result;
use apium_app::failure::Failure;
use apium_app::publish::prepare::ParentTask;
use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_transport::backend::chord::{ChordPart, FailedPart};
use apium_transport::broker::follow_ups::{ChordContinuation, EndedPart, FollowUps};
use apium_transport::broker::outgoing::Outgoing;

use crate::follow_up::builder::{FollowUpBuilder, id_seed_of};
use crate::follow_up::failure::FailurePropagation;
use crate::follow_up::pending_errback::PendingErrbacks;
use crate::follow_up::recount::Recount;

/// The body of a chord, as one of the parts of its header brings it.
pub(crate) struct ChordBody {
    pub(crate) builder: FollowUpBuilder,
    pub(crate) body: Node,
    /// What the ids of it are made from: whoever brings the last part makes the same.
    pub(crate) seed: u64,
    /// The task whose part it was: the body's parent.
    pub(crate) parent: ParentTask,
    /// Where errbacks go that this worker calls itself.
    pub(crate) errbacks: PendingErrbacks,
    /// The queue that the task came from whose end this is.
    pub(crate) queue: Arc<str>,
}

/// Which part of which chord.
pub(crate) struct ChordPosition {
    pub(crate) group: String,
    pub(crate) task_id: TaskId,
    pub(crate) group_index: Option<i64>,
}

/// The end of a run, as far as all parts that come of it have it in common.
#[derive(Clone, Copy)]
pub(crate) struct FollowUpSource<'a> {
    pub(crate) builder: &'a FollowUpBuilder,
    /// Where errbacks go that this worker calls itself.
    pub(crate) errbacks: &'a PendingErrbacks,
    /// The queue that its task came from.
    pub(crate) queue: &'a Arc<str>,
}

/// A part of a chord whose body is `body`.
pub(crate) fn chord_part(
    run: FollowUpSource<'_>,
    place: ChordPosition,
    body: Node,
    (state, result): (State, Json),
    parent: ParentTask,
) -> EndedPart {
    let FollowUpSource { builder, errbacks: late, queue } = run;
    let config = builder.publisher.config();
    let ChordPosition { group, task_id, group_index } = place;
    let rest = ChordBody {
        builder: builder.clone(),
        body,
        seed: id_seed_of(&group, 0),
        parent,
        errbacks: late.clone(),
        queue: queue.clone(),
    };
    let claimant = task_id.to_string();
    let mut part = ChordPart::new(group, task_id, state, result, claimant, config.chord_claim());
    part.group_index = group_index;
    part.ttl = config.chord_ttl();
    EndedPart::new(part, Arc::new(rest))
}

impl ChordBody {
    fn send(&self, results: &[Json]) -> Result<FollowUps> {
        let mut follow_ups = FollowUps::default();
        let mut planner = self.builder.planner(self.seed);
        planner.add(self.body.clone(), SendWith::result(Json::from_serialize(results)?))?;
        self.builder.add_messages(planner, &self.parent, &mut follow_ups)?;
        Ok(follow_ups)
    }

    fn fail(&self, original: Failure, chord_error: Failure) -> FollowUps {
        let mut follow_ups = FollowUps::default();
        // It may be asked more than once.
        self.errbacks.forget(self.seed);
        let run = FollowUpSource { builder: &self.builder, errbacks: &self.errbacks, queue: &self.queue };
        let mut fall = FailurePropagation::new((run, self.seed), &chord_error, &mut follow_ups);
        let outcome = fall.body(&self.body, &original, &self.parent, self.seed);
        if let Err(error) = outcome {
            tracing::error!(%error, "could not tell all that follows a failed chord");
        }
        follow_ups
    }
}

impl ChordContinuation for ChordBody {
    fn complete(&self, results: Vec<Json>) -> FollowUps {
        self.send(&results).unwrap_or_else(|error| {
            tracing::error!(%error, "could not make the message of a chord's body");
            let failure = Failure::from_exception(ExceptionInfo::chord_error(format!("Callback error: {error}")));
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
        let Self { builder, queue, parent, body, .. } = self;
        let made = Recount::recount_message(builder, queue, parent, body, part, after);
        made.inspect_err(|error| tracing::error!(%error, "could not make the message that counts a part once more"))
            .ok()
    }
}
