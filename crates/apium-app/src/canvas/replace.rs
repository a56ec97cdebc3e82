//! What a running task does to the workflow around it: it puts another signature in its place (Celery: `Task.replace`),
//! or adds one to its chord (`add_to_chord`).

use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::result::document::ResultTuple;
use apium_protocol::value::printable::printable_text;

use crate::app::app::App;
use crate::canvas::freeze::{IdSeed, WorkflowIds};
use crate::canvas::node::{IntoNode, Node};
use crate::canvas::pipe::move_links_to_steps;
use crate::canvas::plan::{Planner, SendWith};
use crate::canvas::send::{ReadyWorkflow, chords};
use crate::context::context::Ctx;
use crate::context::deferred::Deferred;
use crate::context::request::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::options::call_options::CallOptions;
use crate::task_error::{TaskError, TaskErrorKind};

impl Ctx {
    /// Replaces this task by another signature, which gets its id, its group, its chord and the steps of its chain that
    /// follow (Celery: `raise self.replace(…)`). Return it as the task's error:
    /// `return Err(ctx.replace(add::s(1, 2)))`. Nothing is stored for this run.
    pub fn replace(&self, with: impl IntoNode) -> TaskError {
        if self.request().id().is_none() {
            let text = "replace this task by another one: the function was called directly and has no task id";
            return Error::new(ErrorKind::Call, text).into();
        }
        let with_settings = |node: Node| match self.publisher() {
            Some(publisher) => node.with_settings(publisher.config()),
            None => node,
        };
        let node = match with.into_node().map(with_settings) {
            Ok(node) => node,
            Err(error) => return error.into(),
        };
        if let Some(text) = refused(&node) {
            return TaskError::of_class("celery.exceptions.ImproperlyConfigured", text);
        }
        match node.to_wire() {
            Ok(signature) => TaskError::new(TaskErrorKind::Replace(Box::new(signature))),
            Err(error) => error.into(),
        }
    }

    /// Adds a signature to the header of the chord of which this task is a part, and sends it (Celery: `add_to_chord`).
    /// The body waits for it too. Returns its result.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] for a task that is in no chord, and for a group; else as
    /// [`send`](crate::canvas::send::send).
    pub fn add_to_chord(&self, signature: impl IntoNode) -> Deferred<ResultTuple> {
        let node = signature.into_node();
        let ctx = self.clone();
        self.deferred(async move { add_to_chord(&ctx, node?).await })
    }
}

/// Why Celery refuses to put this in the place of a task, in its words.
fn refused(node: &Node) -> Option<&'static str> {
    let in_chord = node.options().rare.as_ref().is_some_and(|rare| rare.chord.is_some());
    match node {
        _ if in_chord => Some("A signature replacing a task must not be part of a chord"),
        Node::Chain(chain) if chain.steps.is_empty() => Some("Cannot replace with an empty chain"),
        _ => None,
    }
}

async fn add_to_chord(ctx: &Ctx, mut node: Node) -> Result<ResultTuple> {
    let request = ctx.request();
    let (Some(group), Some(chord)) = (request.group(), &request.body.embed.chord) else {
        return Err(Error::new(ErrorKind::Call, "add to the chord: this task is not a part of a chord"));
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
    // Made before the chord grows, which would wait for ever for what cannot be made. These are the same tasks whenever
    // this run is repeated, or a step of this is: the part counts once.
    let run = IdSeed::of_run(request.id().map_or("", |id| id.as_str()), request.retries());
    let seed = run.at(b"added").at(&ctx.additions().next_place().to_be_bytes());
    let ready = ReadyWorkflow::new(&app, publisher, publisher.ids_from(seed), node, SendWith::default())?;
    let added = ready.result().id.clone();
    let (backend, chords) = chords(app.backend())?;
    // From here on the chord waits for one task more. Where that cannot be sent, this waits, since the chord would wait
    // for ever. Where the run ends first, its worker counts the part as failed, and where its worker dies, the run
    // comes again and adds it again.
    ctx.additions().begin(&added);
    let _waits = ctx.wait();
    ctx.store_policy()?.run(backend.address(), || chords.grow(group, &added, ttl)).await?;
    loop {
        match ready.clone().send(&app, publisher).await {
            Err(error) if error.is_outage() => {
                let group = &*printable_text(group);
                tracing::warn!(error = %with_causes(&error), group, "could not add to the chord {group}; trying again in {RETRY_INTERVAL:?}");
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Err(error) => return Err(error),
            Ok(result) => {
                ctx.additions().sent(&added);
                return Ok(result);
            }
        }
    }
}

/// How long `add_to_chord` waits before it tries again to send.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl Node {
    /// This signature as the one that replaces the task of `request`.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] for an empty chain, and for a step after the task that cannot be read.
    #[doc(hidden)]
    pub fn in_place_of(self, request: &Request, planner: &mut Planner) -> Result<Self> {
        let mut node = match self {
            // The task has one result: the list of what the group returns.
            node if node.ends_with_a_group() => node.pipe(accumulate()?),
            node => node,
        };
        if node.is_empty() {
            return Err(Error::new(ErrorKind::Call, "replace a task with an empty chain: it has no task"));
        }
        request.callbacks().iter().cloned().for_each(|callback| node.link(callback));
        request.errbacks().iter().cloned().for_each(|errback| node.link_error(errback));
        if let Self::Chain(chain) = &mut node {
            move_links_to_steps(chain);
        }
        let headers = &request.headers;
        let workflow = WorkflowIds {
            id: request.id(),
            root: headers.root_id.as_ref(),
            group: request.group(),
            index: request.group_index(),
            chord: request.body.embed.chord.as_ref(),
        };
        node.freeze(workflow, planner.ids())?;
        let nesting = headers.replaced_task_nesting + 1;
        node.each_step(&mut |options| options.rare_mut().replaced_task_nesting = Some(nesting));
        for step in request.chain()?.iter().rev() {
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

/// `celery.accumulate`, which returns its argument.
fn accumulate() -> Result<Node> {
    let kwargs = vec![("index".to_owned(), Json::from_text("0")?)];
    let mut signature = WireSignature::new("celery.accumulate");
    signature.kwargs = kwargs;
    Node::from_wire(&signature)
}
