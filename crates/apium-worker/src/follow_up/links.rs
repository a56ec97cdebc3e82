//! The links of a message: what follows its task. They are read before the task runs, since a task whose links cannot
//! be read would run and lose what follows it.

use std::sync::Arc;

use apium_app::canvas::node::Node;
use apium_app::context::request::Request;
use apium_app::error::Result;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::steps_behind::StepsBehind;

use crate::follow_up::recount::Recount;

/// What a message says follows its task.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Tasks for a success, called with the result (`link`).
    pub(crate) callbacks: Vec<Node>,
    /// Tasks for a failure (`link_error`).
    pub(crate) errbacks: Vec<Node>,
    /// The next step of its chain.
    pub(crate) next: Option<Node>,
    /// The body of the chord that the task is a part of.
    pub(crate) body: Option<Node>,
    /// The part that this task counts once more. Such a task has no other links, and is no part itself.
    pub(crate) recount: Option<Recount>,
}

impl Links {
    /// Reads the links of a request; `None` when nothing follows.
    ///
    /// # Errors
    /// A signature that cannot be read.
    pub(crate) fn read(request: &Request) -> Result<Option<Arc<Self>>> {
        if let Some((recount, body)) = Recount::read(request)? {
            return Ok(Some(Arc::new(Self { body: Some(body), recount: Some(recount), ..Self::default() })));
        }
        let embed = &request.body.embed;
        if !embed.has_links() {
            return Ok(None);
        }
        let all = |list: &Option<Vec<WireSignature>>| list.iter().flatten().map(Node::from_wire).collect::<Result<_>>();
        let next = embed.chain.as_ref().map_or(Ok(None), StepsBehind::next_step)?;
        Ok(Some(Arc::new(Self {
            callbacks: all(&embed.callbacks)?,
            errbacks: all(&embed.errbacks)?,
            // The other steps are read when their turn comes.
            next: next.as_deref().map(Node::from_wire).transpose()?,
            body: embed.chord.as_deref().map(Node::from_wire).transpose()?,
            recount: None,
        })))
    }
}

/// Reads a step from its text.
///
/// # Errors
/// If it is no signature, or one that cannot be read.
pub(crate) fn read_step(text: &Json) -> Result<Node> {
    Node::from_wire(&WireSignature::from_json(text.as_bytes())?)
}
