//! The request: what a task can know about its run.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use std::time::Duration;

use apium::prelude::*;

#[task(name = "guide.dump_context")]
async fn dump_context(ctx: &Ctx, x: i64, y: i64) -> TaskResult<serde_json::Value> {
    let request = ctx.request();
    let headers = &request.headers;
    Ok(json!({
        "id": ctx.id(), "root_id": headers.root_id, "parent_id": headers.parent_id,
        "retries": ctx.retries(), "group": headers.group, "origin": headers.origin.as_deref(),
        "correlation_id": request.properties.correlation_id.as_deref(),
        "hostname": &*request.hostname, "queue": &*request.delivery_info.queue,
        "hard_limit": headers.timelimit.hard, "soft_limit": headers.timelimit.soft,
        "expires": headers.expires, "custom": headers.extra,
        "is_eager": ctx.is_eager(), "called_directly": ctx.called_directly(), "utc": request.utc,
        "sum": x + y,
    }))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::test().build().await?;
    let sent = dump_context::delay(2, 2)
        .task_id("guide-1")
        .time_limit(Duration::from_secs(30))
        .soft_time_limit(Duration::from_secs(20))
        .expires_in(Duration::from_secs(60))
        .header("tenant", 7)
        .send(&app)
        .await?;
    app.drain().await;
    let seen = sent.get().await?;
    println!("{seen:#}");

    assert_eq!(seen["id"], "guide-1");
    assert_eq!((&seen["root_id"], &seen["correlation_id"]), (&json!("guide-1"), &json!("guide-1")));
    assert_eq!((&seen["hard_limit"], &seen["soft_limit"]), (&json!(30.0), &json!(20.0)));
    assert_eq!((&seen["retries"], &seen["called_directly"]), (&json!(0), &json!(false)));
    assert_eq!(seen["custom"]["tenant"], 7);
    assert!(seen["expires"].is_string());

    // Called as a function, the task has no message and no id.
    let direct = dump_context(&Ctx::direct(), 2, 2).await?;
    assert_eq!((&direct["id"], &direct["called_directly"]), (&json!(null), &json!(true)));
    Ok(())
}
