//! Tasks that return what their request says.

use apium::prelude::*;

use crate::python;

/// The first task of the workflow, the task that sent this one, and the argument.
type Ids = (Option<String>, Option<String>, Value);

fn ids_of(ctx: &Ctx, i: Value) -> Ids {
    let text = |id: Option<&TaskId>| id.map(|id| id.as_str().to_owned());
    (text(ctx.request().root_id()), text(ctx.request().parent_id()), i)
}

#[task(name = "t.integration.tasks.ids")]
pub(crate) async fn ids(ctx: &Ctx, i: Value) -> Ids {
    ids_of(ctx, i)
}

#[task(name = "t.integration.tasks.collect_ids")]
pub(crate) async fn collect_ids(ctx: &Ctx, res: Value, i: Value) -> (Value, Ids) {
    (res, ids_of(ctx, i))
}

#[task(name = "t.integration.tasks.return_priority")]
pub(crate) async fn return_priority(ctx: &Ctx, _args: Args) -> String {
    let priority = ctx.request().delivery_info.priority;
    format!("Priority: {}", priority.map_or("None".to_owned(), |priority| priority.to_string()))
}

#[task(name = "t.integration.tasks.return_request_eta")]
pub(crate) async fn return_request_eta(ctx: &Ctx) -> Option<String> {
    ctx.request().headers.eta.clone()
}

#[task(name = "t.integration.tasks.return_properties")]
pub(crate) async fn return_properties(ctx: &Ctx) -> TaskResult<Json> {
    Ok(Json::from_serialize(&ctx.request().properties)?)
}

fn time_limits(ctx: &Ctx) -> TaskResult<Json> {
    let limits = ctx.request().timelimit();
    let seconds = |limit: Option<f64>| limit.map(python::seconds);
    let map = json!({"time_limit": seconds(limits.hard), "soft_time_limit": seconds(limits.soft)});
    Ok(Json::from_serialize(&map)?)
}

#[task(name = "t.integration.tasks.return_request_time_limits")]
pub(crate) async fn return_request_time_limits(ctx: &Ctx) -> TaskResult<Json> {
    time_limits(ctx)
}

#[task(name = "t.integration.tasks.task_with_declared_time_limits", time_limit = 60, soft_time_limit = 45)]
pub(crate) async fn task_with_declared_time_limits(ctx: &Ctx) -> TaskResult<Json> {
    time_limits(ctx)
}

/// In Python its soft limit is longer than its hard one, which is refused where it is called. Here such a task does not
/// compile.
#[task(name = "t.integration.tasks.soft_time_limit_must_exceed_time_limit")]
pub(crate) async fn soft_time_limit_must_exceed_time_limit() {}
