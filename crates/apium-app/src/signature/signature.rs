//! Signatures: a call or a workflow of calls that is not sent yet. Its types say what it takes and what it returns.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;

use crate::canvas::node::{IntoNode, IntoWireSignature, Node, TaskChange, TaskKind, TaskNode};
use crate::canvas::stamp::{StampVisitor, Stamps};
use crate::error::{Error, Result};
use crate::options::call_options::CallOptions;
use crate::publish::prepare::CallSpec;
use crate::signature::display::repr;
use crate::signature::fits::Anything;
use crate::task::arguments::Arguments;
use crate::task::definition::TaskDef;

/// A task with arguments and options, or several tasks joined by `|`, which is not sent yet.
///
/// `In` is what it takes from the task before it: `()` where all arguments are given (`add::s(2, 2)`), the type of the
/// first parameter where that is left out (`add::p(2)`), [`Anything`] where the result before is ignored
/// (`add::si(2, 2)`). `Out` is what it returns. An argument that could not be encoded is an error when it is sent.
#[must_use = "a signature does nothing until it is sent"]
pub struct Signature<In: ?Sized, Out> {
    node: Node,
    /// Whether all arguments are given. After another task, such a signature ignores the result.
    complete: bool,
    first_error: Option<Arc<Error>>,
    types: PhantomData<fn(*const In) -> Out>,
}

/// The arguments of a chain, a group and a chord.
static NO_ARGUMENTS: Arguments = Arguments { args: Vec::new(), kwargs: Vec::new() };

impl<Out> Signature<(), Out> {
    /// A signature of a task of this program, by its name.
    pub fn new(task: impl Into<Cow<'static, str>>, arguments: Result<Arguments>) -> Self {
        Self::task_of(task.into(), arguments, None, false)
    }

    /// A signature of a `#[task]` function. The attribute's code calls it.
    pub fn of_def(def: &'static TaskDef, arguments: Result<Arguments>) -> Self {
        Self::task_of(Cow::Borrowed(def.name), arguments, Some(def), false)
    }

    /// A signature of a task of another program. The code of `extern_task!` calls it.
    pub fn of_extern(def: &'static TaskDef, arguments: Result<Arguments>) -> Self {
        Self::task_of(Cow::Borrowed(def.name), arguments, Some(def), true)
    }

    /// The same signature, which ignores the result of the task before and so may follow any task. `add::si(…)` is
    /// `add::s(…)` with this.
    pub fn into_immutable(mut self) -> Signature<Anything, Out> {
        self.node.set_immutable(true);
        self.cast()
    }
}

impl<Out> Signature<Anything, Out> {
    /// A signature of a task that need not be in this program (Celery: `send_task`, `signature("name")`).
    pub fn by_name(task: impl Into<String>, arguments: Result<Arguments>) -> Self {
        // Without a definition it is not known whether all arguments are given.
        Self { complete: false, ..Self::task_of(Cow::Owned(task.into()), arguments, None, true) }
    }

    /// The same signature with `In` as its first argument, which it ignores. For a group or a join whose other members
    /// take an `In`.
    pub fn taking<In: ?Sized>(self) -> Signature<In, Out> {
        self.cast()
    }
}

impl<In: ?Sized, Out> Signature<In, Out> {
    fn task_of(
        task: Cow<'static, str>,
        arguments: Result<Arguments>,
        def: Option<&'static TaskDef>,
        by_name: bool,
    ) -> Self {
        let (arguments, first_error) = match arguments {
            Ok(arguments) => (arguments, None),
            Err(error) => (Arguments::default(), Some(Arc::new(error))),
        };
        let call = CallSpec { task, arguments, options: CallOptions::default(), def, by_name };
        let node = Node::Task(TaskNode { call, immutable: false, kind: TaskKind::Plain });
        Self { node, complete: true, first_error, types: PhantomData }
    }

    /// The signature of a node. Nothing checks that it has these types.
    pub fn of_node(node: Node) -> Self {
        Self { node, complete: false, first_error: None, types: PhantomData }
    }

    pub(crate) fn of_parts(node: Node, complete: bool, first_error: Option<Arc<Error>>) -> Self {
        Self { node, complete, first_error, types: PhantomData }
    }

    /// Its node, whether it is complete, and its first error.
    pub(crate) fn into_parts(self) -> (Node, bool, Option<Arc<Error>>) {
        (self.node, self.complete, self.first_error)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The same signature with other types, which nothing checks. For tasks without types, and for types that can be
    /// read from each other's JSON.
    pub fn cast<NewIn: ?Sized, NewOut>(self) -> Signature<NewIn, NewOut> {
        Signature { node: self.node, complete: false, first_error: self.first_error, types: PhantomData }
    }

    /// Sets whether it ignores the result of the task before (Celery: `immutable`). Its types stay; to change them too,
    /// see [`into_immutable`](Signature::into_immutable).
    pub fn immutable(mut self, immutable: bool) -> Self {
        self.node.set_immutable(immutable);
        self
    }

    /// The signature without types.
    pub fn node(&self) -> &Node {
        &self.node
    }

    pub(crate) fn node_mut(&mut self) -> &mut Node {
        &mut self.node
    }

    /// The name of the task; of a chain, a group and a chord the one that Celery gives them (`celery.chain`, …).
    pub fn task(&self) -> &str {
        match &self.node {
            Node::Task(task) => &task.call.task,
            Node::Chain(_) => "celery.chain",
            Node::Group(_) => "celery.group",
            Node::Chord(_) => "celery.chord",
        }
    }

    /// The arguments of a task. A chain, a group and a chord have none of their own.
    pub fn arguments(&self) -> &Arguments {
        match &self.node {
            Node::Task(task) => &task.call.arguments,
            _ => &NO_ARGUMENTS,
        }
    }

    /// The positional arguments of a task.
    pub fn args(&self) -> &[Json] {
        &self.arguments().args
    }

    /// The keyword arguments of a task.
    pub fn kwargs(&self) -> &[(String, Json)] {
        &self.arguments().kwargs
    }

    /// The id, if one was set or [`freeze`](Self::freeze) gave it one.
    pub fn id(&self) -> Option<&TaskId> {
        self.options().task_id.as_ref()
    }

    /// The options.
    pub fn options(&self) -> &CallOptions {
        self.node.options()
    }

    /// The options, for changing them.
    pub fn options_mut(&mut self) -> &mut CallOptions {
        self.node.options_mut()
    }

    pub(crate) fn add_link(&mut self, callback: WireSignature) {
        self.node.link(callback);
    }

    pub(crate) fn add_link_error(&mut self, errback: WireSignature) {
        self.node.link_error(errback);
    }

    pub(crate) fn visit(&mut self, visitor: &mut dyn StampVisitor, stamps: &Stamps, append: bool) {
        if let Err(error) = self.node.stamp(visitor, stamps, append) {
            self.fail(error);
        }
    }

    pub(crate) fn change_tasks(&mut self, change: &mut TaskChange<'_>) -> Result<()> {
        self.node.change_tasks(change)
    }

    /// This signature and all its callbacks, each followed by its own callbacks (Celery: `flatten_links`).
    ///
    /// # Errors
    /// An argument that could not be encoded, or a callback that is not a signature.
    pub fn flatten_links(&self) -> Result<Vec<WireSignature>> {
        let mut flat = vec![self.to_wire()?];
        let mut next = 0;
        while let Some(signature) = flat.get(next) {
            let links = signature.options.get("link").map(|links| links.decode::<Vec<WireSignature>>()).transpose()?;
            next += 1;
            flat.splice(next..next, links.unwrap_or_default());
        }
        Ok(flat)
    }

    /// Records an error, unless there is an earlier one. Sending the signature returns it.
    pub(crate) fn fail(&mut self, error: Error) {
        self.first_error.get_or_insert_with(|| Arc::new(error));
    }

    pub(crate) fn check(&self) -> Result<()> {
        match &self.first_error {
            Some(error) => Err(Error::new(error.kind(), format!("call {}", self.task())).with_source(error.clone())),
            None => Ok(()),
        }
    }

    /// The node, or the first error.
    pub(crate) fn into_node(self) -> Result<Node> {
        self.check()?;
        Ok(self.node)
    }

    /// The signature as messages carry it.
    ///
    /// # Errors
    /// An argument or an option that could not be encoded.
    pub fn to_wire(&self) -> Result<WireSignature> {
        self.check()?;
        self.node.to_wire()
    }

    /// A signature that a message carries. Nothing checks that it has these types.
    ///
    /// # Errors
    /// As [`Node::from_wire`].
    pub fn from_wire(wire: &WireSignature) -> Result<Self> {
        Ok(Self::of_node(Node::from_wire(wire)?))
    }
}

impl<In: ?Sized, Out> IntoWireSignature for Signature<In, Out> {
    fn into_wire(self) -> Result<WireSignature> {
        self.to_wire()
    }
}

impl<In: ?Sized, Out> IntoNode for Signature<In, Out> {
    fn into_node(self) -> Result<Node> {
        Self::into_node(self)
    }
}

impl<In: ?Sized, Out> Clone for Signature<In, Out> {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
            complete: self.complete,
            first_error: self.first_error.clone(),
            types: PhantomData,
        }
    }
}

impl<In: ?Sized, Out> std::fmt::Display for Signature<In, Out> {
    /// As Celery shows it: `tasks.add(2, 2) | mul(3)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&repr(&self.node))
    }
}

impl<In: ?Sized, Out> std::fmt::Debug for Signature<In, Out> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
