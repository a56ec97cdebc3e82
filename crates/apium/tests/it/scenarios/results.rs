//! Scenarios 20 and 21: results that nobody wants, and results that a task may not wait for.

use std::time::{Duration, Instant};

use apium::ErrorKind;
use apium::prelude::*;
use apium::worker::StopKind;
use futures_util::FutureExt;

use crate::ground::{Notes, notes};

use crate::live::{live, start, stop, value};

/// What a task of these tests does before it returns.
async fn work(ctx: &Ctx, notes: &Notes, how: &str) -> TaskResult<Json> {
    notes.add(how);
    match how {
        "fail" => Err(TaskError::of_class("builtins.ValueError", "boom")),
        "progress" => {
            ctx.update_state("PROGRESS", json!({"done": 3})).await?;
            Ok(Json::from_serialize(&5)?)
        }
        _ => Ok(Json::from_serialize(&5)?),
    }
}

#[task(name = "scenarios.stored")]
async fn stored(ctx: &Ctx, State(notes): State<Notes>, how: String) -> TaskResult<Json> {
    work(ctx, &notes, &how).await
}

#[task(name = "scenarios.ignored", ignore_result)]
async fn ignored(ctx: &Ctx, State(notes): State<Notes>, how: String) -> TaskResult<Json> {
    work(ctx, &notes, &how).await
}

#[task(name = "scenarios.only_errors", ignore_result, store_errors_even_if_ignored)]
async fn only_errors(ctx: &Ctx, State(notes): State<Notes>, how: String) -> TaskResult<Json> {
    work(ctx, &notes, &how).await
}

#[task(name = "scenarios.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

#[task(name = "scenarios.asks")]
async fn asks(allowed: bool) -> TaskResult<i64> {
    let get = add::delay(1, 1).await?.get().timeout(Duration::from_secs(20));
    Ok(if allowed { get.allow_in_task().await? } else { get.await? })
}

#[task(name = "scenarios.asks_plainly")]
fn asks_plainly(allowed: bool) -> TaskResult<i64> {
    let get = add::delay(1, 1).send_blocking(&App::current()?)?.get().timeout(Duration::from_secs(20));
    Ok(if allowed { get.allow_in_task().wait()? } else { get.wait()? })
}

on_every_driver! {
    async fn scenario_20_an_ignored_result_is_written_nowhere(ground: &Ground) {
        let app = ground.app(&[]).await;
        let by_setting = ground.builder().setting("task_ignore_result", true).build().await.unwrap();
        for (app, call) in [
            (&app, ignored::delay("well".into())),
            (&app, ignored::delay("fail".into())),
            (&app, stored::delay("well".into()).ignore_result(true)),
            (&app, stored::delay("fail".into()).ignore_result(true)),
            (&by_setting, stored::delay("well".into())),
            (&by_setting, stored::delay("fail".into())),
        ] {
            let result = call.send(app).await.unwrap();
            let at_once = result.get().into_future().now_or_never();
            let nothing = at_once.expect("nobody waits for an ignored result").unwrap();
            assert!(nothing.is_null(), "{nothing}");
            app.drain().await;
            assert_eq!(notes(app).len(), 1, "it runs all the same");
            let ids = [result.id().clone()];
            assert_eq!(app.backend().unwrap().stored().unwrap().fetch(&ids).await.unwrap(), [None]);
            assert_eq!(app.result::<Json>(result.id().clone()).state().await.unwrap(), TaskState::Pending);
        }
        let wanted = ignored::delay("well".into()).ignore_result(false).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(wanted.get().await.unwrap().decode::<i64>().unwrap(), 5, "the call has the last word");
    }

    async fn scenario_20_errors_are_stored_where_that_is_asked_for(ground: &Ground) {
        let app = ground.app(&[]).await;
        let by_setting = ground.builder().setting("task_store_errors_even_if_ignored", true).build().await.unwrap();
        for (app, well, fail) in [
            (&app, only_errors::delay("well".into()), only_errors::delay("fail".into())),
            (&by_setting, ignored::delay("well".into()), ignored::delay("fail".into())),
        ] {
            let (well, fail) = (well.send(app).await.unwrap(), fail.send(app).await.unwrap());
            app.drain().await;
            assert!(!well.exists().await.unwrap(), "a success is not stored");
            let seen = app.result::<Json>(fail.id().clone());
            assert_eq!(seen.state().await.unwrap(), TaskState::Failure);
            let error = seen.get().await.unwrap_err();
            assert_eq!(error.failure().unwrap().exception().exc_type, "ValueError");
        }
    }

    async fn scenario_20_a_state_of_ones_own_is_stored_even_if_ignored(ground: &Ground) {
        let app = ground.app(&[]).await;
        for call in [ignored::delay("progress".into()), stored::delay("progress".into()).ignore_result(true)] {
            let result = call.send(&app).await.unwrap();
            app.drain().await;
            let seen = app.result::<Json>(result.id().clone());
            assert_eq!(seen.state().await.unwrap().as_str(), "PROGRESS");
            assert_eq!(seen.info().await.unwrap().as_str(), "{\"done\": 3}");
        }
    }

    async fn scenario_21_get_inside_a_task_is_refused(ground: &Ground) {
        let builder = live(ground).register::<add>().register::<asks>().register::<asks_plainly>();
        let app = builder.build().await.unwrap();
        let worker = start(&app, 2).await;
        let began = Instant::now();
        for refused in [asks::delay(false), asks_plainly::delay(false)] {
            let error = refused.send(&app).await.unwrap().get().timeout(crate::live::PATIENCE).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TaskFailed);
            let exception = error.failure().unwrap().exception();
            assert!(exception.is("builtins.RuntimeError"), "{exception:?}");
            assert!(exception.message().contains("Never call result.get() within a task!"), "{exception:?}");
        }
        assert!(began.elapsed() < Duration::from_secs(20), "nobody waited for the timeout");
        for allowed in [asks::delay(true), asks_plainly::delay(true)] {
            assert_eq!(value(&allowed.send(&app).await.unwrap()).await, 2);
        }
        stop(worker, StopKind::Warm).await;
    }
}
