//! Many calls of one task in few round trips.

use std::sync::Arc;

use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::result::document::ResultTuple;

use crate::app::app::App;
use crate::call::call::{send_call, send_node};
use crate::canvas::node::Node;
use crate::canvas::stamp::{StampVisitor, Stamps};
use crate::context::current::note_child;
use crate::error::{Error, Result};
use crate::options::call_options::CallOptions;
use crate::publish::prepare::CallSpec;
use crate::publish::publisher::MAX_BATCH;
use crate::result::async_result::AsyncResult;
use crate::signature::fits::Complete;
use crate::signature::signature::Signature;

/// Calls that are sent together. Options given here go to every call, over its own.
#[must_use = "nothing is sent until `send_all` is called"]
#[derive(Debug, Clone)]
pub struct Batch<Out> {
    calls: Vec<Signature<(), Out>>,
    options: CallOptions,
    failed: Option<Arc<Error>>,
}

impl<Out> Batch<Out> {
    /// A batch of these calls.
    pub fn of<In: ?Sized + Complete>(calls: impl IntoIterator<Item = Signature<In, Out>>) -> Self {
        let calls = calls.into_iter().map(Signature::cast).collect();
        Self { calls, options: CallOptions::default(), failed: None }
    }

    /// How many calls it has.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether it has no call.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(crate) fn options_mut(&mut self) -> &mut CallOptions {
        &mut self.options
    }

    pub(crate) fn add_link(&mut self, callback: WireSignature) {
        self.calls.iter_mut().for_each(|call| call.add_link(callback.clone()));
    }

    pub(crate) fn add_link_error(&mut self, errback: WireSignature) {
        self.calls.iter_mut().for_each(|call| call.add_link_error(errback.clone()));
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.failed.get_or_insert_with(|| Arc::new(error));
    }

    pub(crate) fn visit(&mut self, visitor: &mut dyn StampVisitor, stamps: &Stamps, append: bool) {
        self.calls.iter_mut().for_each(|call| call.visit(visitor, stamps, append));
    }

    /// Sends all calls, 2,000 messages at a time, each lot whole or not at all if the broker publishes
    /// atomically. The results are in the order of the calls.
    ///
    /// # Errors
    /// As [`Call::send`](crate::call::call::Call::send). Nothing is sent when one of the calls cannot be made into a
    /// message; when the broker fails half-way, the lots before are sent.
    pub async fn send_all(self, app: &App) -> Result<Vec<AsyncResult<Out>>> {
        if let Some(error) = &self.failed {
            return Err(Error::new(error.kind(), "call a batch").with_source(error.clone()));
        }
        let own = self.options;
        let nodes = self.calls.into_iter().map(|call| {
            let mut node = call.into_node()?;
            if own != CallOptions::default() {
                let mut options = own.clone();
                options.fill_from(node.options());
                *node.options_mut() = options;
            }
            Ok(node)
        });
        let nodes: Vec<Node> = nodes.collect::<Result<_>>()?;
        if nodes.iter().all(|node| matches!(node, Node::Task(_))) {
            return send_all(app, calls_of(nodes), true).await;
        }
        let mut results = Vec::with_capacity(nodes.len());
        for node in nodes {
            results.push(send_node(app, app.publisher(), node).await?);
        }
        Ok(results)
    }

    /// Sends all calls from plain code.
    ///
    /// # Errors
    /// As [`send_all`](Self::send_all).
    pub fn send_all_blocking(self, app: &App) -> Result<Vec<AsyncResult<Out>>>
    where
        Out: 'static,
    {
        let (app, on) = (app.clone(), app.clone());
        on.blocking().run(async move { self.send_all(&app).await })?
    }
}

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
        for call in calls.by_ref().take(MAX_BATCH) {
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
