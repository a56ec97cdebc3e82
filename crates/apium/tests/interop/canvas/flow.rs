//! A flow: a case with the side that sends it, and the sides whose workers run its tasks.

use std::collections::HashMap;
use std::fmt;

use apium::canvas::{CallSpec, ChainNode, Node, TaskNode, send};
use apium::message::Signature as WireSignature;
use apium::prelude::*;
use apium::result::ResultTuple;
use serde_json::{Value, json};

use crate::canvas::case::{Case, Outcome};
use crate::canvas::differences::{self, Applies};
use crate::canvas::shape::{Place, Shape};
use crate::canvas::tasks::of_flow;
use crate::kit::side::Side;

/// Which tasks are run by Rust and which by Python, in the order of the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    Rust,
    Python,
    /// Alternating, Rust first.
    RustFirst,
    /// Alternating, Python first.
    PythonFirst,
}

impl Owners {
    pub(crate) const ALL: [Self; 4] = [Self::Rust, Self::Python, Self::RustFirst, Self::PythonFirst];

    fn of(self, number: usize) -> Side {
        match self {
            Self::Rust => Side::Rust,
            Self::Python => Side::Python,
            Self::RustFirst => [Side::Rust, Side::Python][number % 2],
            Self::PythonFirst => [Side::Python, Side::Rust][number % 2],
        }
    }
}

/// The queue that the workers of a side consume.
pub(crate) fn queue(side: Side) -> &'static str {
    match side {
        Side::Rust => "rust",
        Side::Python => "python",
    }
}

/// A flow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) case: &'static Case,
    pub(crate) owners: Owners,
    pub(crate) sender: Side,
}

impl Flow {
    /// The possible outcomes: one, unless the outcome depends on which worker runs the last task.
    pub(crate) fn expected(&self) -> Vec<Outcome> {
        let mut all = vec![self.case.expected.clone()];
        if self.case.row.is_some() {
            return all;
        }
        for difference in differences::ALL {
            let applies = (difference.applies)(self);
            if applies == Applies::No {
                continue;
            }
            let mut changed = all.clone();
            changed.iter_mut().for_each(|outcome| (difference.change)(self, outcome));
            match applies {
                Applies::Depends => all.extend(changed),
                _ => all = changed,
            }
        }
        all.iter_mut().for_each(|outcome| outcome.done.sort_unstable());
        all
    }

    /// The name from which its ids are made.
    pub(crate) fn name(number: usize) -> String {
        format!("f{number}")
    }

    /// The side that runs a task of it.
    pub(crate) fn owner(&self, task: &str) -> Side {
        let number = self.case.shape.tasks().iter().position(|name| *name == task);
        self.owners.of(number.unwrap())
    }

    /// The request to `canvas_client.py` that sends it.
    pub(crate) fn request(&self, name: &str, path: &str) -> Value {
        let tasks = self.case.shape.tasks();
        let owners: Vec<&str> = tasks.iter().map(|task| queue(self.owner(task))).collect();
        json!({ "flow": name, "shape": self.case.text, "fails": self.case.fails, "owners": owners, "path": path })
    }

    /// Sends it from Rust and returns the result that its sender gets.
    pub(crate) async fn send(&self, app: &App, name: &str, path: &str) -> String {
        let builder = FlowBuilder { flow: self, name, path };
        let mut node = builder.node(&self.case.shape, true);
        builder.link(&mut node, "whole", self.owner(self.case.shape.tasks()[0]));
        let mut signature = WireSignature::new("canvas.called");
        signature.kwargs = builder.kwargs("whole");
        node.link_error(signature);
        result_text(name, &send(app, node).await.unwrap())
    }
}

impl fmt::Display for Flow {
    /// `chain(a,b), a fails, tasks of RustFirst, sent by Python`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, owners, sender } = self;
        let fails = case.fails.as_deref().unwrap_or("nothing");
        write!(f, "{}, {fails} fails, tasks of {owners:?}, sent by {sender:?}", case.text)
    }
}

/// Builds a flow.
struct FlowBuilder<'a> {
    flow: &'a Flow,
    name: &'a str,
    path: &'a str,
}

impl FlowBuilder<'_> {
    /// The node of a part of the shape. The tasks of what replaces a task get their ids from it, and are not `named`.
    fn node(&self, shape: &Shape, named: bool) -> Node {
        let nodes = |parts: &[Shape]| parts.iter().map(|part| self.node(part, named)).collect::<Vec<_>>();
        match shape {
            Shape::Task(task) => self.task("canvas.leaf", task, named, None),
            Shape::Chain(steps) => Node::chain(nodes(steps)),
            Shape::Pipe(steps) => nodes(steps).into_iter().reduce(Node::pipe).unwrap(),
            Shape::Steps(steps) => {
                let mut chain = ChainNode::default();
                chain.steps = nodes(steps);
                Node::Chain(chain)
            }
            Shape::Group(members) => Node::group(nodes(members)),
            Shape::Chord(header, body) => Node::chord(nodes(header), self.node(body, named)),
            Shape::At(Place::Replace, task, with) => {
                let replacement = self.node(with, false).to_wire().unwrap();
                self.task("canvas.replaced", task, named, Some(replacement))
            }
            Shape::At(place, task, linked) => {
                let mut node = self.task("canvas.leaf", task, named, None);
                let linked = self.node(linked, named).to_wire().unwrap();
                match place {
                    Place::Then => node.link(linked),
                    _ => node.link_error(linked),
                }
                node
            }
        }
    }

    fn task(&self, function: &'static str, task: &str, named: bool, replacement: Option<WireSignature>) -> Node {
        let owner = self.flow.owner(task);
        let mut kwargs = self.kwargs(task);
        kwargs.extend(replacement.map(|with| ("replacement".to_owned(), Json::from_serialize(&with).unwrap())));
        kwargs.push((
            "fails".to_owned(),
            Json::from_serialize(&(self.flow.case.fails.as_deref() == Some(task))).unwrap(),
        ));
        let mut options = apium::call::CallOptions::default();
        options.task_id = named.then(|| format!("{}-{task}", self.name).into());
        options.queue = Some(queue(owner).into());
        let arguments = apium::task::Arguments::new(Vec::new(), kwargs);
        let mut call = CallSpec::named(function, arguments);
        call.options = options;
        let mut node = Node::Task(TaskNode::new(call));
        self.link(&mut node, task, owner);
        node
    }

    /// A callback and an errback.
    fn link(&self, node: &mut Node, target: &str, owner: Side) {
        let signature = |task: &str| {
            let mut signature = WireSignature::new(task);
            signature.kwargs = self.kwargs(target);
            signature.options = HashMap::from([("queue", queue(owner))])
                .into_iter()
                .map(|(name, value)| (name.to_owned(), Json::from_serialize(&value).unwrap()))
                .collect();
            signature
        };
        node.link(signature("canvas.ok"));
        node.link_error(signature("canvas.error"));
    }

    fn kwargs(&self, target: &str) -> Vec<(String, Json)> {
        let kwargs = [("path", self.path), ("flow", self.name), ("target", target)];
        kwargs.map(|(name, value)| (name.to_owned(), Json::from_serialize(&value).unwrap())).into()
    }
}

/// A result with its parents as a text, as `canvas_client.py` writes it.
fn result_text(flow: &str, result: &ResultTuple) -> String {
    let name = match &result.children {
        Some(members) => {
            format!("[{}]", members.iter().map(|member| result_text(flow, member)).collect::<Vec<_>>().join(","))
        }
        None => of_flow(flow, result.id.as_str()).to_owned(),
    };
    let parent = result.parent.as_deref().map(|parent| format!("<{}", result_text(flow, parent)));
    name + &parent.unwrap_or_default()
}
