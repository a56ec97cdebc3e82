//! Rows 0.84–0.88: hooks, and `on_message`, which sees every state.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use apium::prelude::*;

use crate::fixture::{Records, records};
use crate::gate::Gate;

fn record(ctx: &Ctx, text: impl Into<String>) {
    ctx.state::<Records>().unwrap().add(text);
}

async fn started(ctx: &Ctx) -> TaskResult<()> {
    record(ctx, "before_start");
    Ok(())
}

async fn succeeded(ctx: &Ctx, result: &Json) {
    record(ctx, format!("on_success {result} {}", ctx.request().body.args.len()));
}

async fn failed(ctx: &Ctx, failure: &Failure) {
    let id = ctx.request().id().unwrap();
    record(ctx, format!("on_failure {} {id} {}", failure.exception().exc_type, failure.traceback().is_some()));
}

async fn retried(ctx: &Ctx, cause: Option<&Failure>) {
    record(ctx, format!("on_retry {}", cause.map_or("none", |failure| &failure.exception().exc_type)));
}

async fn returned(ctx: &Ctx, end: &Returned) {
    record(ctx, format!("after_return {} {} {}", end.state, end.result.is_some(), end.failure.is_some()));
}

async fn broken_hook(ctx: &Ctx, _result: &Json) -> TaskResult<()> {
    record(ctx, "broken hook");
    Err(TaskError::failure("hooks may break"))
}

async fn refuses(_ctx: &Ctx) -> TaskResult<()> {
    Err(TaskError::failure("not today"))
}

/// Succeeds for 0, fails for 1, retries once for 2.
#[task(
    name = "guide.hooked",
    before_start = started,
    on_success = succeeded,
    on_failure = failed,
    on_retry = retried,
    after_return = returned,
)]
async fn hooked(ctx: &Ctx, what: i64) -> TaskResult<i64> {
    record(ctx, "body");
    match (what, ctx.request().retries()) {
        (1, _) => Err(std::io::Error::other("disk"))?,
        (2, 0) => Err(ctx.retry().cause(std::io::Error::other("disk")).countdown(Duration::ZERO).into()),
        _ => Ok(what),
    }
}

#[task(name = "guide.hooked_badly", on_success = broken_hook)]
async fn hooked_badly() -> TaskResult<i64> {
    Ok(1)
}

#[task(name = "guide.refused", before_start = refuses)]
async fn refused(ctx: &Ctx) -> TaskResult<i64> {
    record(ctx, "body");
    Ok(1)
}

/// Goes on when its watcher has seen the first state.
#[task(name = "guide.hello")]
async fn hello(ctx: &Ctx, State(gate): State<Gate>, a: i64, b: i64) -> TaskResult<String> {
    ctx.update_state("PROGRESS", 0).await?;
    gate.pass().await;
    ctx.update_state("PROGRESS", 50).await?;
    ctx.update_state("PROGRESS", 90).await?;
    Ok(format!("hello world: {}", a + b))
}

on_every_driver! {
    async fn guide_0_84_on_failure_follows_the_stored_failure(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        hooked::delay(1).task_id("f").send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(
            records(&app),
            ["before_start", "body", "on_failure Error f true", "after_return FAILURE false true"]
        );
    }

    async fn guide_0_84_before_start_can_fail_the_task(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = refused::delay().send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), [""; 0], "the body does not run");
        assert!(result.get().await.unwrap_err().failure().unwrap().to_string().contains("not today"));
    }

    async fn guide_0_85_on_retry_is_told_the_cause(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        hooked::delay(2).send(&app).await.unwrap();
        app.drain().await;
        let seen = records(&app);
        assert_eq!(seen.iter().filter(|record| *record == "on_retry Error").count(), 1);
        assert_eq!(seen.iter().filter(|record| *record == "body").count(), 2);
        assert_eq!(seen.iter().filter(|record| record.starts_with("after_return")).count(), 1, "not for the retry");
    }

    async fn guide_0_86_on_success_has_the_value(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        hooked::delay(0).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(
            records(&app),
            ["before_start", "body", "on_success 0 1", "after_return SUCCESS true false"]
        );
        let broken = hooked_badly::delay().send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), ["broken hook"]);
        assert_eq!(broken.get().await.unwrap(), 1, "an error in the hook changes nothing");
    }

    async fn guide_0_87_after_return_gets_state_value_and_failure(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        for (what, last) in [(0, "after_return SUCCESS true false"), (1, "after_return FAILURE false true")] {
            hooked::delay(what).send(&app).await.unwrap();
            app.drain().await;
            assert_eq!(records(&app).last().unwrap(), last);
        }
    }

    async fn guide_0_88_on_message_sees_every_state(fixture: &Fixture) {
        let gate = Gate::default();
        let app = fixture.builder().state(gate.clone()).build().await.unwrap();
        let result = hello::delay(4, 6).send(&app).await.unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let get = result.get().on_message(move |body| {
            gate.open(1);
            sink.lock().unwrap().push(body.clone());
        });
        let (value, _) = tokio::join!(get, app.drain());
        assert_eq!(value.unwrap(), "hello world: 10");
        let bodies: Vec<serde_json::Value> =
            seen.lock().unwrap().iter().map(|body| serde_json::to_value(body).unwrap()).collect();
        let short: Vec<_> = bodies.iter().map(|b| (b["status"].as_str().unwrap(), b["result"].to_string())).collect();
        assert_eq!(
            short,
            [
                ("PROGRESS", "0".to_owned()),
                ("PROGRESS", "50".to_owned()),
                ("PROGRESS", "90".to_owned()),
                ("SUCCESS", "\"hello world: 10\"".to_owned())
            ]
        );
        for body in &bodies {
            assert_eq!(body["task_id"], result.id().as_str());
            for key in ["traceback", "children"] {
                assert!(body.get(key).is_some(), "{key} in {body}");
            }
        }
    }
}
