//! What a running task does to the workflow around it: it puts another signature in its place, or adds one to its chord.

use apium_protocol::result::document::ResultTuple;

use crate::app::app::App;
use crate::canvas::node::{IntoNode, Node};
use crate::canvas::send::{chords, send};
use crate::context::context::Ctx;
use crate::context::deferred::Deferred;
use crate::error::{Error, ErrorKind, Result};
use crate::task_error::{TaskError, TaskErrorKind};

impl Ctx {
    /// Ends this run and lets another signature go on in its place, under its id, in its group, its chord and its chain (Celery:
    /// `raise self.replace(…)`): `return Err(ctx.replace(add::s(1, 2)))`. Nothing is stored for this run.
    pub fn replace(&self, with: impl IntoNode) -> TaskError {
        if self.request().id().is_none() {
            let text = "put another task in the place of this one: the function was called directly and has no task id";
            return Error::new(ErrorKind::Call, text).into();
        }
        let under = |node: Node| match self.publisher() {
            Some(publisher) => node.under(publisher.config()),
            None => node,
        };
        match with.into_node().map(under).and_then(|node| node.to_wire()) {
            Ok(signature) => TaskError::new(TaskErrorKind::Replace(Box::new(signature))),
            Err(error) => error.into(),
        }
    }

    /// Adds a signature to the header of the chord that this task is a part of, and sends it: the body waits for it too (Celery:
    /// `add_to_chord`). Its result.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] for a task that is in no chord, and for a group; as sending otherwise.
    pub fn add_to_chord(&self, signature: impl IntoNode) -> Deferred<ResultTuple> {
        let node = signature.into_node();
        let ctx = self.clone();
        self.deferred(async move { add_to_chord(&ctx, node?).await })
    }
}

async fn add_to_chord(ctx: &Ctx, mut node: Node) -> Result<ResultTuple> {
    let request = ctx.request();
    let (Some(group), Some(chord)) = (request.group(), &request.body.embed.chord) else {
        return Err(Error::new(ErrorKind::Call, "add to the chord: this task is not a part of one"));
    };
    if matches!(node, Node::Group(_)) {
        return Err(Error::new(ErrorKind::Call, "add a group to the chord: add its members one by one"));
    }
    let publisher = ctx.needed_publisher()?;
    let Some(app) = App::of_publisher(publisher) else {
        return Err(Error::new(ErrorKind::NoCurrentApp, "add to the chord: the app is gone"));
    };
    let rare = node.options_mut().rare_mut();
    (rare.group_id, rare.group_index) = (Some(group.to_owned()), request.group_index());
    (rare.chord, rare.root_id) = (Some(chord.clone()), request.headers.root_id.clone());
    let ttl = publisher.config().chord_ttl();
    chords(app.backend())?.grow(group, 1, ttl).await?;
    send(&app, node).await
}
