//! Makes the messages of what follows a task.
//!
//! Ids of what follows come from the id of the task and its retries, so a run that is repeated sends the same again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use apium_app::canvas::node::{Node, TaskKind, TaskNode};
use apium_app::canvas::plan::Planner;
use apium_app::context::request::Request;
use apium_app::context::result_document::ResultPolicy;
use apium_app::error::Result;
use apium_app::publish::prepare::ParentTask;
use apium_app::publish::publisher::Publisher;
use apium_app::task::registry::Registry;
use apium_protocol::json::text::Json;
use apium_transport::broker::follow_ups::FollowUps;

/// Makes messages of plans.
#[derive(Clone)]
pub(crate) struct FollowUpBuilder {
    pub(crate) publisher: Publisher,
    pub(crate) registry: Arc<Registry>,
    pub(crate) rules: ResultPolicy,
}

impl FollowUpBuilder {
    pub(crate) fn planner(&self, seed: u64) -> Planner {
        self.publisher.planner(self.publisher.ids_from(seed))
    }

    /// Makes messages of what is planned.
    pub(crate) fn add_messages(&self, planner: Planner, parent: &ParentTask, follow_ups: &mut FollowUps) -> Result<()> {
        let plan = planner.finish();
        follow_ups.publish.extend(self.publisher.messages_after(plan.calls, parent)?);
        follow_ups.opens.extend(plan.opens);
        Ok(())
    }
}

/// What the ids of all that follows a run are made from.
pub(crate) fn id_seed(request: &Request) -> u64 {
    id_seed_of(request.id().map_or("", |id| id.as_str()), request.retries())
}

pub(crate) fn id_seed_of(id: &str, retries: u32) -> u64 {
    // Its keys are fixed, and both runs that must agree are of one program.
    let mut hasher = DefaultHasher::new();
    (id, retries).hash(&mut hasher);
    hasher.finish()
}

/// Whether an errback is called here rather than sent: a task of this worker that takes more than the id of the failed task, and
/// is not bound, as in Celery.
pub(crate) fn is_called_here(registry: &Registry, errback: &Node) -> bool {
    let Node::Task(TaskNode { call, immutable, kind: TaskKind::Plain, .. }) = errback else { return false };
    let Some(task) = registry.get(&call.task) else { return false };
    let named = task.parameters.named;
    let kept = |(name, _): &&(String, Json)| named.iter().any(|parameter| parameter.name == name.as_str());
    let arguments = &call.arguments;
    let given = if *immutable { 0 } else { arguments.args.len() + arguments.kwargs.iter().filter(kept).count() };
    !task.takes_ctx && (task.parameters.var_args || named.len().saturating_sub(given) > 1)
}
