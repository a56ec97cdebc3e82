//! What follows the header of a chord: its body with the results, or the failure of the body.

use std::sync::Arc;
use std::time::Duration;

use apium_app::canvas::node::Node;
use apium_app::canvas::plan::Given;
use apium_app::error::Result;
use apium_app::failure::Failure;
use apium_app::publish::prepare::Parent;
use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_transport::backend::chord::{ChordPart, FailedPart};
use apium_transport::broker::follow_ups::{ChordContinuation, EndedPart, FollowUps};
use apium_transport::broker::outgoing::Outgoing;

use crate::follow_up::builder::{Sender, seed_of};
use crate::follow_up::failure::Fall;
use crate::follow_up::recount::Again;
use crate::pipeline::errback::Late;

/// The body of a chord, as one of the parts of its header brings it.
pub(crate) struct ChordBody {
    pub(crate) sender: Sender,
    pub(crate) body: Node,
    /// What the ids of it are made from: whoever brings the last part makes the same.
    pub(crate) seed: u64,
    /// The task whose part it was: the body's parent.
    pub(crate) parent: Parent,
    /// Where errbacks go that this worker calls itself.
    pub(crate) late: Late,
    /// The queue that the task came from whose end this is.
    pub(crate) queue: Arc<str>,
}

/// Which part of which chord.
pub(crate) struct PartPlace {
    pub(crate) group: String,
    pub(crate) task_id: TaskId,
    pub(crate) group_index: Option<i64>,
}

/// The end of a run, as far as all parts that come of it have it in common.
#[derive(Clone, Copy)]
pub(crate) struct RunEnd<'a> {
    pub(crate) sender: &'a Sender,
    /// Where errbacks go that this worker calls itself.
    pub(crate) late: &'a Late,
    /// The queue that its task came from.
    pub(crate) queue: &'a Arc<str>,
}

/// A part of a chord whose body is `body`.
pub(crate) fn part_of(
    run: RunEnd<'_>,
    place: PartPlace,
    body: Node,
    (state, result): (State, Json),
    parent: Parent,
) -> EndedPart {
    let RunEnd { sender, late, queue } = run;
    let config = sender.publisher.config();
    let PartPlace { group, task_id, group_index } = place;
    let rest = ChordBody {
        sender: sender.clone(),
        body,
        seed: seed_of(&group, 0),
        parent,
        late: late.clone(),
        queue: queue.clone(),
    };
    let claimant = task_id.to_string();
    let part = ChordPart {
        group,
        task_id,
        group_index,
        state,
        result,
        ttl: config.chord_ttl(),
        claimant,
        claim: config.chord_claim(),
    };
    EndedPart { part, continuation: Arc::new(rest) }
}

impl ChordBody {
    fn send(&self, results: &[Json]) -> Result<FollowUps> {
        let mut sequel = FollowUps::default();
        let mut planner = self.sender.planner(self.seed);
        planner.add(self.body.clone(), Given::result(Json::from_serialize(results)?))?;
        self.sender.send(planner, &self.parent, &mut sequel)?;
        Ok(sequel)
    }

    fn fail(&self, original: Failure, chord_error: Failure) -> FollowUps {
        let mut sequel = FollowUps::default();
        // It may be asked more than once.
        self.late.forget(self.seed);
        let run = RunEnd { sender: &self.sender, late: &self.late, queue: &self.queue };
        let mut fall = Fall::new((run, self.seed), &chord_error, &mut sequel);
        let outcome = fall.body(&self.body, &original, &self.parent, self.seed);
        if let Err(error) = outcome {
            tracing::error!(%error, "could not tell all that follows a failed chord");
        }
        sequel
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
        let FailedPart { task_id, state, exception } = part;
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
        let Self { sender, queue, parent, body, .. } = self;
        let made = Again::message(sender, queue, parent, body, part, after);
        made.inspect_err(|error| tracing::error!(%error, "could not make the message that counts a part once more"))
            .ok()
    }
}
