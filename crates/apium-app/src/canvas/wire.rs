//! Signatures of every kind as messages carry them: Celery's dicts, with `subtask_type`, and with the members in the
//! keyword arguments.

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

/// How many levels of signatures may be nested in a message. Reading deeper ones could exhaust the stack.
const MAX_DEPTH: usize = 128;

impl Node {
    /// The signature as messages carry it.
    ///
    /// # Errors
    /// An option that cannot be encoded.
    pub fn to_wire(&self) -> Result<WireSignature> {
        match self {
            Self::Task(task) => task.to_wire(),
            Self::Chain(chain) => {
                let tasks = json_list(&chain.steps)?;
                let mut wire =
                    workflow_signature("celery.chain", "chain", vec![("tasks".to_owned(), tasks)], &chain.options)?;
                // A frozen chain carries the id of its last step, so that an earlier failure can be stored under it.
                if let Some(id) = chain.steps.last().and_then(Self::result_id) {
                    wire.options.insert("task_id".to_owned(), Json::from_serialize(id)?);
                }
                Ok(wire)
            }
            Self::Group(group) => group.to_wire(),
            Self::Chord(chord) => chord.to_wire(),
        }
    }

    /// Reads a signature that a message carries.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] for an unknown kind, a missing member, an option of a wrong type, or more than 128 levels.
    pub fn from_wire(wire: &WireSignature) -> Result<Self> {
        read_node(wire, MAX_DEPTH)
    }
}

impl Node {
    /// The id of its result, if it is frozen.
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
        workflow_signature(
            "celery.group",
            "group",
            vec![("tasks".to_owned(), json_list(&self.members)?)],
            &self.options,
        )
    }
}

impl ChordNode {
    fn to_wire(&self) -> Result<WireSignature> {
        let empty = Json::from_text("{}")?;
        let header = signature_json(&self.header.to_wire()?)?;
        let body = signature_json(&self.body.to_wire()?)?;
        let kwargs = [("kwargs", empty), ("header", header), ("body", body)];
        let kwargs = kwargs.map(|(name, value)| (name.to_owned(), value)).into();
        let mut wire = workflow_signature("celery.chord", "chord", kwargs, &self.options)?;
        // Celery writes the id of the header as the id of a frozen chord.
        if let Some(id) = &self.header.options.task_id {
            wire.options.insert("task_id".to_owned(), Json::from_serialize(id)?);
        }
        Ok(wire)
    }
}

fn workflow_signature(
    task: &str,
    kind: &str,
    kwargs: Vec<(String, Json)>,
    options: &CallOptions,
) -> Result<WireSignature> {
    let mut signature = WireSignature::new(task);
    signature.kwargs = kwargs;
    signature.options = wire_options(options)?;
    signature.subtask_type = Some(kind.to_owned());
    Ok(signature)
}

fn signature_json(wire: &WireSignature) -> Result<Json> {
    Ok(Json::from_bytes(wire.to_json().into())?)
}

fn json_list(nodes: &[Node]) -> Result<Json> {
    let mut out = vec![b'['];
    for (index, node) in nodes.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(&node.to_wire()?.to_json());
    }
    out.push(b']');
    Ok(Json::from_bytes(out.into())?)
}

fn read_node(wire: &WireSignature, depth: usize) -> Result<Node> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(invalid(wire, format!("it nests deeper than {MAX_DEPTH} signatures")));
    };
    let options = read_options(&wire.options).map_err(|error| invalid_part(wire, error))?;
    match wire.subtask_type.as_deref() {
        None | Some("") => Ok(Node::Task(read_task(wire, options, TaskKind::Plain))),
        Some("xmap") => Ok(Node::Task(read_task(wire, options, TaskKind::Map))),
        Some("xstarmap") => Ok(Node::Task(read_task(wire, options, TaskKind::Starmap))),
        Some("chain") => Ok(Node::Chain(ChainNode { steps: read_list(wire, kwarg(wire, "tasks")?, depth)?, options })),
        Some("group") => {
            Ok(Node::Group(GroupNode { members: read_list(wire, kwarg(wire, "tasks")?, depth)?, options }))
        }
        Some("chord") => read_chord(wire, options, depth),
        Some("chunks") => read_chunks(wire, options),
        Some(other) => Err(invalid(wire, format!("there is no kind \"{other}\" of signatures"))),
    }
}

fn read_task(wire: &WireSignature, options: CallOptions, kind: TaskKind) -> TaskNode {
    let arguments = Arguments { args: wire.args.clone(), kwargs: wire.kwargs.clone() };
    let call = CallSpec { task: Cow::Owned(wire.task.to_string()), arguments, options, def: None, by_name: true };
    // In Celery a map and a starmap are immutable.
    TaskNode { call, immutable: wire.immutable || kind != TaskKind::Plain, kind }
}

fn read_chord(wire: &WireSignature, mut options: CallOptions, depth: usize) -> Result<Node> {
    let mut header = match kwarg(wire, "header")? {
        json if json.as_str().starts_with('[') => {
            GroupNode { members: read_list(wire, json, depth)?, options: CallOptions::default() }
        }
        json => match read_inner(wire, json, depth)? {
            Node::Group(group) => group,
            Node::Chain(chain) => GroupNode { members: chain.steps, options: CallOptions::default() },
            one => GroupNode { members: vec![one], options: CallOptions::default() },
        },
    };
    let body = read_inner(wire, kwarg(wire, "body")?, depth)?;
    // The id of a chord on the wire is the id of its header.
    let id = options.task_id.take();
    header.options.task_id = header.options.task_id.or(id);
    // The arguments of the chord go to its header, and an immutable chord takes no others.
    if !wire.args.is_empty() {
        let arguments = Arguments { args: wire.args.clone(), kwargs: Vec::new() };
        header.each_first(&mut |task| {
            if !task.immutable {
                task.call.arguments.prepend(arguments.clone());
            }
        });
    }
    if wire.immutable {
        header.each_first(&mut |task| task.immutable = true);
    }
    Ok(Node::Chord(ChordNode { options, ..ChordNode::new(header, body) }))
}

/// Reads Celery's `chunks`: a group of starmaps.
fn read_chunks(wire: &WireSignature, options: CallOptions) -> Result<Node> {
    let (task, items) = (kwarg(wire, "task")?, kwarg(wire, "it")?);
    let size: usize = kwarg(wire, "n")?.decode().map_err(|error| invalid(wire, "its `n`").with_source(error))?;
    let items: Vec<Json> = items.decode().map_err(|error| invalid(wire, "its `it`").with_source(error))?;
    let members = items.chunks(size.max(1)).map(|part| {
        let kwargs = vec![("task".to_owned(), task.clone()), ("it".to_owned(), Json::from_serialize(part)?)];
        let mut wire = WireSignature::new("celery.starmap");
        wire.kwargs = kwargs;
        Ok(Node::Task(read_task(&wire, CallOptions::default(), TaskKind::Starmap)))
    });
    Ok(Node::Group(GroupNode { members: members.collect::<Result<_>>()?, options }))
}

/// A keyword argument that a signature of this kind must have.
fn kwarg<'a>(wire: &'a WireSignature, name: &str) -> Result<&'a Json> {
    let found = wire.kwargs.iter().find(|(key, value)| key == name && !value.is_null());
    found.map(|(_, value)| value).ok_or_else(|| invalid(wire, format!("it has no `{name}`")))
}

fn read_list(wire: &WireSignature, json: &Json, depth: usize) -> Result<Vec<Node>> {
    let list: Vec<WireSignature> = json.decode().map_err(|error| invalid_part(wire, error.into()))?;
    list.iter().map(|member| read_node(member, depth)).collect()
}

fn read_inner(wire: &WireSignature, json: &Json, depth: usize) -> Result<Node> {
    let inner = WireSignature::from_json(json.as_bytes()).map_err(|error| invalid_part(wire, error.into()))?;
    read_node(&inner, depth)
}

fn invalid(wire: &WireSignature, text: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Call, format!("read the signature of {}: {text}", wire.task))
}

fn invalid_part(wire: &WireSignature, error: Error) -> Error {
    Error::new(ErrorKind::Call, format!("read the signature of {}", wire.task)).with_source(error)
}
