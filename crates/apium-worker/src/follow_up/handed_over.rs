//! What a child process leaves to its worker of what follows a foreign task: results to store, and parts of chords.

use std::sync::Arc;

use apium_app::canvas::node::Node;
use apium_app::context::handed_over::{HandedOver, HandedPart};
use apium_app::context::request::Request;
use apium_app::publish::prepare::ParentTask;
use apium_protocol::error::with_causes;
use apium_transport::backend::backend::ResultRecord;
use apium_transport::broker::follow_ups::FollowUps;

use crate::follow_up::builder::FollowUpBuilder;
use crate::follow_up::chord_part::{ChordPosition, FollowUpSource, chord_part};
use crate::follow_up::pending_errback::PendingErrbacks;

/// What is left to do. The child has called the errbacks of the task itself; those of chords that fail with it come
/// into the list.
pub(crate) fn handed_over(
    builder: &FollowUpBuilder,
    request: &Arc<Request>,
    handed: &HandedOver,
) -> (FollowUps, PendingErrbacks) {
    let (mut follow_ups, errbacks) = (FollowUps::default(), PendingErrbacks::default());
    for document in &handed.records {
        follow_ups.records.push(ResultRecord::new(document.clone()).kept_for(builder.policy.ttl));
    }
    for part in &handed.parts {
        let body = match Node::from_wire(&part.chord) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(error = %with_causes(&error), "could not read the chord of a task, so the task is not counted as its part");
                continue;
            }
        };
        let HandedPart { task_id, group, group_index, state, result, .. } = part.clone();
        let Some(parent) = ParentTask::of(request) else { continue };
        let parent = ParentTask { id: task_id.clone(), ..parent };
        let source = FollowUpSource { builder, errbacks: &errbacks, request };
        let position = ChordPosition { group, task_id, group_index };
        follow_ups.parts.push(chord_part(source, position, body, (state, result), parent));
    }
    (follow_ups, errbacks)
}
