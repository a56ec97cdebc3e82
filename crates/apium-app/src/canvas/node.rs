//! A signature of any kind: a task, a chain, a group, a chord.

use apium_protocol::message::signature::Signature as WireSignature;

use crate::error::Result;
use crate::options::call_options::CallOptions;
use crate::publish::prepare::CallSpec;

/// A signature of any kind.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are tasks")]
pub enum Node {
    /// One task.
    Task(TaskNode),
    /// One after the other, each with the result of the one before.
    Chain(ChainNode),
    /// Side by side.
    Group(GroupNode),
    /// Side by side, and then one with the list of their results.
    Chord(ChordNode),
}

/// One task with its arguments and options.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskNode {
    /// The call.
    pub call: CallSpec,
    /// Whether what the task before returned is not put in front of its arguments.
    pub immutable: bool,
    /// What Celery calls it in `subtask_type`.
    pub kind: TaskKind,
}

impl TaskNode {
    /// A call that takes the result of the task before it.
    pub fn new(call: CallSpec) -> Self {
        Self { call, immutable: false, kind: TaskKind::Plain }
    }
}

/// Whether a task stands for itself, or runs another one for each item of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TaskKind {
    /// For itself.
    #[default]
    Plain,
    /// `celery.map`: the inner task with each item.
    Map,
    /// `celery.starmap`: the inner task with each item as its arguments.
    Starmap,
}

/// Tasks one after the other.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ChainNode {
    /// The steps; none is a chain.
    pub steps: Vec<Node>,
    /// Options of the whole: `link` is the last step's, `link_error` every step's, the others are the first one's.
    pub options: CallOptions,
}

/// Tasks side by side.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct GroupNode {
    /// The members.
    pub members: Vec<Node>,
    /// Options of every member, over its own; `task_id` is the group's id.
    pub options: CallOptions,
}

/// Tasks side by side with one that waits for all.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChordNode {
    /// The tasks.
    pub header: GroupNode,
    /// What runs with the list of their results.
    pub body: Box<Node>,
    /// Options of the whole: `link` and `link_error` are the body's, `countdown` and `eta` the header's, the others
    /// both's.
    pub options: CallOptions,
    /// Errbacks that were linked to the whole. They are the body's already; a setting makes them the header's too.
    pub(crate) errbacks: Vec<WireSignature>,
}

impl GroupNode {
    /// Changes each task that begins a member.
    pub(crate) fn each_first(&mut self, change: &mut dyn FnMut(&mut TaskNode)) {
        self.members.iter_mut().for_each(|member| member.each_first(change));
    }
}

impl ChordNode {
    /// A chord.
    pub fn new(header: GroupNode, body: Node) -> Self {
        Self { header, body: Box::new(body), options: CallOptions::default(), errbacks: Vec::new() }
    }
}

impl Node {
    /// A chain of these, joined by [`pipe`](Self::pipe); what begins with a group is a chord, as in Celery.
    pub fn chain(steps: impl IntoIterator<Item = Self>) -> Self {
        let mut steps = steps.into_iter().peekable();
        let Some(first) = steps.next() else { return Self::Chain(ChainNode::default()) };
        let bare = steps.peek().is_some() && begins_with_a_group(&first);
        match steps.fold(first, Self::pipe) {
            chain @ Self::Chain(_) => chain,
            chord if bare => chord,
            one => Self::Chain(ChainNode { steps: vec![one], options: CallOptions::default() }),
        }
    }

    /// A group of these.
    pub fn group(members: impl IntoIterator<Item = Self>) -> Self {
        Self::Group(GroupNode { members: members.into_iter().collect(), options: CallOptions::default() })
    }

    /// A chord of these and a body.
    pub fn chord(header: impl IntoIterator<Item = Self>, body: Self) -> Self {
        let header = GroupNode { members: header.into_iter().collect(), options: CallOptions::default() };
        Self::Chord(ChordNode::new(header, body))
    }

    /// Its options.
    pub fn options(&self) -> &CallOptions {
        match self {
            Self::Task(task) => &task.call.options,
            Self::Chain(chain) => &chain.options,
            Self::Group(group) => &group.options,
            Self::Chord(chord) => &chord.options,
        }
    }

    /// Its options, to be changed.
    pub fn options_mut(&mut self) -> &mut CallOptions {
        match self {
            Self::Task(task) => &mut task.call.options,
            Self::Chain(chain) => &mut chain.options,
            Self::Group(group) => &mut group.options,
            Self::Chord(chord) => &mut chord.options,
        }
    }

    /// Whether it takes what the task before returned; of a group and a chord each task that begins it.
    pub fn set_immutable(&mut self, immutable: bool) {
        self.each_first(&mut |task| task.immutable = immutable);
    }

    /// Changes each task that begins it: the first step of a chain, every member of a group, every task of a header.
    pub(crate) fn each_first(&mut self, change: &mut dyn FnMut(&mut TaskNode)) {
        match self {
            Self::Task(task) => change(task),
            Self::Chain(chain) => chain.steps.first_mut().into_iter().for_each(|first| first.each_first(change)),
            Self::Group(group) => group.each_first(change),
            Self::Chord(chord) => chord.header.each_first(change),
        }
    }

    /// A task to run on success: of a chain after the last step, of a chord after the body, of a group after its first
    /// member and without its result, as in Celery.
    pub fn link(&mut self, callback: WireSignature) {
        match self {
            Self::Task(_) | Self::Chain(_) => add(&mut self.options_mut().rare_mut().link, callback),
            Self::Group(group) => {
                if let Some(first) = group.members.first_mut() {
                    let mut callback = callback;
                    callback.immutable = true;
                    first.link(callback);
                }
            }
            Self::Chord(chord) => chord.body.link(callback),
        }
    }

    /// A task to run on failure: of a chain for each step, of a group for each member, of a chord for the body (and for
    /// each task of its header, where it is sent under `task_allow_error_cb_on_chord_header`).
    pub fn link_error(&mut self, errback: WireSignature) {
        match self {
            Self::Task(_) | Self::Chain(_) => add(&mut self.options_mut().rare_mut().link_error, errback),
            Self::Group(group) => group.members.iter_mut().for_each(|member| member.link_error(errback.clone())),
            Self::Chord(chord) => {
                for member in &mut chord.header.members {
                    if matches!(member, Self::Chord(_)) {
                        member.link_error(errback.clone());
                    }
                }
                add(&mut chord.errbacks, errback.clone());
                chord.body.link_error(errback);
            }
        }
    }

    /// Whether there is nothing in it to run.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Task(_) | Self::Chord(_) => false,
            Self::Chain(chain) => chain.steps.is_empty(),
            Self::Group(group) => group.members.is_empty(),
        }
    }
}

/// Whether it begins with a group of more than one.
fn begins_with_a_group(node: &Node) -> bool {
    match node {
        Node::Group(group) => group.members.len() > 1,
        Node::Chain(chain) => chain.steps.first().is_some_and(begins_with_a_group),
        Node::Task(_) | Node::Chord(_) => false,
    }
}

/// What can stand in `link` and `link_error`: a signature of either kind.
pub trait IntoWireSignature {
    /// The signature as it travels.
    ///
    /// # Errors
    /// When its arguments cannot be encoded.
    fn into_wire(self) -> Result<WireSignature>;
}

impl IntoWireSignature for WireSignature {
    fn into_wire(self) -> Result<WireSignature> {
        Ok(self)
    }
}

/// What is a signature, of whatever type.
pub trait IntoNode {
    /// It without its type.
    ///
    /// # Errors
    /// A value that could not be encoded.
    fn into_node(self) -> Result<Node>;
}

impl IntoNode for Node {
    fn into_node(self) -> Result<Node> {
        Ok(self)
    }
}

impl IntoNode for WireSignature {
    fn into_node(self) -> Result<Node> {
        Node::from_wire(&self)
    }
}

/// Adds a signature to a list of links, once.
pub(crate) fn add(list: &mut Vec<WireSignature>, signature: WireSignature) {
    if !list.contains(&signature) {
        list.push(signature);
    }
}
