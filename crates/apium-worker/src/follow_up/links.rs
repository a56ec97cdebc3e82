//! What a message says follows its task, read before the task runs: what cannot be read must not run with its follow-ups lost.

use std::sync::Arc;

use apium_app::canvas::node::Node;
use apium_app::context::request::Request;
use apium_app::error::Result;
use apium_protocol::message::signature::Signature as WireSignature;

use crate::follow_up::recount::Recount;

/// What follows a task.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// On success, with its result.
    pub(crate) callbacks: Vec<Node>,
    /// On failure.
    pub(crate) errbacks: Vec<Node>,
    /// The next step of its chain.
    pub(crate) next: Option<Node>,
    /// The body of the chord that it is a part of.
    pub(crate) body: Option<Node>,
    /// The part that it counts once more, in place of one of its own.
    pub(crate) recount: Option<Recount>,
}

impl Links {
    /// Reads what a request holds; `None` when nothing follows.
    ///
    /// # Errors
    /// Naming what cannot be read.
    pub(crate) fn read(request: &Request) -> Result<Option<Arc<Self>>> {
        if let Some((again, body)) = Recount::read(request)? {
            let again = Self { body: Some(body), recount: Some(again), ..Self::default() };
            return Ok(Some(Arc::new(again)));
        }
        let embed = &request.body.embed;
        if !embed.has_links() {
            return Ok(None);
        }
        let all = |list: &Option<Vec<WireSignature>>| list.iter().flatten().map(Node::from_wire).collect::<Result<_>>();
        Ok(Some(Arc::new(Self {
            callbacks: all(&embed.callbacks)?,
            errbacks: all(&embed.errbacks)?,
            // Those behind it are read when it is their turn.
            next: embed.chain.as_ref().and_then(|chain| chain.last()).map(Node::from_wire).transpose()?,
            body: embed.chord.as_deref().map(Node::from_wire).transpose()?,
            recount: None,
        })))
    }
}
