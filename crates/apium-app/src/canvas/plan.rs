//! Planning: which messages are sent for a signature, and what its results will be. It is pure: nothing is sent.

use std::sync::Arc;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::result::document::{GroupDocument, ResultTuple};
use apium_transport::backend::chord::ChordHeader;

use crate::canvas::freeze::{Ids, WorkflowIds, append_parent, freeze_steps};
use crate::canvas::merge::{fill_from_stored, with_stored};
use crate::canvas::node::{ChainNode, ChordNode, GroupNode, Node, TaskNode};
use crate::canvas::pipe::{link_members, move_links_to_steps};
use crate::canvas::steps::sendable_steps;
use crate::error::{Error, ErrorKind, Result};
use crate::options::call_options::CallOptions;
use crate::publish::prepare::CallSpec;
use crate::task::arguments::Arguments;

/// Arguments and options for a signature that is sent, beside its own.
#[derive(Debug, Clone, Default)]
pub struct SendWith {
    /// Arguments that are put in front of its own, and keyword arguments that replace its own of the same name. An
    /// immutable signature takes none of them.
    pub arguments: Arguments,
    /// Options that replace its own. Only its `group_id` and its stamps stay.
    pub options: CallOptions,
}

impl SendWith {
    /// The result of the task before, as the first argument.
    pub fn result(value: Json) -> Self {
        let arguments = Arguments { args: vec![value], kwargs: Vec::new() };
        Self { arguments, options: CallOptions::default() }
    }
}

/// What is sent for a signature.
#[derive(Debug, Default)]
pub struct Plan {
    /// The chords that begin. They are opened before anything is published.
    pub opens: Vec<ChordHeader>,
    /// The calls to publish.
    pub calls: Vec<CallSpec>,
}

/// The results of a signature that is sent.
#[derive(Debug, Clone)]
pub struct PlannedResult {
    /// Its result.
    pub result: ResultTuple,
    /// The result of what is sent now, which is recorded as a child of the running task.
    pub child: ResultTuple,
}

impl From<ResultTuple> for PlannedResult {
    fn from(result: ResultTuple) -> Self {
        Self { child: result.clone(), result }
    }
}

/// Plans signatures.
#[derive(Debug)]
pub struct Planner {
    ids: Ids,
    chord_ttl: Option<Duration>,
    plan: Plan,
}

impl Planner {
    /// An empty planner. A result backend keeps the counter of a chord for `chord_ttl`; `None` keeps it for ever.
    pub fn new(ids: Ids, chord_ttl: Option<Duration>) -> Self {
        Self { ids, chord_ttl, plan: Plan::default() }
    }

    /// The source of its ids.
    pub fn ids(&mut self) -> &mut Ids {
        &mut self.ids
    }

    /// The plan for all signatures that were added.
    pub fn into_plan(self) -> Plan {
        self.plan
    }

    /// Adds what is sent for a signature to the plan, and returns what its results will be.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] for an empty chain, and for links on a group; [`ErrorKind::Codec`] for options that cannot
    /// be encoded.
    pub fn add(&mut self, node: Node, mut with: SendWith) -> Result<PlannedResult> {
        match joined_with_steps_behind(node, &mut with.options)? {
            Node::Task(task) => self.add_task(task, with),
            Node::Chain(chain) => self.add_chain(chain, with),
            Node::Group(group) => self.add_group(group, with),
            Node::Chord(chord) => self.add_chord(chord, with),
        }
    }

    fn add_task(&mut self, task: TaskNode, with: SendWith) -> Result<PlannedResult> {
        let TaskNode { mut call, immutable, kind } = task;
        if !immutable {
            call.arguments.prepend(with.arguments);
        }
        call.options = with_stored(with.options, call.options);
        let mut node = Node::Task(TaskNode { call, immutable, kind });
        let result = node.freeze(WorkflowIds::default(), &mut self.ids)?;
        if let Node::Task(task) = node {
            self.plan.calls.push(task.call);
        }
        Ok(result.into())
    }

    fn add_chain(&mut self, mut chain: ChainNode, with: SendWith) -> Result<PlannedResult> {
        move_links_to_steps(&mut chain);
        let mut options = with_stored(with.options, chain.options);
        let id = options.task_id.take();
        let rare = options.rare_mut();
        let (group, index, chord) = (rare.group_id.take(), rare.group_index.take(), rare.chord.take());
        let root = rare.root_id.take();
        chain.options = CallOptions::default();
        let own = chain.options.rare_mut();
        (own.link, own.link_error) = (std::mem::take(&mut rare.link), std::mem::take(&mut rare.link_error));
        move_links_to_steps(&mut chain);
        let mut list = sendable_steps(chain.steps);
        if list.is_empty() {
            return Err(Error::new(ErrorKind::Call, "send an empty chain: it has no task"));
        }
        let workflow =
            WorkflowIds { id: id.as_ref(), root: root.as_ref(), group: group.as_deref(), index, chord: chord.as_ref() };
        let result = freeze_steps(&mut list, workflow, &mut self.ids)?;
        let first = list.remove(0);
        let single = list.is_empty();
        let later_steps: Vec<WireSignature> = list.iter().rev().map(Node::to_wire).collect::<Result<_>>()?;
        options.rare_mut().chain.get_or_insert_default().add_in_front(later_steps);
        let sent = self.add(first, SendWith { arguments: with.arguments, options })?;
        Ok(if single { sent } else { PlannedResult { result, child: sent.child } })
    }

    fn add_group(&mut self, mut group: GroupNode, with: SendWith) -> Result<PlannedResult> {
        refuse_links(&with.options)?;
        // Celery writes the callbacks of a chain that ends with a group into that group: they belong to each member.
        let mut stored = std::mem::take(&mut group.options);
        if let Some(rare) = &mut stored.rare {
            link_members(&mut group, &std::mem::take(&mut rare.link));
            for errback in std::mem::take(&mut rare.link_error) {
                group.members.iter_mut().for_each(|member| member.link_error(errback.clone()));
            }
        }
        let mut options = with_stored(with.options, stored);
        let id = options.task_id.take().unwrap_or_else(|| self.ids.next_id());
        group.options.task_id = Some(id.clone());
        let own = options.rare_mut();
        (own.group_index, own.add_to_parent) = (None, Some(false));
        // A body that is a group gets the chord around it when it is frozen.
        let (chord, root) = (own.chord.take(), own.root_id.clone());
        let workflow = WorkflowIds {
            root: root.as_ref(),
            group: Some(id.as_str()),
            chord: chord.as_ref(),
            ..WorkflowIds::default()
        };
        own.group_id = None;
        let result = group.freeze(workflow, &mut self.ids)?;
        let last = group.members.len().saturating_sub(1);
        let mut with = Some(SendWith { arguments: with.arguments, options });
        let mut results = Vec::with_capacity(group.members.len());
        for (index, member) in group.members.into_iter().enumerate() {
            let with = if index == last { with.take() } else { with.clone() };
            results.push(self.add(member, with.unwrap_or_default())?.result);
        }
        // A group of one chain that ends with a group is that group, as in Celery.
        match results.as_slice() {
            [one] if one.children.is_some() => Ok(one.clone().into()),
            _ => Ok(result.into()),
        }
    }

    fn add_chord(&mut self, chord: ChordNode, with: SendWith) -> Result<PlannedResult> {
        let ChordNode { mut header, body, options, .. } = chord;
        let mut options = with_stored(with.options, options);
        let id = options.task_id.take();
        let delay = (options.countdown.take(), options.eta.take());
        let group = header.options.task_id.clone().unwrap_or_else(|| self.ids.next_id());
        let mut body = *body;
        // Links belong to the body. The other options of the chord replace the body's own.
        let rare = options.rare_mut();
        let (link, link_error) = (std::mem::take(&mut rare.link), std::mem::take(&mut rare.link_error));
        let mut body_options = options.clone();
        body_options.rare_mut().parent_id = None;
        let stored = std::mem::take(body.options_mut());
        *body.options_mut() = fill_from_stored(body_options, stored);
        link.into_iter().for_each(|callback| body.link(callback));
        link_error.into_iter().for_each(|errback| body.link_error(errback));
        let root = body.options().rare.as_ref().and_then(|rare| rare.root_id.clone());
        let workflow =
            WorkflowIds { id: id.as_ref(), root: root.as_ref(), group: Some(group.as_str()), ..WorkflowIds::default() };
        let mut result = body.freeze(workflow, &mut self.ids)?;
        header.options.task_id = Some(group.clone());
        header.flatten();
        let rare = options.rare_mut();
        (rare.chain, rare.chord, rare.group_id, rare.group_index) = (None, None, None, None);
        (options.countdown, options.eta) = delay;
        if header.members.is_empty() {
            let no_results = SendWith::result(Json::from_text("[]")?);
            let sent = self.add(body, no_results)?;
            append_parent(&mut result, ResultTuple::group(group, Vec::new()));
            return Ok(PlannedResult { result, child: sent.child });
        }
        let body = Arc::new(body.to_wire()?);
        let workflow = WorkflowIds {
            root: root.as_ref(),
            group: Some(group.as_str()),
            chord: Some(&body),
            ..WorkflowIds::default()
        };
        let frozen = header.freeze(workflow, &mut self.ids)?;
        let nested = frozen.children.iter().flatten().any(|member| member.children.is_some());
        let mut opened = ChordHeader::new(group.to_string(), header.members.iter().map(part_count).sum());
        opened.structure = nested.then(|| GroupDocument::new(frozen.clone()));
        opened.ttl = self.chord_ttl;
        self.plan.opens.push(opened);
        let own = std::mem::take(&mut header.options);
        options = with_stored(options, own);
        options.rare_mut().group_id = None;
        header.options.task_id = Some(group);
        options.task_id = None;
        // The members have their chord already; the options of the chord must not replace it.
        options.rare_mut().chord = None;
        let sent = self.add_group(header, SendWith { arguments: with.arguments, options })?;
        append_parent(&mut result, sent.result.clone());
        Ok(PlannedResult { result, child: sent.child })
    }
}

/// A group or a chord that ends with one, joined with the steps behind it: they wait for all members of that group.
/// Celery's `|` leaves steps behind a chord of two groups as they are, and each member would run them.
fn joined_with_steps_behind(mut node: Node, options: &mut CallOptions) -> Result<Node> {
    if !node.ends_with_a_group() || matches!(node, Node::Chain(_)) {
        return Ok(node);
    }
    let of_call = options.rare.as_mut().and_then(|rare| rare.chain.take());
    let stored = node.options_mut().rare.as_mut().and_then(|rare| rare.chain.take());
    let mut behind = of_call.or(stored).unwrap_or_default();
    while node.ends_with_a_group()
        && let Some(next) = behind.next_step()?
    {
        behind = behind.behind_next();
        node = node.pipe(Node::from_wire(&next)?);
    }
    if !behind.is_empty() {
        options.rare_mut().chain = Some(behind);
    }
    Ok(node)
}

/// How many parts of a chord a member of its header counts as: a task one, a group the sum of its members, a chain its
/// last step, a chord its body.
fn part_count(node: &Node) -> u64 {
    match node {
        Node::Task(_) => 1,
        Node::Group(group) => group.members.iter().map(part_count).sum(),
        Node::Chain(chain) => chain.steps.iter().rev().map(part_count).find(|count| *count > 0).unwrap_or_default(),
        Node::Chord(chord) => part_count(&chord.body),
    }
}

fn refuse_links(options: &CallOptions) -> Result<()> {
    let linked = options.rare.as_ref().is_some_and(|rare| !rare.link.is_empty() || !rare.link_error.is_empty());
    match linked {
        true => {
            let text = "link a callback to a group: link it to each member, or let a task follow the group (a chord)";
            Err(Error::new(ErrorKind::Call, text))
        }
        false => Ok(()),
    }
}
