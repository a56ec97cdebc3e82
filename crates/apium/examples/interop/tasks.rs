//! The tasks, with the names of those in `tests/interop/tasks.py`.

use std::io::Write;
use std::time::Duration;

use apium::message::repr_value;
use apium::prelude::*;

use crate::errors::{KeyError, ValueError, peer_error, value_error};
use crate::values;

#[task(name = "tasks.add")]
pub(crate) async fn add(x: Value, y: Value) -> TaskResult<Value> {
    values::add(&x, &y).map_err(TaskError::from)
}

#[task(name = "tasks.mul")]
pub(crate) async fn mul(x: Value, y: Value) -> TaskResult<Value> {
    values::mul(&x, &y).map_err(TaskError::from)
}

#[task(name = "tasks.xsum")]
pub(crate) async fn xsum(numbers: Vec<Value>) -> TaskResult<Value> {
    values::sum(&numbers).map_err(TaskError::from)
}

#[task(name = "tasks.echo")]
pub(crate) async fn echo(args: Args, kwargs: Kwargs) -> TaskResult<Value> {
    let list = args.iter().map(Json::to_value).collect::<Result<_, _>>()?;
    let mut map = Vec::new();
    for (key, value) in kwargs.iter() {
        map.push((key.clone(), value.to_value()?));
    }
    Ok(Value::Map(vec![("args".into(), Value::List(list)), ("kwargs".into(), Value::Map(map))]))
}

#[task(name = "tasks.identity")]
pub(crate) async fn identity(#[default] value: Json) -> TaskResult<Json> {
    Ok(value)
}

#[task(name = "tasks.noop")]
pub(crate) async fn noop() -> TaskResult<()> {
    Ok(())
}

#[task(name = "tasks.fail")]
pub(crate) async fn fail(#[default(Value::Str("boom".to_owned()))] message: Value) -> TaskResult<()> {
    Err(value_error(&message).into())
}

#[task(name = "tasks.fail_custom")]
pub(crate) async fn fail_custom(
    #[default(Value::Int(7))] code: Value,
    #[default(Value::Str("custom".to_owned()))] text: Value,
) -> TaskResult<()> {
    Err(peer_error(&code, &text).into())
}

/// Succeeds after `times` retries, and returns how many there were.
#[task(name = "tasks.retry", max_retries = 3)]
pub(crate) async fn retry(
    ctx: &Ctx,
    #[default(1)] times: u32,
    #[default] countdown: f64,
    #[default(Value::Str("done".to_owned()))] value: Value,
) -> TaskResult<Value> {
    let retries = ctx.request().retries();
    if retries < times {
        return Err(ctx.retry().countdown(seconds(countdown)?).cause(ValueError("not yet".to_owned())).into());
    }
    Ok(Value::Map(vec![("value".to_owned(), value), ("retries".to_owned(), Value::Int(retries.into()))]))
}

#[task(name = "tasks.always_retry", max_retries = 1)]
pub(crate) async fn always_retry(ctx: &Ctx, #[default] countdown: f64) -> TaskResult<()> {
    Err(ctx.retry().countdown(seconds(countdown)?).cause(KeyError("k".to_owned())).into())
}

/// Fails in its first `times` runs, and is retried automatically.
#[task(name = "tasks.auto_retry", autoretry_for(ValueError), max_retries = 2)]
pub(crate) async fn auto_retry(ctx: &Ctx, #[default(1)] times: u32) -> TaskResult<u32> {
    let retries = ctx.request().retries();
    if retries < times { Err(ValueError("not yet".to_owned()).into()) } else { Ok(retries) }
}

#[task(name = "tasks.sleep")]
pub(crate) async fn sleep(ctx: &Ctx, #[default(Value::Float(1.0))] seconds: Value) -> TaskResult<Value> {
    sleep_for(ctx, seconds).await
}

#[task(name = "tasks.late_sleep", acks_late)]
pub(crate) async fn late_sleep(ctx: &Ctx, #[default(Value::Float(1.0))] seconds: Value) -> TaskResult<Value> {
    sleep_for(ctx, seconds).await
}

#[task(name = "tasks.soft", soft_time_limit = "1s")]
pub(crate) async fn soft(ctx: &Ctx, #[default(Value::Float(3.0))] seconds: Value) -> TaskResult<Value> {
    sleep_for(ctx, seconds).await
}

#[task(name = "tasks.progress")]
pub(crate) async fn progress(ctx: &Ctx, #[default(3)] steps: i64, #[default(0.2)] pause: f64) -> TaskResult<i64> {
    for step in 1..=steps {
        ctx.update_state("PROGRESS", json!({ "current": step, "total": steps })).await?;
        pause_or_limit(ctx, seconds(pause)?).await?;
    }
    Ok(steps)
}

/// Appends a line to a file at its start and at its end, with the worker's name, so that tests see what ran where.
#[task(name = "tasks.log_run", acks_late)]
pub(crate) async fn log_run(ctx: &Ctx, path: String, word: String, #[default] seconds: f64) -> TaskResult<String> {
    let host = &ctx.request().hostname;
    append(&path, &format!("begin {word} {host}\n"))?;
    pause_or_limit(ctx, self::seconds(seconds)?).await?;
    append(&path, &format!("end {word} {host}\n"))?;
    Ok(word)
}

/// One write to a file that is open for appending: the lines of several processes do not mix.
fn append(path: &str, line: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
}

/// Returns what the worker knows about its message.
#[task(name = "tasks.whoami")]
pub(crate) async fn whoami(ctx: &Ctx) -> TaskResult<serde_json::Value> {
    let request = ctx.request();
    let (headers, properties, from) = (&request.headers, &request.properties, &request.delivery_info);
    let limits = [headers.timelimit.hard, headers.timelimit.soft].map(|limit| limit.map(values::whole));
    let custom = if headers.extra.is_empty() { json!(null) } else { json!(headers.extra) };
    Ok(json!({
        "id": headers.id, "root_id": headers.root_id, "parent_id": headers.parent_id,
        "group": headers.group, "group_index": headers.group_index, "retries": headers.retries,
        "eta": headers.eta, "expires": headers.expires,
        "timelimit": limits,
        "shadow": headers.shadow, "origin": headers.origin.as_deref(),
        "reply_to": properties.reply_to.as_deref(), "correlation_id": properties.correlation_id.as_deref(),
        "stamped_headers": headers.stamped_headers, "stamps": headers.stamps,
        "ignore_result": headers.ignore_result,
        "delivery_info": {
            "exchange": &*from.exchange, "routing_key": &*from.routing_key,
            "priority": from.priority, "redelivered": from.redelivered,
        },
        "headers": custom, "argsrepr": headers.argsrepr, "kwargsrepr": headers.kwargsrepr,
    }))
}

#[task(name = "tasks.reject", acks_late)]
pub(crate) async fn reject(#[default] requeue: bool) -> TaskResult<()> {
    Err(TaskError::reject_because("rejected by task", requeue))
}

#[task(name = "tasks.ignore")]
pub(crate) async fn ignore() -> TaskResult<()> {
    Err(TaskError::ignore())
}

/// Sends tasks, which become the children of its result.
#[task(name = "tasks.spawn")]
pub(crate) async fn spawn(#[default(2)] n: i64) -> TaskResult<i64> {
    for i in 0..n {
        add::delay(Value::Int(i), Value::Int(i)).await?;
    }
    Ok(n)
}

/// Replaces itself with another task.
#[task(name = "tasks.replace_me")]
pub(crate) async fn replace_me(ctx: &Ctx, x: Value, y: Value) -> TaskResult<Value> {
    Err(ctx.replace(add::s(x, y).to_wire()?))
}

/// An errback with any arguments: the worker calls it with request, exception and traceback.
#[task(name = "tasks.on_error")]
pub(crate) async fn on_error(args: Args) -> TaskResult<Vec<String>> {
    Ok(args.iter().map(repr_value).collect())
}

/// An errback with one argument: it is sent as a message with the id of the failed task.
#[task(name = "tasks.errback1")]
pub(crate) async fn errback1(failed_id: String) -> TaskResult<String> {
    Ok(format!("failed:{failed_id}"))
}

/// An errback with three arguments: the worker calls it, and it prints a line.
#[task(name = "tasks.errback3")]
pub(crate) async fn errback3(request: Value, exc: Json, traceback: Json) -> TaskResult<()> {
    let id = request.get("id").map_or_else(String::new, |id| id.as_str().unwrap_or_default().to_owned());
    let exception = ExceptionInfo::from_json(&exc);
    // The start of Python's `repr` of the exception.
    let _ = (traceback, writeln!(std::io::stderr(), "ERRBACK3 {id} {}", exception.exc_type));
    Ok(())
}

fn seconds(number: f64) -> TaskResult<Duration> {
    Ok(Duration::try_from_secs_f64(number)?)
}

/// Sleeps for the given seconds, and returns them unchanged.
async fn sleep_for(ctx: &Ctx, length: Value) -> TaskResult<Value> {
    let number = length
        .as_f64()
        .ok_or_else(|| Failure::of_class("builtins.TypeError", "the number of seconds must be a number"))?;
    pause_or_limit(ctx, seconds(number)?).await?;
    Ok(length)
}

/// Sleeps, unless the soft limit is reached first. Then the task fails with `SoftTimeLimitExceeded`.
async fn pause_or_limit(ctx: &Ctx, pause: Duration) -> TaskResult<()> {
    tokio::select! {
        () = tokio::time::sleep(pause) => Ok(()),
        () = ctx.soft_limit().wait() => ctx.check(),
    }
}
