//! Many calls of one task in few round trips.

use std::sync::Arc;

use apium_protocol::signature::Signature as WireSignature;

use crate::app::App;
use crate::call::send_node;
use crate::call_options::CallOptions;
use crate::canvas::node::Node;
use crate::canvas::stamp::{StampVisitor, Stamps};
use crate::error::{Error, Result};
use crate::fits::Complete;
use crate::lots::{calls_of, send_all};
use crate::result::AsyncResult;
use crate::setters::{call_options, links};
use crate::signature::Signature;

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

    fn options_mut(&mut self) -> &mut CallOptions {
        &mut self.options
    }

    fn add_link(&mut self, callback: WireSignature) {
        self.calls.iter_mut().for_each(|call| call.add_link(callback.clone()));
    }

    fn add_link_error(&mut self, errback: WireSignature) {
        self.calls.iter_mut().for_each(|call| call.add_link_error(errback.clone()));
    }

    fn fail(&mut self, error: Error) {
        self.failed.get_or_insert_with(|| Arc::new(error));
    }

    fn visit(&mut self, visitor: &mut dyn StampVisitor, stamps: &Stamps, append: bool) {
        self.calls.iter_mut().for_each(|call| call.visit(visitor, stamps, append));
    }

    /// Sends all calls, 2,000 messages at a time, each lot whole or not at all. The results are in the order of the calls.
    ///
    /// # Errors
    /// As [`Call::send`](crate::call::Call::send). Nothing is sent when one of the calls cannot be made into a message; when the
    /// broker fails half-way, the lots before are sent.
    pub async fn send_all(self, app: &App) -> Result<Vec<AsyncResult<Out>>> {
        if let Some(error) = &self.failed {
            return Err(Error::new(error.kind(), format!("call a batch: {error}")));
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

call_options!([Out], Batch<Out>);
links!([Out], Batch<Out>);
