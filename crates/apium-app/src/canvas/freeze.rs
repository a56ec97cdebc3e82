//! Freezing: every task of a signature gets its id before anything is sent, so that results are known and what is sent
//! twice is the same. An id that is there stays.

use std::sync::Arc;

use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultTuple;
use fastrand::Rng;

use crate::canvas::node::{ChainNode, ChordNode, GroupNode, Node};
use crate::canvas::steps::steps;
use crate::error::Result;
use crate::options::call_options::{CallOptions, RareOptions};

/// Where new ids come from.
#[derive(Debug)]
pub struct Ids {
    /// Makes the same ids again for the same seed; without it they are random.
    seeded: Option<Rng>,
    reply_to: Arc<str>,
}

impl Ids {
    /// Random ids. `reply_to` is where replies to what is frozen go.
    pub fn random(reply_to: Arc<str>) -> Self {
        Self { seeded: None, reply_to }
    }

    /// Ids that follow from `seed`: whoever does the same again gives the same ids again.
    pub fn from_seed(seed: u64, reply_to: Arc<str>) -> Self {
        Self { seeded: Some(Rng::with_seed(seed)), reply_to }
    }

    /// One more.
    pub fn next_id(&mut self) -> TaskId {
        match &mut self.seeded {
            Some(rng) => {
                let mut bytes = [0; 16];
                rng.fill(&mut bytes);
                TaskId::from(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
            }
            None => TaskId::random(),
        }
    }
}

/// What a signature is frozen into: its place in what is around it.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkflowIds<'a> {
    /// The id of its result, where it has none.
    pub id: Option<&'a TaskId>,
    /// The first task of all.
    pub root: Option<&'a TaskId>,
    /// The group that it is in.
    pub group: Option<&'a str>,
    /// Its place there.
    pub index: Option<i64>,
    /// The body that its end counts for.
    pub chord: Option<&'a Arc<WireSignature>>,
}

impl Node {
    /// Gives ids to all of it. The result of a chain is its last step's, that of a chord its body's, with what comes
    /// before as parents; a group's is one with members.
    ///
    /// # Errors
    /// When an option cannot be encoded: the body of a chord travels with its header.
    pub fn freeze(&mut self, frame: WorkflowIds<'_>, ids: &mut Ids) -> Result<ResultTuple> {
        match self {
            Self::Task(task) => Ok(ResultTuple::task(settle(&mut task.call.options, frame, ids))),
            Self::Chain(chain) => freeze_chain(chain, frame, ids),
            Self::Group(group) => group.freeze(frame, ids),
            Self::Chord(chord) => chord.freeze(frame, ids),
        }
    }
}

/// Writes the place of a task into its options.
fn settle(options: &mut CallOptions, frame: WorkflowIds<'_>, ids: &mut Ids) -> TaskId {
    let id = options.task_id.get_or_insert_with(|| frame.id.cloned().unwrap_or_else(|| ids.next_id())).clone();
    let rare = options.rare_mut();
    rare.reply_to.get_or_insert_with(|| ids.reply_to.clone());
    place(rare, frame);
    id
}

fn place(rare: &mut RareOptions, frame: WorkflowIds<'_>) {
    if let Some(root) = frame.root {
        rare.root_id = Some(root.clone());
    }
    // Whoever was put into a group first keeps it there.
    if let (None, Some(group)) = (&rare.group_id, frame.group) {
        rare.group_id = Some(group.to_owned());
    }
    if let Some(chord) = frame.chord {
        rare.chord = Some(chord.clone());
    }
    if frame.index.is_some() {
        rare.group_index = frame.index;
    }
}

fn freeze_chain(chain: &mut ChainNode, frame: WorkflowIds<'_>, ids: &mut Ids) -> Result<ResultTuple> {
    chain.steps = steps(std::mem::take(&mut chain.steps));
    freeze_steps(&mut chain.steps, frame, ids)
}

/// Freezes steps that are in order already. The frame is the last one's.
pub(crate) fn freeze_steps(list: &mut [Node], frame: WorkflowIds<'_>, ids: &mut Ids) -> Result<ResultTuple> {
    let mut frame = frame;
    let mut results = Vec::with_capacity(list.len());
    for step in list.iter_mut().rev() {
        results.push(step.freeze(frame, ids)?);
        frame = WorkflowIds { root: frame.root, ..WorkflowIds::default() };
    }
    // The first step's is the last one here.
    let result = results.into_iter().rev().reduce(|before, mut result| {
        put_behind(&mut result, before);
        result
    });
    Ok(result.unwrap_or_else(|| ResultTuple::group(ids.next_id(), Vec::new())))
}

/// Makes `before` what comes before all of `result`.
pub(crate) fn put_behind(result: &mut ResultTuple, before: ResultTuple) {
    match &mut result.parent {
        Some(parent) => put_behind(parent, before),
        parent => *parent = Some(Box::new(before)),
    }
}

impl GroupNode {
    /// Gives ids to the members. Groups inside it become its members.
    pub(crate) fn freeze(&mut self, frame: WorkflowIds<'_>, ids: &mut Ids) -> Result<ResultTuple> {
        self.flatten();
        let id = self.options.task_id.get_or_insert_with(|| ids.next_id()).clone();
        if frame.group.is_some() || frame.chord.is_some() || frame.index.is_some() || frame.root.is_some() {
            place(self.options.rare_mut(), frame);
        }
        let mut results = Vec::with_capacity(self.members.len());
        for (index, member) in self.members.iter_mut().enumerate() {
            let frame = WorkflowIds { id: None, index: i64::try_from(index).ok(), ..frame };
            results.push(member.freeze(frame, ids)?);
        }
        Ok(ResultTuple::group(id, results))
    }

    /// Groups inside it become its members, in their order; empty chains go.
    pub(crate) fn flatten(&mut self) {
        let is_flat = |member: &Node| !matches!(member, Node::Group(_)) && !member.is_empty();
        if self.members.iter().all(is_flat) {
            return;
        }
        let mut flat = Vec::with_capacity(self.members.len());
        for member in std::mem::take(&mut self.members) {
            match member {
                Node::Group(mut inner) => {
                    inner.flatten();
                    flat.append(&mut inner.members);
                }
                member if member.is_empty() => {}
                member => flat.push(member),
            }
        }
        self.members = flat;
    }
}

impl ChordNode {
    fn freeze(&mut self, frame: WorkflowIds<'_>, ids: &mut Ids) -> Result<ResultTuple> {
        let own = self.options.task_id.take();
        let frame = WorkflowIds { id: own.as_ref().or(frame.id), ..frame };
        // The header learns of its group and its body when it is sent: written here, each of its tasks would carry the
        // body in each step before.
        let header = self.header.freeze(WorkflowIds { root: frame.root, ..WorkflowIds::default() }, ids)?;
        let mut result = self.body.freeze(frame, ids)?;
        put_behind(&mut result, header);
        Ok(result)
    }
}
