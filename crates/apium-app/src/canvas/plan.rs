//! Planning: what is sent for a signature, and what its results will be. Pure; nothing is sent here.

use std::sync::Arc;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::result::document::{GroupDocument, ResultTuple};
use apium_transport::backend::chord::ChordHeader;

use crate::canvas::freeze::{Ids, WorkflowIds, freeze_steps, put_behind};
use crate::canvas::node::{ChainNode, ChordNode, GroupNode, Node, TaskNode};
use crate::canvas::pipe::{link_members, settle_links};
use crate::canvas::steps::steps;
use crate::error::{Error, ErrorKind, Result};
use crate::options::call_options::{CallOptions, RareOptions};
use crate::publish::prepare::CallSpec;
use crate::task::arguments::Arguments;

/// What a signature is sent with, beside what it holds itself.
#[derive(Debug, Clone, Default)]
pub struct SendWith {
    /// In front of its arguments, and over its keyword arguments; an immutable signature takes none.
    pub arguments: Arguments,
    /// Over its options, but for `group_id` and stamps.
    pub options: CallOptions,
}

impl SendWith {
    /// The result of the task before.
    pub fn result(value: Json) -> Self {
        let arguments = Arguments { args: vec![value], kwargs: Vec::new() };
        Self { arguments, options: CallOptions::default() }
    }
}

/// What is to be sent.
#[derive(Debug, Default)]
pub struct Plan {
    /// Chords that begin; they are opened before anything is published.
    pub opens: Vec<ChordHeader>,
    /// The calls.
    pub calls: Vec<CallSpec>,
}

/// What comes of a signature that is sent.
#[derive(Debug, Clone)]
pub struct PlannedResult {
    /// Its result.
    pub result: ResultTuple,
    /// What is sent at once: a child of who sends it.
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
    /// A planner. What is counted of a chord is kept for `chord_ttl`.
    pub fn new(ids: Ids, chord_ttl: Option<Duration>) -> Self {
        Self { ids, chord_ttl, plan: Plan::default() }
    }

    /// Where its ids come from.
    pub fn ids(&mut self) -> &mut Ids {
        &mut self.ids
    }

    /// What it has planned.
    pub fn into_plan(self) -> Plan {
        self.plan
    }

    /// Plans a signature.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] for an empty chain, and for links on a group; [`ErrorKind::Codec`] for options that cannot
    /// be encoded.
    pub fn add(&mut self, node: Node, given: SendWith) -> Result<PlannedResult> {
        match node {
            Node::Task(task) => self.task(task, given),
            Node::Chain(chain) => self.chain(chain, given),
            Node::Group(group) => self.group(group, given),
            Node::Chord(chord) => self.chord(chord, given),
        }
    }

    fn task(&mut self, task: TaskNode, given: SendWith) -> Result<PlannedResult> {
        let TaskNode { mut call, immutable, kind } = task;
        if !immutable {
            call.arguments.prepend(given.arguments);
        }
        call.options = over(given.options, call.options);
        let mut node = Node::Task(TaskNode { call, immutable, kind });
        let result = node.freeze(WorkflowIds::default(), &mut self.ids)?;
        if let Node::Task(task) = node {
            self.plan.calls.push(task.call);
        }
        Ok(result.into())
    }

    fn chain(&mut self, mut chain: ChainNode, given: SendWith) -> Result<PlannedResult> {
        settle_links(&mut chain);
        let mut options = over(given.options, chain.options);
        let id = options.task_id.take();
        let rare = options.rare_mut();
        let (group, index, chord) = (rare.group_id.take(), rare.group_index.take(), rare.chord.take());
        let root = rare.root_id.take();
        chain.options = CallOptions::default();
        let own = chain.options.rare_mut();
        (own.link, own.link_error) = (std::mem::take(&mut rare.link), std::mem::take(&mut rare.link_error));
        settle_links(&mut chain);
        let mut list = steps(chain.steps);
        if list.is_empty() {
            return Err(Error::new(ErrorKind::Call, "send an empty chain: it has no task"));
        }
        let frame =
            WorkflowIds { id: id.as_ref(), root: root.as_ref(), group: group.as_deref(), index, chord: chord.as_ref() };
        let result = freeze_steps(&mut list, frame, &mut self.ids)?;
        let first = list.remove(0);
        let single = list.is_empty();
        let rest: Vec<WireSignature> = list.iter().rev().map(Node::to_wire).collect::<Result<_>>()?;
        let rare = options.rare_mut();
        rare.chain.get_or_insert_default().extend(rest);
        let sent = self.add(first, SendWith { arguments: given.arguments, options })?;
        Ok(if single { sent } else { PlannedResult { result, child: sent.child } })
    }

    fn group(&mut self, mut group: GroupNode, given: SendWith) -> Result<PlannedResult> {
        refuse_links(&given.options)?;
        // A chain that Python wrote leaves its callbacks to the group that it ends with: they are each member's.
        let mut stored = std::mem::take(&mut group.options);
        if let Some(rare) = &mut stored.rare {
            link_members(&mut group, &std::mem::take(&mut rare.link));
            for errback in std::mem::take(&mut rare.link_error) {
                group.members.iter_mut().for_each(|member| member.link_error(errback.clone()));
            }
        }
        let mut options = over(given.options, stored);
        let id = options.task_id.take().unwrap_or_else(|| self.ids.next_id());
        group.options.task_id = Some(id.clone());
        let own = options.rare_mut();
        (own.group_index, own.add_to_parent) = (None, Some(false));
        // A body that is a group is told of the chord around it when it is frozen.
        let (chord, root) = (own.chord.take(), own.root_id.clone());
        let frame = WorkflowIds {
            root: root.as_ref(),
            group: Some(id.as_str()),
            chord: chord.as_ref(),
            ..WorkflowIds::default()
        };
        own.group_id = None;
        let result = group.freeze(frame, &mut self.ids)?;
        let last = group.members.len().saturating_sub(1);
        let mut given = Some(SendWith { arguments: given.arguments, options });
        let mut results = Vec::with_capacity(group.members.len());
        for (place, member) in group.members.into_iter().enumerate() {
            let given = if place == last { given.take() } else { given.clone() };
            results.push(self.add(member, given.unwrap_or_default())?.result);
        }
        // A group of one chain that ends with a group is that group, as in Celery.
        match results.as_slice() {
            [one] if one.children.is_some() => Ok(one.clone().into()),
            _ => Ok(result.into()),
        }
    }

    fn chord(&mut self, chord: ChordNode, given: SendWith) -> Result<PlannedResult> {
        let ChordNode { mut header, body, options, .. } = chord;
        let mut options = over(given.options, options);
        let id = options.task_id.take();
        let delay = (options.countdown.take(), options.eta.take());
        let group = header.options.task_id.clone().unwrap_or_else(|| self.ids.next_id());
        let mut body = *body;
        // Links are the body's; what else it is called with goes over the body's own.
        let rare = options.rare_mut();
        let (link, link_error) = (std::mem::take(&mut rare.link), std::mem::take(&mut rare.link_error));
        let mut of_body = options.clone();
        of_body.rare_mut().parent_id = None;
        let stored = std::mem::take(body.options_mut());
        *body.options_mut() = over_all(of_body, stored);
        link.into_iter().for_each(|callback| body.link(callback));
        link_error.into_iter().for_each(|errback| body.link_error(errback));
        let root = body.options().rare.as_ref().and_then(|rare| rare.root_id.clone());
        let frame =
            WorkflowIds { id: id.as_ref(), root: root.as_ref(), group: Some(group.as_str()), ..WorkflowIds::default() };
        let mut result = body.freeze(frame, &mut self.ids)?;
        header.options.task_id = Some(group.clone());
        header.flatten();
        let rare = options.rare_mut();
        (rare.chain, rare.chord, rare.group_id, rare.group_index) = (None, None, None, None);
        (options.countdown, options.eta) = delay;
        if header.members.is_empty() {
            let nothing = SendWith::result(Json::from_text("[]")?);
            let sent = self.add(body, nothing)?;
            put_behind(&mut result, ResultTuple::group(group, Vec::new()));
            return Ok(PlannedResult { result, child: sent.child });
        }
        let body = Arc::new(body.to_wire()?);
        let frame = WorkflowIds {
            root: root.as_ref(),
            group: Some(group.as_str()),
            chord: Some(&body),
            ..WorkflowIds::default()
        };
        let frozen = header.freeze(frame, &mut self.ids)?;
        let nested = frozen.children.iter().flatten().any(|member| member.children.is_some());
        let mut opened = ChordHeader::new(group.to_string(), header.members.iter().map(size).sum());
        opened.structure = nested.then(|| GroupDocument::new(frozen.clone()));
        opened.ttl = self.chord_ttl;
        self.plan.opens.push(opened);
        let own = std::mem::take(&mut header.options);
        options = over(options, own);
        options.rare_mut().group_id = None;
        header.options.task_id = Some(group);
        options.task_id = None;
        // The members know their chord already; what they are called with must not hide it.
        options.rare_mut().chord = None;
        let sent = self.group(header, SendWith { arguments: given.arguments, options })?;
        put_behind(&mut result, sent.result.clone());
        Ok(PlannedResult { result, child: sent.child })
    }
}

/// How many parts of a chord the end of this signature is: each task of a group counts, of a chain what it ends with,
/// of a chord its body.
fn size(node: &Node) -> u64 {
    match node {
        Node::Task(_) => 1,
        Node::Group(group) => group.members.iter().map(size).sum(),
        Node::Chain(chain) => chain.steps.iter().rev().map(size).find(|size| *size > 0).unwrap_or_default(),
        Node::Chord(chord) => size(&chord.body),
    }
}

fn refuse_links(options: &CallOptions) -> Result<()> {
    let linked = options.rare.as_ref().is_some_and(|rare| !rare.link.is_empty() || !rare.link_error.is_empty());
    match linked {
        true => {
            let text = "link a callback to a group: link it to its members (a task after all of them is a chord)";
            Err(Error::new(ErrorKind::Call, text))
        }
        false => Ok(()),
    }
}

/// The options of a call over those of a signature; the group and the stamps of the signature stay.
fn over(mut given: CallOptions, stored: CallOptions) -> CallOptions {
    if let Some(kept) = &stored.rare
        && (kept.group_id.is_some() || !kept.stamps.is_empty())
    {
        keep(given.rare_mut(), kept);
    }
    over_all(given, stored)
}

fn keep(given: &mut RareOptions, stored: &RareOptions) {
    if stored.group_id.is_some() {
        given.group_id.clone_from(&stored.group_id);
    }
    for (name, value) in &stored.stamps {
        given.stamps.insert(name.clone(), value.clone());
    }
}

fn over_all(mut given: CallOptions, stored: CallOptions) -> CallOptions {
    if given == CallOptions::default() {
        return stored;
    }
    given.fill_from(&stored);
    given
}
