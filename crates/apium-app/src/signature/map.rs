//! `map`, `starmap` and `chunks`: one message that runs a task for many items, one after the other, in one slot of one
//! worker.

use std::borrow::Cow;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use serde::Serialize;

use crate::canvas::node::{Node, TaskKind, TaskNode};
use crate::error::{Error, ErrorKind, Result};
use crate::options::call_options::CallOptions;
use crate::publish::prepare::CallSpec;
use crate::signature::fits::Anything;
use crate::signature::group::Group;
use crate::signature::partial::encoded;
use crate::signature::signature::Signature;
use crate::task::argument_codec::ArgumentCodec;
use crate::task::arguments::Arguments;
use crate::task::definition::TaskDef;

/// The inner task of a map, which runs for each item.
#[derive(Debug, Clone)]
pub struct Mapped {
    name: Cow<'static, str>,
    def: Option<&'static TaskDef>,
}

impl From<&'static TaskDef> for Mapped {
    fn from(def: &'static TaskDef) -> Self {
        Self { name: Cow::Borrowed(def.name), def: Some(def) }
    }
}

impl From<String> for Mapped {
    fn from(name: String) -> Self {
        Self { name: Cow::Owned(name), def: None }
    }
}

impl From<&'static str> for Mapped {
    fn from(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), def: None }
    }
}

/// Runs a task with each item as its only argument, and returns the list of its results (Celery: `task.map(…)`).
pub fn map<Out>(task: impl Into<Mapped>, items: impl IntoIterator<Item: Serialize>) -> Signature<Anything, Vec<Out>> {
    let items = items.into_iter().map(|item| encoded(&item, "an item of a map"));
    map_signature(task.into(), TaskKind::Map, items)
}

/// As [`map`], for a `#[task]` function whose only argument has this codec.
pub fn map_typed<T, Out>(
    task: &'static TaskDef,
    codec: &'static ArgumentCodec<T>,
    items: impl IntoIterator<Item = T>,
) -> Signature<Anything, Vec<Out>> {
    let encoded = |item| {
        (codec.write)(&item).map_err(|error| Error::new(ErrorKind::Codec, "encode an item of a map").with_source(error))
    };
    map_signature(task.into(), TaskKind::Map, items.into_iter().map(encoded))
}

/// Runs a task with each item as its list of arguments, and returns the list of its results (Celery:
/// `task.starmap(…)`).
pub fn starmap<Out>(
    task: impl Into<Mapped>,
    items: impl IntoIterator<Item = Result<Arguments>>,
) -> Signature<Anything, Vec<Out>> {
    map_signature(task.into(), TaskKind::Starmap, items.into_iter().map(arguments_list))
}

/// A group of starmaps with at most `size` items each (Celery: `task.chunks(…)`). A `size` of 0 counts as 1.
pub fn chunks<Out>(
    task: impl Into<Mapped>,
    items: impl IntoIterator<Item = Result<Arguments>>,
    size: usize,
) -> Group<Anything, Vec<Out>> {
    let task = task.into();
    let mut items = items.into_iter().map(arguments_list).peekable();
    std::iter::from_fn(|| {
        items.peek()?;
        Some(map_signature(task.clone(), TaskKind::Starmap, items.by_ref().take(size.max(1))))
    })
    .collect()
}

fn arguments_list(arguments: Result<Arguments>) -> Result<Json> {
    encoded(&arguments?.args, "an item of a starmap")
}

fn map_signature<Out>(
    task: Mapped,
    kind: TaskKind,
    items: impl Iterator<Item = Result<Json>>,
) -> Signature<Anything, Vec<Out>> {
    let mut first_error = None;
    let items = json_list(items).unwrap_or_else(|error| {
        first_error = Some(error);
        Json::NULL
    });
    let mut signature = Signature::of_node(Node::Task(map_node(task, kind, items)));
    if let Some(error) = first_error {
        signature.fail(error);
    }
    signature
}

fn map_node(task: Mapped, kind: TaskKind, items: Json) -> TaskNode {
    let name = match kind {
        TaskKind::Map => "celery.map",
        _ => "celery.starmap",
    };
    let inner = WireSignature::new(&*task.name).to_json();
    // The text was written as JSON, so that it can always be read.
    let inner = Json::from_bytes(inner.into()).unwrap_or_default();
    let kwargs = vec![("task".to_owned(), inner), ("it".to_owned(), items)];
    let arguments = Arguments { args: Vec::new(), kwargs };
    let options = CallOptions::default();
    let call = CallSpec { task: Cow::Borrowed(name), arguments, options, def: task.def, by_name: false };
    TaskNode { call, immutable: true, kind }
}

fn json_list(items: impl Iterator<Item = Result<Json>>) -> Result<Json> {
    let mut out = vec![b'['];
    for item in items {
        if out.len() > 1 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(item?.as_bytes());
    }
    out.push(b']');
    Json::from_bytes(out.into()).map_err(Error::from)
}
