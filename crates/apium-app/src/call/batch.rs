//! Many calls that are published together, in few round trips to the broker.

use std::sync::Arc;

use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::result::document::ResultTuple;

use crate::app::app::App;
use crate::call::call::{send_call, send_node};
use crate::canvas::node::{Node, TaskChange};
use crate::canvas::stamp::{StampVisitor, Stamps};
use crate::context::current::note_child;
use crate::error::{Error, Result};
use crate::options::call_options::CallOptions;
use crate::publish::prepare::CallSpec;
use crate::publish::publisher::MAX_BATCH;
use crate::result::async_result::AsyncResult;
use crate::signature::fits::Complete;
use crate::signature::signature::Signature;

/// Calls that are published together. An option that is set on the batch goes to every call, and wins over the call's
/// own.
#[must_use = "nothing is sent until `send_all` is called"]
#[derive(Debug, Clone)]
pub struct Batch<Out> {
    calls: Vec<Signature<(), Out>>,
    options: CallOptions,
    /// The first mistake, which `send_all` returns.
    first_error: Option<Arc<Error>>,
}

impl<Out> Batch<Out> {
    /// A batch of these calls.
    pub fn of<In: ?Sized + Complete>(calls: impl IntoIterator<Item = Signature<In, Out>>) -> Self {
        let calls = calls.into_iter().map(Signature::cast).collect();
        Self { calls, options: CallOptions::default(), first_error: None }
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
        self.first_error.get_or_insert_with(|| Arc::new(error));
    }

    pub(crate) fn visit(&mut self, visitor: &mut dyn StampVisitor, stamps: &Stamps, append: bool) {
        self.calls.iter_mut().for_each(|call| call.visit(visitor, stamps, append));
    }

    pub(crate) fn change_tasks(&mut self, change: &mut TaskChange<'_>) -> Result<()> {
        self.calls.iter_mut().try_for_each(|call| call.change_tasks(change))
    }

    /// Publishes all calls, up to 2,000 messages at once. Of such a part, a broker that publishes atomically takes all
    /// messages or none. Calls that are workflows are sent one after the other. The results are in the order of the
    /// calls.
    ///
    /// It is not cancel-safe: some of the messages may have been published.
    ///
    /// # Errors
    /// As [`Call::send`](crate::call::call::Call::send). The parts before the one that failed are published.
    pub async fn send_all(self, app: &App) -> Result<Vec<AsyncResult<Out>>> {
        if let Some(error) = &self.first_error {
            return Err(Error::new(error.kind(), "call a batch").with_source(error.clone()));
        }
        let options = self.options;
        let nodes = self.calls.into_iter().map(|call| {
            let mut node = call.into_node()?;
            if options != CallOptions::default() {
                let mut merged = options.clone();
                merged.fill_from(node.options());
                *node.options_mut() = merged;
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

    /// Publishes all calls and waits for it on this thread. For code that is not async.
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

/// The calls of nodes that are tasks. Other nodes are left out.
pub(crate) fn calls_of(nodes: Vec<Node>) -> Vec<CallSpec> {
    let call = |node| match node {
        Node::Task(task) => Some(task.call),
        Node::Chain(_) | Node::Group(_) | Node::Chord(_) => None,
    };
    nodes.into_iter().filter_map(call).collect()
}

/// Publishes calls, up to [`MAX_BATCH`] messages at once. `as_children` says whether each is recorded among the
/// children of the running task.
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
        let (mut batch, mut policy, mut children) = (Vec::new(), None, Vec::new());
        for call in calls.by_ref().take(MAX_BATCH) {
            let backend = app.backend_of(&call.task).cloned();
            let prepared = publisher.prepare(call)?;
            policy.get_or_insert(prepared.policy);
            batch.push(prepared.outgoing);
            if as_children && prepared.add_to_parent {
                children.push(prepared.id.clone());
            }
            results.push(AsyncResult::sent(app, prepared.id, backend, prepared.ignored));
        }
        if let Some(policy) = policy {
            publisher.publish_calls(batch, policy).await?;
        }
        for id in children {
            note_child(|| ResultTuple::task(id));
        }
    }
    Ok(results)
}
