//! The tasks of these tests. Celery's are in `tests/interop/operating.py`.

use std::sync::Arc;
use std::time::Duration;

use apium::canvas::Node;
use apium::prelude::*;
use apium_protocol::message::signature::Signature as WireSignature;
use serde_json::Value;

use crate::faults::kit::run_log::RunLog;

/// Records its number and then takes so many milliseconds.
#[task(name = "operating.run", acks_late)]
pub async fn run(ctx: &Ctx, number: u64, millis: u64) -> TaskResult<u64> {
    record(ctx, number)?;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(number)
}

/// The same, and its message is acked before it runs.
#[task(name = "operating.run_early", acks_late = false)]
pub async fn run_early(ctx: &Ctx, number: u64, millis: u64) -> TaskResult<u64> {
    record(ctx, number)?;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(number)
}

/// A step of a chain behind another one: records its number.
#[task(name = "operating.step", acks_late)]
pub async fn step(ctx: &Ctx, _previous: u64, number: u64) -> TaskResult<u64> {
    record(ctx, number)?;
    Ok(number)
}

/// The body of a chord: records its number, and returns how many parts there are.
#[task(name = "operating.total", acks_late)]
pub async fn total(ctx: &Ctx, parts: Vec<u64>, number: u64) -> TaskResult<u64> {
    record(ctx, number)?;
    Ok(parts.len() as u64)
}

/// Records its number, and holds its thread for so many milliseconds, as a task should not.
#[task(name = "operating.block", acks_late)]
pub async fn block(ctx: &Ctx, number: u64, millis: u64) -> TaskResult<u64> {
    record(ctx, number)?;
    #[expect(clippy::disallowed_methods, reason = "this is the mistake that the worker is to name")]
    std::thread::sleep(Duration::from_millis(millis));
    Ok(number)
}

fn record(ctx: &Ctx, number: u64) -> std::io::Result<()> {
    ctx.state::<Arc<RunLog>>().map_or(Ok(()), |log| log.record(number))
}

/// The id of a task.
pub fn id(number: u64) -> String {
    format!("operating-{number}")
}

/// A task of a workflow, by its name. Its id is that of its number.
pub fn node(name: &str, args: &[Value], number: u64) -> Result<Node, BoxError> {
    let wire = json!({"task": name, "args": args, "kwargs": {}, "options": {"task_id": id(number)}});
    Ok(Node::from_wire(&WireSignature::from_json(wire.to_string().as_bytes())?)?)
}
