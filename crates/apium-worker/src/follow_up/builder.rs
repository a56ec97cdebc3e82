//! The builder makes the messages of what follows a run. It sends nothing.
//!
//! The ids in these messages are derived from the id of the task and its number of retries. A run that is repeated
//! after a crash makes the same ids, so the same message may be published twice but is always the same task.

use std::sync::Arc;

use apium_app::canvas::freeze::IdSeed;
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

/// Whether the worker calls an errback itself, with the request, the exception and the traceback of the failed task. As
/// in Celery it does so for a task of its own that takes more than one argument and no context; other errbacks are sent
/// as messages, with the id of the failed task.
pub(crate) fn is_called_by_worker(registry: &Registry, errback: &Node) -> bool {
    let Node::Task(TaskNode { call, immutable, kind: TaskKind::Plain, .. }) = errback else { return false };
    let Some(task) = registry.get(&call.task) else { return false };
    let named = task.parameters.named;
    let is_parameter = |(name, _): &&(String, Json)| named.iter().any(|parameter| parameter.name == name.as_str());
    let arguments = &call.arguments;
    let bound =
        if *immutable { 0 } else { arguments.args.len() + arguments.kwargs.iter().filter(is_parameter).count() };
    !task.takes_ctx && (task.parameters.var_args || named.len().saturating_sub(bound) > 1)
}
