//! `|`: one signature after another, by Celery's rules.
//!
//! A task after a group makes both a chord; a task after a chord goes behind its body; chains are flattened; a group of
//! one is its member; an empty group adds nothing.

use apium_protocol::message::signature::Signature as WireSignature;

use crate::canvas::node::{ChainNode, ChordNode, GroupNode, Node, TaskNode};
use crate::options::call_options::CallOptions;

impl Node {
    /// This and then `right`.
    #[must_use]
    pub fn pipe(self, right: Self) -> Self {
        let right = unrolled(right);
        if matches!(&right, Self::Group(group) if group.members.is_empty()) {
            return self;
        }
        match (self, right) {
            (left, Self::Chain(chain)) => unchained(chain).into_iter().fold(left, Self::pipe),
            (Self::Chain(mut chain), right) => {
                // Options of the whole stay the whole's; `link` was the last step's and is not the new one's.
                settle_links(&mut chain);
                match chain.steps.pop() {
                    None => return right,
                    Some(last) => {
                        let (last, right) = after(last, right);
                        chain.steps.push(last);
                        chain.steps.extend(right);
                    }
                }
                Self::Chain(chain)
            }
            (left, right) => match after(left, right) {
                (joined, None) => joined,
                (left, Some(right)) => {
                    Self::Chain(ChainNode { steps: vec![left, right], options: CallOptions::default() })
                }
            },
        }
    }
}

/// `right`, which is no chain, after one step that is none: two steps, or one that is both.
fn after(left: Node, right: Node) -> (Node, Option<Node>) {
    match (left, right) {
        (Node::Group(group), right) => (Node::Chord(ChordNode::new(group, right)), None),
        // Two chords stand one after the other.
        (left @ Node::Chord(_), right @ Node::Chord(_)) => (left, Some(right)),
        (Node::Chord(mut chord), right) => {
            let body = std::mem::replace(&mut *chord.body, Node::Chain(ChainNode::default()));
            *chord.body = body.pipe(right);
            (Node::Chord(chord), None)
        }
        (left, right) => (left, Some(right)),
    }
}

/// A group of one is its member.
pub(crate) fn unrolled(node: Node) -> Node {
    match node {
        Node::Group(mut group) if group.members.len() == 1 => match group.members.pop() {
            Some(one) => unrolled(one),
            None => Node::Group(group),
        },
        node => node,
    }
}

/// The steps of a chain, with what its options say about each.
pub(crate) fn unchained(mut chain: ChainNode) -> Vec<Node> {
    settle_links(&mut chain);
    let ChainNode { mut steps, mut options } = chain;
    if options == CallOptions::default() {
        return steps;
    }
    // The id is the last one's, and where the chain stands is no option of its first step.
    if let (Some(id), Some(last)) = (options.task_id.take(), steps.last_mut()) {
        last.options_mut().task_id.get_or_insert(id);
    }
    if let Some(rare) = &mut options.rare {
        (rare.group_id, rare.group_index, rare.chord) = (None, None, None);
        (rare.root_id, rare.parent_id) = (None, None);
    }
    if let Some(first) = steps.first_mut() {
        first.options_mut().fill_from(&options);
    }
    steps
}

/// Moves the links of a chain to its steps.
pub(crate) fn settle_links(chain: &mut ChainNode) {
    let Some(rare) = &mut chain.options.rare else { return };
    let (link, link_error) = (std::mem::take(&mut rare.link), std::mem::take(&mut rare.link_error));
    match chain.steps.last_mut() {
        // Each member's value is one that the chain ends with.
        Some(Node::Group(group)) => link_members(group, &link),
        Some(last) => link.into_iter().for_each(|callback| last.link(callback)),
        None => {}
    }
    for step in &mut chain.steps {
        link_error.iter().for_each(|errback| step.link_error(errback.clone()));
    }
}

/// Links callbacks to every member of a group, with its own value.
pub(crate) fn link_members(group: &mut GroupNode, callbacks: &[WireSignature]) {
    for member in &mut group.members {
        match member {
            Node::Group(inner) => link_members(inner, callbacks),
            member => callbacks.iter().for_each(|callback| member.link(callback.clone())),
        }
    }
}

impl From<TaskNode> for Node {
    fn from(task: TaskNode) -> Self {
        Self::Task(task)
    }
}
