//! `|`: one signature after another, by Celery's rules.
//!
//! A group and a task after it become a chord. A task after a chord is added after its body. A chain inside a chain
//! becomes its steps, and a group of one becomes its member. An empty group adds nothing.

use apium_protocol::message::signature::Signature as WireSignature;

use crate::canvas::merge::with_stored;
use crate::canvas::node::{ChainNode, ChordNode, GroupNode, Node, TaskNode};
use crate::options::call_options::CallOptions;

impl Node {
    /// This signature, followed by `right`.
    #[must_use]
    pub fn pipe(self, right: Self) -> Self {
        let right = unrolled(right);
        if matches!(&right, Self::Group(group) if group.members.is_empty()) {
            return self;
        }
        match (self, right) {
            (left @ Self::Group(_), Self::Chain(chain)) => {
                let (steps, options) = unchained_with_options(chain);
                let mut joined = steps.into_iter().fold(left, Self::pipe);
                if let Self::Chord(chord) = &mut joined {
                    // The chain is the body, as it is.
                    let own = std::mem::take(chord.body.options_mut());
                    *chord.body.options_mut() = with_stored(options, own);
                }
                joined
            }
            (left, Self::Chain(chain)) => unchained(chain).into_iter().fold(left, Self::pipe),
            (Self::Chain(mut chain), right) => {
                if keeps_its_options(&chain, &right) {
                    // Its `link` belongs to the step that was last until now.
                    move_links_to_steps(&mut chain);
                } else {
                    chain = ChainNode { steps: unchained(chain), options: CallOptions::default() };
                }
                match chain.steps.pop() {
                    None => return right,
                    Some(last) => {
                        let (last, right) = join_steps(last, right);
                        chain.steps.push(last);
                        chain.steps.extend(right);
                    }
                }
                Self::Chain(chain)
            }
            (left, right) => match join_steps(left, right) {
                (joined, None) => joined,
                (left, Some(right)) => {
                    Self::Chain(ChainNode { steps: vec![left, right], options: CallOptions::default() })
                }
            },
        }
    }
}

/// Whether a chain stays the same chain when `right` follows it, with its options. As in Celery it does where `right`
/// joins its last step. Otherwise they are a new chain.
fn keeps_its_options(chain: &ChainNode, right: &Node) -> bool {
    match (chain.steps.last(), right) {
        (_, Node::Group(_)) => false,
        (Some(Node::Group(_)), _) => true,
        (Some(Node::Chord(_)), right) => !matches!(right, Node::Chord(_)),
        _ => false,
    }
}

/// Joins two steps, neither of which is a chain: they stay two, or become one.
fn join_steps(left: Node, right: Node) -> (Node, Option<Node>) {
    match (left, right) {
        (Node::Group(group), right) => (Node::Chord(ChordNode::new(group, right)), None),
        // Two chords are two steps.
        (left @ Node::Chord(_), right @ Node::Chord(_)) => (left, Some(right)),
        (Node::Chord(mut chord), right) => {
            let body = std::mem::replace(&mut *chord.body, Node::Chain(ChainNode::default()));
            *chord.body = body.pipe(right);
            (Node::Chord(chord), None)
        }
        (left, right) => (left, Some(right)),
    }
}

/// Replaces a group of one by its member.
pub(crate) fn unrolled(node: Node) -> Node {
    match node {
        Node::Group(mut group) if group.members.len() == 1 => match group.members.pop() {
            Some(one) => unrolled(one),
            None => Node::Group(group),
        },
        node => node,
    }
}

/// The steps of a chain, which is no chain any more. Its links and its id go to the steps. As in Celery its other
/// options are gone.
pub(crate) fn unchained(chain: ChainNode) -> Vec<Node> {
    unchained_with_options(chain).0
}

/// The steps of a chain, and the options that its first step would have from it.
pub(crate) fn unchained_with_options(mut chain: ChainNode) -> (Vec<Node>, CallOptions) {
    move_links_to_steps(&mut chain);
    let ChainNode { mut steps, mut options } = chain;
    if let (Some(id), Some(last)) = (options.task_id.take(), steps.last_mut()) {
        last.options_mut().task_id.get_or_insert(id);
    }
    // The chain's position in its workflow must not reach the first step.
    if let Some(rare) = &mut options.rare {
        (rare.group_id, rare.group_index, rare.chord) = (None, None, None);
        (rare.root_id, rare.parent_id) = (None, None);
    }
    (steps, options)
}

/// Moves the links of a chain to its steps.
pub(crate) fn move_links_to_steps(chain: &mut ChainNode) {
    let Some(rare) = &mut chain.options.rare else { return };
    let (link, link_error) = (std::mem::take(&mut rare.link), std::mem::take(&mut rare.link_error));
    match chain.steps.last_mut() {
        // The group is the end of the chain, so each member has the callback.
        Some(Node::Group(group)) => link_members(group, &link),
        Some(last) => link.into_iter().for_each(|callback| last.link(callback)),
        None => {}
    }
    for step in &mut chain.steps {
        link_error.iter().for_each(|errback| step.link_error(errback.clone()));
    }
}

/// Links callbacks to every member of a group. Each is called with the value of its member.
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
