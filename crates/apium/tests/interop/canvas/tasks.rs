//! The tasks of the flows, by the names of `tests/interop/canvas.py`. Each records a line in a file.

use std::fmt;
use std::io::Write;

use apium::message::Signature as WireSignature;
use apium::prelude::*;
use serde::{Deserialize, Serialize};

/// Python's `ValueError`.
#[wire_error(py = "builtins.ValueError")]
#[derive(Debug)]
struct ValueError(String);

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}

/// The keyword arguments of every task.
#[derive(Debug, Deserialize)]
struct TaskArgs {
    path: String,
    flow: String,
    target: String,
    #[serde(default)]
    fails: bool,
}

impl TaskArgs {
    fn of(kwargs: &Kwargs) -> TaskResult<Self> {
        let map: serde_json::Map<String, serde_json::Value> =
            kwargs.iter().map(|(name, value)| Ok((name.clone(), whole(value)?))).collect::<TaskResult<_>>()?;
        Ok(serde_json::from_value(map.into())?)
    }

    fn record(&self, what: &str, received: &str) -> TaskResult<()> {
        // One write to a file that is open for appending: the lines of several programs do not mix.
        let line = format!("{} {what} {} {received} rust\n", self.flow, self.target);
        Ok(std::fs::OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(line.as_bytes())?)
    }
}

/// A task of a shape. Its value names its arguments.
#[task(name = "canvas.leaf")]
pub(crate) async fn leaf(received: Args, kwargs: Kwargs) -> TaskResult<String> {
    let args = TaskArgs::of(&kwargs)?;
    let received = short_list(&args.flow, &received)?;
    args.record("run", &received)?;
    match args.fails {
        true => Err(ValueError(args.target).into()),
        false => Ok(format!("{}({received})", args.target)),
    }
}

/// A task of a shape that another workflow replaces.
#[task(name = "canvas.replaced")]
pub(crate) async fn replaced(
    ctx: &Ctx,
    received: Args,
    replacement: WireSignature,
    kwargs: Kwargs,
) -> TaskResult<String> {
    let args = TaskArgs::of(&kwargs)?;
    args.record("run", &short_list(&args.flow, &received)?)?;
    match args.fails {
        true => Err(ValueError(args.target).into()),
        false => Err(ctx.replace(replacement)),
    }
}

/// A task that records the options with which its message came.
#[task(name = "canvas.options")]
pub(crate) async fn options(ctx: &Ctx, _received: Args, kwargs: Kwargs) -> TaskResult<String> {
    let (args, request) = (TaskArgs::of(&kwargs)?, ctx.request());
    let names: Vec<&str> = request.headers.extra.keys().map(String::as_str).collect();
    let marks = if names.is_empty() { "-".to_owned() } else { names.join("+") };
    let from = &request.delivery_info;
    args.record("came", &format!("{}/{}/{marks}", from.routing_key, from.priority.unwrap_or_default()))?;
    Ok(args.target)
}

/// A callback.
#[task(name = "canvas.ok")]
pub(crate) async fn ok(received: Args, kwargs: Kwargs) -> TaskResult<()> {
    let args = TaskArgs::of(&kwargs)?;
    args.record("ok", &short_list(&args.flow, &received)?)
}

/// An errback of the old style: it is sent as a message with the id.
#[task(name = "canvas.error")]
pub(crate) async fn error(failed_id: String, kwargs: Kwargs) -> TaskResult<()> {
    let args = TaskArgs::of(&kwargs)?;
    args.record("error", of_flow(&args.flow, &failed_id))
}

/// An errback of the new style: the worker that fails the task calls it.
#[task(name = "canvas.called")]
pub(crate) async fn called(request: Failed, exc: Raised, traceback: Json, kwargs: Kwargs) -> TaskResult<()> {
    let (args, _) = (TaskArgs::of(&kwargs)?, traceback);
    args.record("called", &format!("{},{}", of_flow(&args.flow, &request.id), exc.exc_type))
}

/// The part of a failed task's request that is needed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failed {
    id: String,
}

/// The part of an exception that is needed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Raised {
    exc_type: String,
}

/// The name of a task from its id, which is made of the names of flow and task.
pub(crate) fn of_flow<'a>(flow: &str, id: &'a str) -> &'a str {
    id.strip_prefix(flow).and_then(|rest| rest.strip_prefix('-')).unwrap_or("?")
}

fn whole(json: &Json) -> TaskResult<serde_json::Value> {
    Ok(serde_json::from_str(json.as_str())?)
}

fn short_list(flow: &str, received: &[Json]) -> TaskResult<String> {
    let values = received.iter().map(whole).collect::<TaskResult<Vec<_>>>()?;
    Ok(shorts(flow, &values))
}

fn shorts(flow: &str, values: &[serde_json::Value]) -> String {
    values.iter().map(|value| short(flow, value)).collect::<Vec<_>>().join(",")
}

/// A value as the names of the tasks that returned it: `a` for `a(b,[c,d])`, and for the id of `a`.
fn short(flow: &str, value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => {
            let name = text.split('(').next().unwrap_or_default();
            name.strip_prefix(flow).and_then(|rest| rest.strip_prefix('-')).unwrap_or(name).to_owned()
        }
        serde_json::Value::Array(values) => format!("[{}]", shorts(flow, values)),
        other => other.to_string(),
    }
}
