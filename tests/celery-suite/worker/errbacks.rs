//! Tasks that tell in Redis that they ran: callbacks, errbacks, and what the tests count.

use apium::prelude::*;

use crate::store;

#[task(name = "t.integration.tasks.redis_echo")]
pub(crate) async fn redis_echo(
    message: Value,
    #[default("redis-echo".to_owned())] redis_key: String,
) -> TaskResult<()> {
    store::push_value(&redis_key, &message).await
}

#[task(name = "t.integration.tasks.redis_echo_group_id")]
pub(crate) async fn redis_echo_group_id(
    ctx: &Ctx,
    _before: Json,
    #[default("redis-group-ids".to_owned())] redis_key: String,
) -> TaskResult<()> {
    store::push(&redis_key, ctx.request().group().unwrap_or_default()).await
}

#[task(name = "t.integration.tasks.redis_count")]
pub(crate) async fn redis_count(#[default("redis-count".to_owned())] redis_key: String) -> TaskResult<()> {
    store::count(&redis_key).await
}

#[task(name = "t.integration.tasks.errback_old_style")]
pub(crate) async fn errback_old_style(request_id: String) -> TaskResult<String> {
    store::count(&request_id).await?;
    Ok(request_id)
}

#[task(name = "t.integration.tasks.errback_new_style")]
pub(crate) async fn errback_new_style(request: Value, _exc: Json, _tb: Json) -> TaskResult<String> {
    let id = id_of(&request);
    store::count(&id).await?;
    Ok(id)
}

#[task(name = "t.integration.tasks.errback_old_style_with_args")]
pub(crate) async fn errback_old_style_with_args(request_id: String, label: Value) -> TaskResult<()> {
    store::push_value(&request_id, &label).await
}

#[task(name = "t.integration.tasks.errback_new_style_with_args")]
pub(crate) async fn errback_new_style_with_args(request: Value, _exc: Json, _tb: Json, label: Value) -> TaskResult<()> {
    store::push_value(&id_of(&request), &label).await
}

fn id_of(request: &Value) -> String {
    request.get("id").and_then(Value::as_str).unwrap_or_default().to_owned()
}
