//! One run of a case: who sends it, and whose workers run which of its tasks.

use std::collections::HashMap;
use std::fmt;

use apium::canvas::{CallSpec, Node, TaskNode, send};
use apium::message::Signature as WireSignature;
use apium::prelude::*;
use apium::result::ResultTuple;
use serde_json::{Value, json};

use crate::canvas::case::{Became, Case};
use crate::canvas::differences::{self, Concerns};
use crate::canvas::shape::Shape;
use crate::canvas::tasks::of_flow;
use crate::side::Side;

/// Which tasks are Rust's and which Python's, in the order in which they stand in the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    Rust,
    Python,
    /// In turn, Rust first.
    RustFirst,
    /// In turn, Python first.
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

/// The queue that workers of a side serve.
pub(crate) fn queue(side: Side) -> &'static str {
    match side {
        Side::Rust => "rust",
        Side::Python => "python",
    }
}

/// One run of a case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) case: &'static Case,
    pub(crate) owners: Owners,
    pub(crate) sender: Side,
}

impl Flow {
    /// What may become of it: one thing, unless it depends on which worker is last.
    pub(crate) fn expected(&self) -> Vec<Became> {
        let mut all = vec![self.case.expected.clone()];
        for difference in differences::ALL {
            let concerns = (difference.concerns)(self);
            if concerns == Concerns::No {
                continue;
            }
            let mut changed = all.clone();
            changed.iter_mut().for_each(|became| (difference.change)(self, became));
            match concerns {
                Concerns::Perhaps => all.extend(changed),
                _ => all = changed,
            }
        }
        all.iter_mut().for_each(|became| became.notes.sort_unstable());
        all
    }

    /// The name that makes its ids.
    pub(crate) fn name(number: usize) -> String {
        format!("f{number}")
    }

    /// Who runs a task of it.
    pub(crate) fn owner(&self, task: &str) -> Side {
        let number = self.case.shape.tasks().iter().position(|name| *name == task);
        self.owners.of(number.unwrap())
    }

    /// For `canvas_client.py`.
    pub(crate) fn request(&self, name: &str, path: &str) -> Value {
        let tasks = self.case.shape.tasks();
        let owners: Vec<&str> = tasks.iter().map(|task| queue(self.owner(task))).collect();
        json!({ "flow": name, "shape": self.case.text, "fails": self.case.fails, "owners": owners, "path": path })
    }

    /// Sends it from Rust; what its sender has in hand.
    pub(crate) async fn send(&self, app: &App, name: &str, path: &str) -> String {
        let place = Site { flow: self, name, path };
        let mut node = place.node(&self.case.shape);
        place.link(&mut node, "whole", self.owner(self.case.shape.tasks()[0]));
        let mut signature = WireSignature::new("canvas.told");
        signature.kwargs = place.kwargs("whole");
        node.link_error(signature);
        told(name, &send(app, node).await.unwrap())
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

/// A flow that is built.
struct Site<'a> {
    flow: &'a Flow,
    name: &'a str,
    path: &'a str,
}

impl Site<'_> {
    fn node(&self, shape: &Shape) -> Node {
        let nodes = |parts: &[Shape]| parts.iter().map(|part| self.node(part)).collect::<Vec<_>>();
        match shape {
            Shape::Task(task) => self.task(task),
            Shape::Chain(steps) => Node::chain(nodes(steps)),
            Shape::Group(members) => Node::group(nodes(members)),
            Shape::Chord(header, body) => Node::chord(nodes(header), self.node(body)),
        }
    }

    fn task(&self, task: &str) -> Node {
        let owner = self.flow.owner(task);
        let mut kwargs = self.kwargs(task);
        kwargs.push((
            "fails".to_owned(),
            Json::from_serialize(&(self.flow.case.fails.as_deref() == Some(task))).unwrap(),
        ));
        let mut options = apium::call::CallOptions::default();
        options.task_id = Some(format!("{}-{task}", self.name).into());
        options.queue = Some(queue(owner).into());
        let arguments = apium::task::Arguments::new(Vec::new(), kwargs);
        let mut call = CallSpec::named("canvas.leaf", arguments);
        call.options = options;
        let mut node = Node::Task(TaskNode::new(call));
        self.link(&mut node, task, owner);
        node
    }

    /// A callback and an errback.
    fn link(&self, node: &mut Node, place: &str, owner: Side) {
        let signature = |task: &str| {
            let mut signature = WireSignature::new(task);
            signature.kwargs = self.kwargs(place);
            signature.options = HashMap::from([("queue", queue(owner))])
                .into_iter()
                .map(|(name, value)| (name.to_owned(), Json::from_serialize(&value).unwrap()))
                .collect();
            signature
        };
        node.link(signature("canvas.ok"));
        node.link_error(signature("canvas.error"));
    }

    fn kwargs(&self, place: &str) -> Vec<(String, Json)> {
        let given = [("path", self.path), ("flow", self.name), ("place", place)];
        given.map(|(name, value)| (name.to_owned(), Json::from_serialize(&value).unwrap())).into()
    }
}

/// A result with its parents as a text, as `canvas_client.py` tells it.
fn told(flow: &str, result: &ResultTuple) -> String {
    let name = match &result.children {
        Some(members) => format!("[{}]", members.iter().map(|member| told(flow, member)).collect::<Vec<_>>().join(",")),
        None => of_flow(flow, result.id.as_str()).to_owned(),
    };
    let parent = result.parent.as_deref().map(|parent| format!("<{}", told(flow, parent)));
    name + &parent.unwrap_or_default()
}
