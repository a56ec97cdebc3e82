//! The builder makes the messages of what follows a run. It sends nothing.
//!
//! The ids in these messages are derived from the id of the task and its number of retries. A run that is repeated
//! after a crash makes the same ids, so the same message may be published twice but is always the same task.

use std::sync::Arc;

use apium_app::builtin_tasks::CHORD_PART;
use apium_app::canvas::freeze::IdSeed;
use apium_app::canvas::plan::Planner;
use apium_app::context::request::Request;
use apium_app::context::result_document::ResultPolicy;
use apium_app::error::Result;
use apium_app::publish::prepare::ParentTask;
use apium_app::publish::publisher::Publisher;
use apium_app::retry::policy::NextRun;
use apium_app::task::registry::Registry;
use apium_transport::broker::follow_ups::FollowUps;
use apium_transport::broker::outgoing::Outgoing;

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

    /// Adds the planned messages, and the chords that they open, to `follow_ups`. `parent` is the task that they
    /// follow, and `request` that of the run whose end leads to them. A layer may refuse one of them.
    pub(crate) fn add_messages(
        &self,
        planner: Planner,
        parent: &ParentTask,
        request: &Request,
        follow_ups: &mut FollowUps,
    ) -> Result<()> {
        let plan = planner.into_plan();
        let mut messages = self.publisher.messages_after(plan.calls, parent)?;
        self.publisher.pass_layers_after(&mut messages, Some(request))?;
        follow_ups.publish.extend(messages);
        follow_ups.opens.extend(plan.opens);
        Ok(())
    }

    /// The message of the next run of a request. A layer may refuse it, and does not see one that counts a part of a
    /// chord once more.
    pub(crate) fn retry_message(&self, request: &Request, next: &NextRun) -> Result<Outgoing> {
        let mut message = self.publisher.retry_message(request, next)?;
        if request.task() != Some(CHORD_PART) {
            self.publisher.pass_layers_after(std::slice::from_mut(&mut message), Some(request))?;
        }
        Ok(message)
    }
}

/// The seed of the ids of what follows a run of this request.
pub(crate) fn id_seed(request: &Request) -> IdSeed {
    IdSeed::of_run(request.id().map_or("", |id| id.as_str()), request.retries())
}
