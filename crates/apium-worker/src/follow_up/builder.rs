//! The builder makes the messages of what follows a run. It sends nothing.
//!
//! The ids in these messages are derived from the id of the task and its number of retries. A run that is repeated
//! after a crash makes the same ids, so the same message may be published twice but is always the same task.

use std::sync::Arc;

use apium_app::canvas::freeze::IdSeed;
use apium_app::canvas::plan::Planner;
use apium_app::context::request::Request;
use apium_app::context::result_document::ResultPolicy;
use apium_app::error::Result;
use apium_app::publish::prepare::ParentTask;
use apium_app::publish::publisher::Publisher;
use apium_app::task::registry::Registry;
use apium_transport::broker::follow_ups::FollowUps;

/// Makes the messages of follow-ups.
#[derive(Clone)]
pub(crate) struct FollowUpBuilder {
    pub(crate) publisher: Publisher,
    pub(crate) registry: Arc<Registry>,
    pub(crate) policy: ResultPolicy,
}

impl FollowUpBuilder {
    /// A planner whose new ids are derived from `seed`.
    pub(crate) fn planner(&self, seed: IdSeed) -> Planner {
        self.publisher.planner(self.publisher.ids_from(seed))
    }

    /// Adds the planned messages, and the chords that they open, to `follow_ups`.
    pub(crate) fn add_messages(&self, planner: Planner, parent: &ParentTask, follow_ups: &mut FollowUps) -> Result<()> {
        let plan = planner.into_plan();
        follow_ups.publish.extend(self.publisher.messages_after(plan.calls, parent)?);
        follow_ups.opens.extend(plan.opens);
        Ok(())
    }
}

/// The seed of the ids of what follows a run of this request.
pub(crate) fn id_seed(request: &Request) -> IdSeed {
    IdSeed::of_run(request.id().map_or("", |id| id.as_str()), request.retries())
}
