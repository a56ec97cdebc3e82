//! The tasks of the workflows, and functions to look at their results.

use std::time::Duration;

use apium::Error;
use apium::canvas::{Node, send};
use apium::message::Signature as WireSignature;
use apium::prelude::*;
use apium::testing::TestApp;
use serde::de::DeserializeOwned;

use crate::fixture::{PATIENCE, Records};

#[task(name = "canvas.add")]
pub(crate) async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

#[task(name = "canvas.mul")]
pub(crate) async fn mul(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x * y)
}

#[task(name = "canvas.same")]
pub(crate) async fn same(x: Json) -> TaskResult<Json> {
    Ok(x)
}

#[task(name = "canvas.sum")]
pub(crate) async fn sum(numbers: Vec<i64>) -> TaskResult<i64> {
    Ok(numbers.iter().sum())
}

/// Records its argument, so a test sees how often it ran.
#[task(name = "canvas.record")]
pub(crate) async fn record(State(records): State<Records>, x: Json) -> TaskResult<Json> {
    records.add(format!("recorded {x}"));
    Ok(x)
}

/// Takes one argument, whatever it is, and fails.
#[task(name = "canvas.boom")]
pub(crate) async fn boom(x: Json) -> TaskResult<i64> {
    let _ = x;
    Err(TaskError::of_class("builtins.ValueError", "boom"))
}

#[task(name = "canvas.ignored", ignore_result)]
pub(crate) async fn ignored(x: i64) -> TaskResult<i64> {
    Ok(x)
}

/// Ends as its argument says.
#[task(name = "canvas.ends", max_retries = 1)]
pub(crate) async fn ends(ctx: &Ctx, how: String) -> TaskResult<String> {
    let is_first = ctx.request().retries() == 0;
    match how.as_str() {
        "ignored" => Err(TaskError::ignore()),
        "rejected" => Err(TaskError::reject(false)),
        "retried" | "retried and failed" if is_first => Err(ctx.retry().countdown(Duration::from_secs(5)).into()),
        "failed" | "retried and failed" => Err(TaskError::of_class("builtins.ValueError", "boom")),
        _ => Ok(how),
    }
}

/// An errback of the old style: it takes the id of the failed task.
#[task(name = "canvas.errback1")]
pub(crate) async fn errback1(State(records): State<Records>, id: String) -> TaskResult<String> {
    records.add(format!("errback1 {id}"));
    Ok(id)
}

/// An errback of the new style: the worker of the failed task calls it.
#[task(name = "canvas.errback3")]
pub(crate) async fn errback3(
    State(records): State<Records>,
    request: serde_json::Value,
    exception: ExceptionInfo,
    traceback: Option<String>,
) -> TaskResult<()> {
    let _ = traceback;
    let id = request["id"].as_str().unwrap_or("?");
    records.add(format!("errback3 {id} {}: {}", exception.exc_type, exception.message()));
    Ok(())
}

/// A signature by name, without types.
pub(crate) fn call(task: &str, args: serde_json::Value) -> Node {
    let wire = json!({"task": task, "args": args, "kwargs": {}, "options": {}});
    Node::from_wire(&WireSignature::from_json(wire.to_string().as_bytes()).unwrap()).unwrap()
}

/// Like [`call`], but immutable: it ignores the previous result.
pub(crate) fn immutable_call(task: &str, args: serde_json::Value) -> Node {
    let mut node = call(task, args);
    node.set_immutable(true);
    node
}

/// A node as a link.
pub(crate) fn link(node: &Node) -> WireSignature {
    node.to_wire().unwrap()
}

/// Sends a node.
pub(crate) async fn sent<T>(app: &App, node: Node) -> AsyncResult<T> {
    AsyncResult::of_tuple(app, &send(app, node).await.unwrap())
}

/// Runs all messages, and returns the value of a result.
pub(crate) async fn ran<T: DeserializeOwned + Send + 'static>(app: &TestApp, result: &AsyncResult<T>) -> T {
    app.drain().await;
    result.get().timeout(PATIENCE).await.unwrap()
}

/// Runs all messages, and returns the type and the text of the error that `get` raises.
pub(crate) async fn raised<T: DeserializeOwned + Send + 'static>(
    app: &TestApp,
    result: &AsyncResult<T>,
) -> (String, String) {
    app.drain().await;
    match result.get().timeout(PATIENCE).await {
        Ok(_) => panic!("task {} should fail", result.id()),
        Err(error) => kind(&error),
    }
}

/// The type and the text of the failure behind an error.
pub(crate) fn kind(error: &Error) -> (String, String) {
    let exception = error.failure().unwrap_or_else(|| panic!("{error} is no failure of a task")).exception();
    (exception.exc_type.clone(), exception.message())
}

/// What [`boom`] fails with.
pub(crate) fn boomed() -> (String, String) {
    ("ValueError".to_owned(), "boom".to_owned())
}

/// The stored state of a result; for a group, of all members.
pub(crate) async fn state<T>(result: &AsyncResult<T>) -> String {
    result.app().result::<Json>(result.id().clone()).state().await.unwrap().to_string()
}

/// The stored states of a result and of its parents, the first one first. All of them are tasks.
pub(crate) async fn states<T>(result: &AsyncResult<T>) -> Vec<String> {
    let mut states = Vec::new();
    for id in result.as_list().into_iter().rev() {
        states.push(result.app().result::<Json>(id).state().await.unwrap().to_string());
    }
    states
}

/// The type and the text of the error that is stored under an id.
pub(crate) async fn stored_error(app: &App, id: &TaskId) -> (String, String) {
    let document = app.result::<Json>(id.clone()).document().await.unwrap().expect("a result is stored");
    let exception = ExceptionInfo::from_json(&document.result);
    (exception.exc_type.clone(), exception.message())
}
