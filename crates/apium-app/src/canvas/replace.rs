//! Putting a signature in the place of a task that runs (Celery: `Task.replace`): it keeps the task's id, group, chord and chain.

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;

use crate::canvas::freeze::WorkflowIds;
use crate::canvas::node::Node;
use crate::canvas::pipe::settle_links;
use crate::canvas::plan::Planner;
use crate::context::request::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::options::call_options::CallOptions;

impl Node {
    /// This signature as what goes on in the place of the task of `request`.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] for an empty chain, and for what follows that cannot be read.
    pub fn in_place_of(self, request: &Request, planner: &mut Planner) -> Result<Self> {
        let mut node = match self {
            // A group ends in one result: the list.
            node @ Self::Group(_) => node.pipe(accumulate()?),
            Self::Chain(chain) if matches!(chain.steps.last(), Some(Self::Group(_))) => {
                Self::Chain(chain).pipe(accumulate()?)
            }
            node => node,
        };
        if node.is_empty() {
            return Err(Error::new(ErrorKind::Call, "replace a task with an empty chain: it has no task"));
        }
        request.callbacks().iter().cloned().for_each(|callback| node.link(callback));
        request.errbacks().iter().cloned().for_each(|errback| node.link_error(errback));
        if let Self::Chain(chain) = &mut node {
            settle_links(chain);
        }
        let headers = &request.headers;
        let frame = WorkflowIds {
            id: request.id(),
            root: headers.root_id.as_ref(),
            group: request.group(),
            index: request.group_index(),
            chord: request.body.embed.chord.as_ref(),
        };
        node.freeze(frame, planner.ids())?;
        let nesting = headers.replaced_task_nesting + 1;
        node.each_step(&mut |options| options.rare_mut().replaced_task_nesting = Some(nesting));
        for step in request.chain().iter().rev() {
            let mut step = Self::from_wire(step)?;
            step.options_mut().rare_mut().replaced_task_nesting = Some(nesting);
            node = node.pipe(step);
        }
        Ok(node)
    }

    fn each_step(&mut self, set: &mut dyn FnMut(&mut CallOptions)) {
        match self {
            Self::Chain(chain) => chain.steps.iter_mut().for_each(|step| set(step.options_mut())),
            node => set(node.options_mut()),
        }
    }
}

/// `celery.accumulate`: what it is given, as it is.
fn accumulate() -> Result<Node> {
    let kwargs = vec![("index".to_owned(), Json::from_text("0")?)];
    let mut signature = WireSignature::new("celery.accumulate");
    signature.kwargs = kwargs;
    Node::from_wire(&signature)
}
