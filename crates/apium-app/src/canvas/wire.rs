//! Signatures of every kind as they travel: Celery's maps, with `subtask_type` and the members in the keyword
//! arguments.

use std::borrow::Cow;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;

use crate::canvas::node::{ChainNode, ChordNode, GroupNode, Node, TaskKind, TaskNode};
use crate::error::{Error, ErrorKind, Result};
use crate::options::call_options::CallOptions;
use crate::options::wire_options::{read_options, wire_options};
use crate::publish::prepare::CallSpec;
use crate::task::arguments::Arguments;

/// How deep signatures may nest in what is read; deeper ones would only exhaust the stack.
const DEEPEST: usize = 128;

impl Node {
    /// The signature as it travels in messages.
    ///
    /// # Errors
    /// An option that cannot be encoded.
    pub fn to_wire(&self) -> Result<WireSignature> {
        match self {
            Self::Task(task) => task.to_wire(),
            Self::Chain(chain) => {
                let tasks = list(&chain.steps)?;
                let mut wire = kind("celery.chain", "chain", vec![("tasks".to_owned(), tasks)], &chain.options)?;
                // One that has its ids is known by its last one: whoever fails it must know whom to tell.
                if let Some(id) = chain.steps.last().and_then(Self::result_id) {
                    wire.options.insert("task_id".to_owned(), Json::from_serialize(id)?);
                }
                Ok(wire)
            }
            Self::Group(group) => group.to_wire(),
            Self::Chord(chord) => chord.to_wire(),
        }
    }

    /// Reads a signature that came in a message.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] for one of an unknown kind, without what its kind has, with options of a wrong type, or
    /// nested deeper than 128.
    pub fn from_wire(wire: &WireSignature) -> Result<Self> {
        read(wire, DEEPEST)
    }
}

impl Node {
    /// The id of its result, once it has one.
    fn result_id(&self) -> Option<&TaskId> {
        match self {
            Self::Task(_) | Self::Group(_) => self.options().task_id.as_ref(),
            Self::Chain(chain) => chain.steps.last().and_then(Self::result_id),
            Self::Chord(chord) => chord.body.result_id(),
        }
    }
}

impl TaskNode {
    fn to_wire(&self) -> Result<WireSignature> {
        let CallSpec { task, arguments, options, .. } = &self.call;
        let mut signature = WireSignature::new(&**task);
        signature.args = arguments.args.clone();
        signature.kwargs = arguments.kwargs.clone();
        signature.options = wire_options(options)?;
        signature.subtask_type = match self.kind {
            TaskKind::Plain => None,
            TaskKind::Map => Some("xmap".to_owned()),
            TaskKind::Starmap => Some("xstarmap".to_owned()),
        };
        signature.immutable = self.immutable;
        Ok(signature)
    }
}

impl GroupNode {
    fn to_wire(&self) -> Result<WireSignature> {
        kind("celery.group", "group", vec![("tasks".to_owned(), list(&self.members)?)], &self.options)
    }
}

impl ChordNode {
    fn to_wire(&self) -> Result<WireSignature> {
        let empty = Json::from_text("{}")?;
        let header = json(&self.header.to_wire()?)?;
        let body = json(&self.body.to_wire()?)?;
        let kwargs = [("kwargs", empty), ("header", header), ("body", body)];
        let kwargs = kwargs.map(|(name, value)| (name.to_owned(), value)).into();
        let mut wire = kind("celery.chord", "chord", kwargs, &self.options)?;
        // Celery names a chord that has its ids by its header.
        if let Some(id) = &self.header.options.task_id {
            wire.options.insert("task_id".to_owned(), Json::from_serialize(id)?);
        }
        Ok(wire)
    }
}

fn kind(task: &str, kind: &str, kwargs: Vec<(String, Json)>, options: &CallOptions) -> Result<WireSignature> {
    let mut signature = WireSignature::new(task);
    signature.kwargs = kwargs;
    signature.options = wire_options(options)?;
    signature.subtask_type = Some(kind.to_owned());
    Ok(signature)
}

pub(crate) fn json(wire: &WireSignature) -> Result<Json> {
    Ok(Json::from_bytes(wire.to_json().into())?)
}

fn list(nodes: &[Node]) -> Result<Json> {
    let mut out = vec![b'['];
    for (place, node) in nodes.iter().enumerate() {
        if place > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(&node.to_wire()?.to_json());
    }
    out.push(b']');
    Ok(Json::from_bytes(out.into())?)
}

fn read(wire: &WireSignature, depth: usize) -> Result<Node> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(wrong(wire, format!("it nests deeper than {DEEPEST} signatures")));
    };
    let options = read_options(&wire.options).map_err(|error| within(wire, error))?;
    match wire.subtask_type.as_deref() {
        None | Some("") => Ok(Node::Task(task(wire, options, TaskKind::Plain))),
        Some("xmap") => Ok(Node::Task(task(wire, options, TaskKind::Map))),
        Some("xstarmap") => Ok(Node::Task(task(wire, options, TaskKind::Starmap))),
        Some("chain") => Ok(Node::Chain(ChainNode { steps: members(wire, "tasks", depth)?, options })),
        Some("group") => Ok(Node::Group(GroupNode { members: members(wire, "tasks", depth)?, options })),
        Some("chord") => chord(wire, options, depth),
        Some("chunks") => chunks(wire, options),
        Some(other) => Err(wrong(wire, format!("there is no kind \"{other}\" of signatures"))),
    }
}

fn task(wire: &WireSignature, options: CallOptions, kind: TaskKind) -> TaskNode {
    let arguments = Arguments { args: wire.args.clone(), kwargs: wire.kwargs.clone() };
    let call = CallSpec { task: Cow::Owned(wire.task.to_string()), arguments, options, def: None, by_name: true };
    // What Celery makes of these takes nothing of what comes before.
    TaskNode { call, immutable: wire.immutable || kind != TaskKind::Plain, kind }
}

fn chord(wire: &WireSignature, mut options: CallOptions, depth: usize) -> Result<Node> {
    let mut header = match named(wire, "header")? {
        json if json.as_str().starts_with('[') => {
            GroupNode { members: nodes(wire, json, depth)?, options: CallOptions::default() }
        }
        json => match one(wire, json, depth)? {
            Node::Group(group) => group,
            Node::Chain(chain) => GroupNode { members: chain.steps, options: CallOptions::default() },
            one => GroupNode { members: vec![one], options: CallOptions::default() },
        },
    };
    let body = one(wire, named(wire, "body")?, depth)?;
    // The id of a chord on the wire is the one of its header.
    let id = options.task_id.take();
    header.options.task_id = header.options.task_id.or(id);
    // What the chord is called with goes to the header.
    if !wire.args.is_empty() && !wire.immutable {
        let given = Arguments { args: wire.args.clone(), kwargs: Vec::new() };
        header.each_first(&mut |task| {
            if !task.immutable {
                task.call.arguments.prepend(given.clone());
            }
        });
    }
    Ok(Node::Chord(ChordNode { options, ..ChordNode::new(header, body) }))
}

/// Chunks are a group of starmaps.
fn chunks(wire: &WireSignature, options: CallOptions) -> Result<Node> {
    let (task, items) = (named(wire, "task")?, named(wire, "it")?);
    let size: usize = named(wire, "n")?.decode().map_err(|error| wrong(wire, "its `n`").with_source(error))?;
    let items: Vec<Json> = items.decode().map_err(|error| wrong(wire, "its `it`").with_source(error))?;
    let members = items.chunks(size.max(1)).map(|part| {
        let kwargs = vec![("task".to_owned(), task.clone()), ("it".to_owned(), Json::from_serialize(part)?)];
        let mut wire = WireSignature::new("celery.starmap");
        wire.kwargs = kwargs;
        Ok(Node::Task(crate::canvas::wire::task(&wire, CallOptions::default(), TaskKind::Starmap)))
    });
    Ok(Node::Group(GroupNode { members: members.collect::<Result<_>>()?, options }))
}

fn named<'a>(wire: &'a WireSignature, name: &str) -> Result<&'a Json> {
    let found = wire.kwargs.iter().find(|(key, value)| key == name && !value.is_null());
    found.map(|(_, value)| value).ok_or_else(|| wrong(wire, format!("it has no `{name}`")))
}

fn members(wire: &WireSignature, name: &str, depth: usize) -> Result<Vec<Node>> {
    nodes(wire, named(wire, name)?, depth)
}

fn nodes(wire: &WireSignature, json: &Json, depth: usize) -> Result<Vec<Node>> {
    let list: Vec<WireSignature> = json.decode().map_err(|error| within(wire, error.into()))?;
    list.iter().map(|member| read(member, depth)).collect()
}

fn one(wire: &WireSignature, json: &Json, depth: usize) -> Result<Node> {
    let inner = WireSignature::from_json(json.as_bytes()).map_err(|error| within(wire, error.into()))?;
    read(&inner, depth)
}

fn wrong(wire: &WireSignature, text: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Call, format!("read the signature of {}: {text}", wire.task))
}

fn within(wire: &WireSignature, error: Error) -> Error {
    Error::new(ErrorKind::Call, format!("read the signature of {}", wire.task)).with_source(error)
}
