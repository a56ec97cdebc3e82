//! Calls sent in lots: many messages in one round trip.

use apium_protocol::record::ResultTuple;

use crate::app::App;
use crate::canvas::node::Node;
use crate::error::Result;
use crate::one_call::{note_child, send_call};
use crate::prepare::CallSpec;
use crate::result::AsyncResult;

/// How many messages are published at once.
pub(crate) const AT_ONCE: usize = 2_000;

/// The calls of nodes that are all tasks.
pub(crate) fn calls_of(nodes: Vec<Node>) -> Vec<CallSpec> {
    let call = |node| match node {
        Node::Task(task) => Some(task.call),
        Node::Chain(_) | Node::Group(_) | Node::Chord(_) => None,
    };
    nodes.into_iter().filter_map(call).collect()
}

/// Sends calls in lots. `as_children` says whether each counts among the children of the running task by itself.
pub(crate) async fn send_all<T>(app: &App, calls: Vec<CallSpec>, as_children: bool) -> Result<Vec<AsyncResult<T>>> {
    let mut results = Vec::with_capacity(calls.len());
    let publisher = app.publisher();
    if app.config().task_always_eager {
        for call in calls {
            results.push(send_call(app, publisher, call).await?);
        }
        return Ok(results);
    }
    let mut calls = calls.into_iter().peekable();
    while calls.peek().is_some() {
        let (mut lot, mut policy, mut children) = (Vec::new(), None, Vec::new());
        for call in calls.by_ref().take(AT_ONCE) {
            let backend = app.backend_of(&call.task).cloned();
            let prepared = publisher.prepare(call)?;
            policy.get_or_insert(prepared.policy);
            lot.push(prepared.outgoing);
            if as_children && prepared.add_to_parent {
                children.push(prepared.id.clone());
            }
            results.push(AsyncResult::sent(app, prepared.id, backend, prepared.ignored));
        }
        if let Some(policy) = policy {
            publisher.publish_under(lot, policy).await?;
        }
        for id in children {
            note_child(|| ResultTuple::task(id));
        }
    }
    Ok(results)
}
