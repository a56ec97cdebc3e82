//! A signature of any kind: a task, a chain, a group, a chord.

use apium_protocol::message::signature::Signature as WireSignature;

use crate::canvas::pipe::unchained;
use crate::error::Result;
use crate::options::call_options::CallOptions;
use crate::publish::prepare::CallSpec;

/// A signature of any kind.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are tasks")]
pub enum Node {
    /// One task.
    Task(TaskNode),
    /// Tasks one after the other, each with the result of the one before.
    Chain(ChainNode),
    /// Tasks side by side.
    Group(GroupNode),
    /// Tasks side by side, and then one with the list of their results.
    Chord(ChordNode),
}

/// What [`each`](crate::signature::signature::Signature::each) does to a task.
pub(crate) type TaskChange<'a> = dyn FnMut(TaskNode) -> Result<TaskNode> + 'a;

/// One task with its arguments and options.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskNode {
    /// The call.
    pub call: CallSpec,
    /// Whether it does not get the result of the task before as its first argument.
    pub immutable: bool,
    /// Whether it runs another task for each item of a list (`subtask_type` in messages).
    pub kind: TaskKind,
}

impl TaskNode {
    /// A call that takes the result of the task before it.
    pub fn new(call: CallSpec) -> Self {
        Self { call, immutable: false, kind: TaskKind::Plain }
    }
}

/// Whether it is a plain task, or one that runs another task for each item of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TaskKind {
    /// A plain task.
    #[default]
    Plain,
    /// `celery.map`: runs the inner task with each item as its argument.
    Map,
    /// `celery.starmap`: runs the inner task with each item as its list of arguments.
    Starmap,
}

/// Tasks one after the other.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ChainNode {
    /// The steps; no step is a chain.
    pub steps: Vec<Node>,
    /// Options of the whole chain: `link` goes to the last step, `link_error` to every step, the others to the first
    /// step.
    pub options: CallOptions,
}

/// Tasks side by side.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct GroupNode {
    /// The members.
    pub members: Vec<Node>,
    /// Options of every member, which replace the member's own; `task_id` is the id of the group.
    pub options: CallOptions,
}

/// Tasks side by side, and one that runs after all of them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChordNode {
    /// The tasks side by side.
    pub header: GroupNode,
    /// What runs after them, with the list of their results.
    pub body: Box<Node>,
    /// Options of the whole chord: `link` and `link_error` go to the body, `countdown` and `eta` to the header, the
    /// others to both.
    pub options: CallOptions,
    /// Errbacks that were linked to the whole chord. The body has them already; a setting gives them to the header too.
    pub(crate) errbacks: Vec<WireSignature>,
}

impl GroupNode {
    /// Changes the first task of each member.
    pub(crate) fn each_first(&mut self, change: &mut dyn FnMut(&mut TaskNode)) {
        self.members.iter_mut().for_each(|member| member.each_first(change));
    }
}

impl ChordNode {
    /// A chord of this header and this body. As in Celery the group is no group any more: but for its id, its options
    /// are gone.
    pub fn new(mut header: GroupNode, body: Node) -> Self {
        let id = header.options.task_id.take();
        header.options = CallOptions { task_id: id, ..CallOptions::default() };
        Self { header, body: Box::new(body), options: CallOptions::default(), errbacks: Vec::new() }
    }
}

impl Node {
    /// A chain of these, joined by [`pipe`](Self::pipe). One that begins with a group is a chord, as in Celery. The
    /// options of chains among them are gone.
    pub fn chain(steps: impl IntoIterator<Item = Self>) -> Self {
        let mut steps = steps.into_iter().peekable();
        let first = match steps.next() {
            None => return Self::Chain(ChainNode::default()),
            Some(Self::Chain(first)) => {
                Self::Chain(ChainNode { steps: unchained(first), options: CallOptions::default() })
            }
            Some(first) => first,
        };
        let becomes_chord = steps.peek().is_some() && begins_with_a_group(&first);
        match steps.fold(first, Self::pipe) {
            chain @ Self::Chain(_) => chain,
            chord if becomes_chord => chord,
            single => Self::Chain(ChainNode { steps: vec![single], options: CallOptions::default() }),
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

    /// Its options, for changing them.
    pub fn options_mut(&mut self) -> &mut CallOptions {
        match self {
            Self::Task(task) => &mut task.call.options,
            Self::Chain(chain) => &mut chain.options,
            Self::Group(group) => &mut group.options,
            Self::Chord(chord) => &mut chord.options,
        }
    }

    /// Sets whether it ignores the result of the task before (Celery: `immutable`). A chain passes this to its first
    /// step, a group to every member, a chord to its header.
    pub fn set_immutable(&mut self, immutable: bool) {
        self.each_first(&mut |task| task.immutable = immutable);
    }

    /// Changes its first tasks: the first step of a chain, every member of a group, every task of a header.
    pub(crate) fn each_first(&mut self, change: &mut dyn FnMut(&mut TaskNode)) {
        match self {
            Self::Task(task) => change(task),
            Self::Chain(chain) => chain.steps.first_mut().into_iter().for_each(|first| first.each_first(change)),
            Self::Group(group) => group.each_first(change),
            Self::Chord(chord) => chord.header.each_first(change),
        }
    }

    /// Changes every task in it, at every depth. Links are not changed.
    ///
    /// # Errors
    /// The first error of `change`.
    pub(crate) fn change_tasks(&mut self, change: &mut TaskChange<'_>) -> Result<()> {
        match self {
            Self::Task(task) => {
                let changed = change(task.clone())?;
                *task = changed;
                Ok(())
            }
            Self::Chain(chain) => chain.steps.iter_mut().try_for_each(|step| step.change_tasks(change)),
            Self::Group(group) => group.members.iter_mut().try_for_each(|member| member.change_tasks(change)),
            Self::Chord(chord) => {
                chord.header.members.iter_mut().try_for_each(|member| member.change_tasks(change))?;
                chord.body.change_tasks(change)
            }
        }
    }

    /// Adds a callback, which runs on success: after the last step of a chain, after the body of a chord, after the
    /// first member of a group (and without its result, as in Celery).
    pub fn link(&mut self, callback: WireSignature) {
        match self {
            Self::Task(_) | Self::Chain(_) => add_link(&mut self.options_mut().rare_mut().link, callback),
            Self::Group(group) => {
                if let Some(first) = group.members.first_mut() {
                    first.link(immutable_link(callback));
                }
            }
            Self::Chord(chord) => chord.body.link(callback),
        }
    }

    /// Adds an errback, which runs on failure: of each step of a chain, of each member of a group, of the body of a
    /// chord (and of each task of its header, with the setting `task_allow_error_cb_on_chord_header`).
    pub fn link_error(&mut self, errback: WireSignature) {
        match self {
            Self::Task(_) | Self::Chain(_) => add_link(&mut self.options_mut().rare_mut().link_error, errback),
            Self::Group(group) => group.members.iter_mut().for_each(|member| member.link_error(errback.clone())),
            Self::Chord(chord) => {
                for member in &mut chord.header.members {
                    if matches!(member, Self::Chord(_)) {
                        member.link_error(errback.clone());
                    }
                }
                add_link(&mut chord.errbacks, errback.clone());
                chord.body.link_error(errback);
            }
        }
    }

    /// Whether it is a chain without steps or a group without members.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Task(_) | Self::Chord(_) => false,
            Self::Chain(chain) => chain.steps.is_empty(),
            Self::Group(group) => group.members.is_empty(),
        }
    }
}

impl Node {
    /// Whether what runs last is a group: the last step of a chain, the body of a chord, and so on inwards. A task
    /// after it waits for all members of that group.
    pub(crate) fn ends_with_a_group(&self) -> bool {
        match self {
            Self::Task(_) => false,
            Self::Chain(chain) => chain.steps.last().is_some_and(Self::ends_with_a_group),
            Self::Group(_) => true,
            Self::Chord(chord) => chord.body.ends_with_a_group(),
        }
    }
}

/// Whether it begins with a group of more than one member.
fn begins_with_a_group(node: &Node) -> bool {
    match node {
        Node::Group(group) => group.members.len() > 1,
        Node::Chain(chain) => chain.steps.first().is_some_and(begins_with_a_group),
        Node::Task(_) | Node::Chord(_) => false,
    }
}

/// What `link` and `link_error` take: a signature of any type.
pub trait IntoWireSignature {
    /// The signature as messages carry it.
    ///
    /// # Errors
    /// An argument that cannot be encoded.
    fn into_wire(self) -> Result<WireSignature>;
}

impl IntoWireSignature for WireSignature {
    fn into_wire(self) -> Result<WireSignature> {
        Ok(self)
    }
}

/// A signature of any type, which can become a node.
pub trait IntoNode {
    /// The node.
    ///
    /// # Errors
    /// An argument that cannot be encoded.
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

/// A callback that takes no result. In a group or a chord the first tasks ignore it; as in Celery a chain does not keep
/// the mark on the wire, so its first step takes the result.
fn immutable_link(mut callback: WireSignature) -> WireSignature {
    callback.immutable = true;
    match Node::from_wire(&callback) {
        Ok(mut node @ (Node::Group(_) | Node::Chord(_))) => {
            node.set_immutable(true);
            node.to_wire().unwrap_or(callback)
        }
        _ => callback,
    }
}

/// Adds a signature to a list of links, unless it is in the list already.
pub(crate) fn add_link(list: &mut Vec<WireSignature>, signature: WireSignature) {
    if !list.contains(&signature) {
        list.push(signature);
    }
}
