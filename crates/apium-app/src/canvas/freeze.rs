//! Freezing: every task of a signature gets its id before anything is sent, so that its results are known, and so that
//! sending it twice sends the same messages. An id that a task has stays.

use std::sync::Arc;

use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultTuple;
use uuid::Uuid;

use crate::canvas::node::{ChainNode, ChordNode, GroupNode, Node};
use crate::canvas::steps::sendable_steps;
use crate::error::Result;
use crate::options::call_options::{CallOptions, RareOptions};

/// From what the ids of follow-ups are made: the id of a task, and which of its runs sends them. A run that is repeated
/// makes the same ids, in every version of this program and of its compiler: each is a UUID of version 5, of its seed
/// and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[doc(hidden)]
pub struct IdSeed(Uuid);

impl IdSeed {
    /// The namespace of the seeds. It never changes.
    const NAMESPACE: Uuid = Uuid::from_u128(0x8f3c_4a57_0d61_4f0e_9b52_6e1d_73a8_c204);

    /// The seed of what follows the run with this number of retries.
    pub fn of_run(id: &str, retries: u32) -> Self {
        Self::of(id).at(&retries.to_be_bytes())
    }

    /// The seed of what follows the chord of this group.
    pub fn of_chord(group: &str) -> Self {
        Self::of(group).at(b"chord")
    }

    /// The seed for a place of its own among what follows.
    #[must_use]
    pub fn at(self, place: &[u8]) -> Self {
        Self(Uuid::new_v5(&self.0, place))
    }

    fn of(id: &str) -> Self {
        Self(Uuid::new_v5(&Self::NAMESPACE, id.as_bytes()))
    }
}

/// The source of new ids.
#[derive(Debug)]
pub struct Ids {
    /// The seed, and the place of the next id; without it they are random.
    seeded: Option<(IdSeed, u64)>,
    reply_to: Arc<str>,
}

impl Ids {
    /// Random ids. `reply_to` is written into the options of every task.
    pub fn random(reply_to: Arc<str>) -> Self {
        Self { seeded: None, reply_to }
    }

    /// Ids that follow from `seed`: the same seed gives the same ids in the same order. `reply_to` is written into the
    /// options of every task.
    pub fn from_seed(seed: IdSeed, reply_to: Arc<str>) -> Self {
        Self { seeded: Some((seed, 0)), reply_to }
    }

    /// The next id.
    pub fn next_id(&mut self) -> TaskId {
        match &mut self.seeded {
            Some((seed, place)) => {
                let IdSeed(id) = seed.at(&place.to_be_bytes());
                *place += 1;
                TaskId::from(id.to_string())
            }
            None => TaskId::random(),
        }
    }
}

/// What surrounds a signature in its workflow; freezing writes it into the options of its tasks.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkflowIds<'a> {
    /// The id for its result, unless it has an id already.
    pub id: Option<&'a TaskId>,
    /// The first task of the workflow.
    pub root: Option<&'a TaskId>,
    /// The id of the group of which it is a member.
    pub group: Option<&'a str>,
    /// Its position in the group, from 0.
    pub index: Option<i64>,
    /// The body of the chord of which it is a part.
    pub chord: Option<&'a Arc<WireSignature>>,
}

impl Node {
    /// Gives ids to all its tasks, and returns its result. The result of a chain is that of its last step, the result
    /// of a chord that of its body; the results before are its parents. The result of a group has those of its members
    /// as children.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::error::ErrorKind::Codec) for an option that cannot be encoded.
    #[doc(hidden)]
    pub fn freeze(&mut self, workflow: WorkflowIds<'_>, ids: &mut Ids) -> Result<ResultTuple> {
        match self {
            Self::Task(task) => Ok(ResultTuple::task(freeze_task(&mut task.call.options, workflow, ids))),
            Self::Chain(chain) => freeze_chain(chain, workflow, ids),
            Self::Group(group) => group.freeze(workflow, ids),
            Self::Chord(chord) => chord.freeze(workflow, ids),
        }
    }
}

/// Writes the id of a task and its position in the workflow into its options.
fn freeze_task(options: &mut CallOptions, workflow: WorkflowIds<'_>, ids: &mut Ids) -> TaskId {
    let id = options.task_id.get_or_insert_with(|| workflow.id.cloned().unwrap_or_else(|| ids.next_id())).clone();
    let rare = options.rare_mut();
    rare.reply_to.get_or_insert_with(|| ids.reply_to.clone());
    write_position(rare, workflow);
    id
}

fn write_position(rare: &mut RareOptions, workflow: WorkflowIds<'_>) {
    if let Some(root) = workflow.root {
        rare.root_id = Some(root.clone());
    }
    // A task that has a group stays in that group.
    if let (None, Some(group)) = (&rare.group_id, workflow.group) {
        rare.group_id = Some(group.to_owned());
    }
    if let Some(chord) = workflow.chord {
        rare.chord = Some(chord.clone());
    }
    if workflow.index.is_some() {
        rare.group_index = workflow.index;
    }
}

fn freeze_chain(chain: &mut ChainNode, workflow: WorkflowIds<'_>, ids: &mut Ids) -> Result<ResultTuple> {
    chain.steps = sendable_steps(std::mem::take(&mut chain.steps));
    freeze_steps(&mut chain.steps, workflow, ids)
}

/// Freezes steps that [`sendable_steps`] has put in order. `workflow` is what surrounds the last step.
pub(crate) fn freeze_steps(list: &mut [Node], workflow: WorkflowIds<'_>, ids: &mut Ids) -> Result<ResultTuple> {
    let mut workflow = workflow;
    let mut results = Vec::with_capacity(list.len());
    for step in list.iter_mut().rev() {
        results.push(step.freeze(workflow, ids)?);
        workflow = WorkflowIds { root: workflow.root, ..WorkflowIds::default() };
    }
    // The results stand in reverse order: the last step was frozen first.
    let result = results.into_iter().rev().reduce(|before, mut result| {
        append_parent(&mut result, before);
        result
    });
    Ok(result.unwrap_or_else(|| ResultTuple::group(ids.next_id(), Vec::new())))
}

/// Puts `before` in front of all parents of `result`.
pub(crate) fn append_parent(result: &mut ResultTuple, before: ResultTuple) {
    match &mut result.parent {
        Some(parent) => append_parent(parent, before),
        parent => *parent = Some(Box::new(before)),
    }
}

impl GroupNode {
    /// Gives ids to the members. The members of groups inside it become its members.
    pub(crate) fn freeze(&mut self, workflow: WorkflowIds<'_>, ids: &mut Ids) -> Result<ResultTuple> {
        self.flatten();
        let id = self.options.task_id.get_or_insert_with(|| ids.next_id()).clone();
        if workflow.group.is_some() || workflow.chord.is_some() || workflow.index.is_some() || workflow.root.is_some() {
            write_position(self.options.rare_mut(), workflow);
        }
        let mut results = Vec::with_capacity(self.members.len());
        for (index, member) in self.members.iter_mut().enumerate() {
            let workflow = WorkflowIds { id: None, index: i64::try_from(index).ok(), ..workflow };
            results.push(member.freeze(workflow, ids)?);
        }
        Ok(ResultTuple::group(id, results))
    }

    /// The members of groups inside it become its members, in their order; empty chains are removed.
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
    fn freeze(&mut self, workflow: WorkflowIds<'_>, ids: &mut Ids) -> Result<ResultTuple> {
        let own = self.options.task_id.take();
        let workflow = WorkflowIds { id: own.as_ref().or(workflow.id), ..workflow };
        // The planner writes group and body into the header's tasks when the chord is sent. Written now, every step
        // before the chord would carry the body in each of these tasks.
        let header = self.header.freeze(WorkflowIds { root: workflow.root, ..WorkflowIds::default() }, ids)?;
        let mut result = self.body.freeze(workflow, ids)?;
        append_parent(&mut result, header);
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::{IdSeed, Ids};

    fn ids(seed: IdSeed, count: usize) -> Vec<String> {
        let mut ids = Ids::from_seed(seed, "".into());
        (0..count).map(|_| ids.next_id().to_string()).collect()
    }

    #[test]
    fn the_ids_of_follow_ups_are_the_same_in_every_program() {
        // Python's `uuid.uuid5` makes the same ones.
        let first = ["a558d148-a050-549c-a4d0-8cd535339543", "62ea437c-3542-56c8-b9a9-3473c965b94d"];
        assert_eq!(ids(IdSeed::of_run("task-1", 0), 2), first);
        assert_eq!(ids(IdSeed::of_run("task-1", 1), 1), ["4583eea2-33df-55b9-a04d-ab6ab933dbe1"]);
        assert_eq!(ids(IdSeed::of_chord("task-1"), 1), ["a4bf8c15-5b39-5bc9-b8a2-9afdbff5aceb"]);
    }

    #[test]
    fn runs_and_places_have_ids_of_their_own() {
        let run = |id: &str, retries| IdSeed::of_run(id, retries);
        let seeds = [run("a", 0), run("a", 1), run("b", 0), run("a", 0).at(b"x"), run("a", 0).at(b"y")];
        let mut all: Vec<String> = seeds.into_iter().flat_map(|seed| ids(seed, 3)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 15);
    }
}
