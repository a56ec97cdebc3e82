//! Ignored results, and `get` inside of a task.

use std::time::{Duration, Instant};

use apium::ErrorKind;
use apium::prelude::*;
use apium::worker::StopKind;
use futures_util::{FutureExt, TryStreamExt as _};

use crate::fixture::{Records, records};

use crate::live::{live, start, stop, value};

/// What a task of these tests does.
async fn run_body(ctx: &Ctx, records: &Records, how: &str) -> TaskResult<Json> {
    records.add(how);
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
async fn stored(ctx: &Ctx, State(records): State<Records>, how: String) -> TaskResult<Json> {
    run_body(ctx, &records, &how).await
}

#[task(name = "scenarios.ignored", ignore_result)]
async fn ignored(ctx: &Ctx, State(records): State<Records>, how: String) -> TaskResult<Json> {
    run_body(ctx, &records, &how).await
}

#[task(name = "scenarios.only_errors", ignore_result, store_errors_even_if_ignored)]
async fn only_errors(ctx: &Ctx, State(records): State<Records>, how: String) -> TaskResult<Json> {
    run_body(ctx, &records, &how).await
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
    async fn an_ignored_result_is_not_stored(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let by_setting = fixture.builder().setting("task_ignore_result", true).build().await.unwrap();
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
            let nothing = at_once.expect("`get` of an ignored result does not wait").unwrap();
            assert!(nothing.is_null(), "{nothing}");
            app.drain().await;
            assert_eq!(records(app).len(), 1, "it runs all the same");
            let ids = [result.id().clone()];
            assert_eq!(app.backend().unwrap().stored().unwrap().fetch(&ids).await.unwrap(), [None]);
            assert_eq!(app.result::<Json>(result.id().clone()).state().await.unwrap(), TaskState::Pending);
        }
        let wanted = ignored::delay("well".into()).ignore_result(false).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(wanted.get().await.unwrap().decode::<i64>().unwrap(), 5, "the call decides");
    }

    async fn errors_of_ignored_results_are_stored_when_asked_for(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let by_setting = fixture.builder().setting("task_store_errors_even_if_ignored", true).build().await.unwrap();
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

    async fn a_custom_state_is_stored_even_if_ignored(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        for call in [ignored::delay("progress".into()), stored::delay("progress".into()).ignore_result(true)] {
            let result = call.send(&app).await.unwrap();
            app.drain().await;
            let seen = app.result::<Json>(result.id().clone());
            assert_eq!(seen.state().await.unwrap().as_str(), "PROGRESS");
            assert_eq!(seen.info().await.unwrap().as_str(), "{\"done\": 3}");
        }
    }

    async fn watch_and_on_message_give_one_type_which_a_web_handler_sends_as_it_is(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        for how in ["progress", "fail"] {
            let result = stored::delay(how.into()).send(&app).await.unwrap();
            let (sender, received) = std::sync::mpsc::sync_channel(100);
            let get = result.get().on_message(move |update| sender.try_send(update.clone()).unwrap()).outcome();
            // As in a web handler: one event for each state.
            let events = result.watch().await.unwrap().map_ok(|update| json!(update).to_string()).try_collect::<Vec<_>>();
            let (_, events, _) = tokio::join!(get, events, app.drain());
            let events = events.unwrap().into_iter().map(|event| serde_json::from_str(&event).unwrap());
            let (watched, received): (Vec<ResultDocument>, Vec<ResultDocument>) = (events.collect(), received.try_iter().collect());
            let last = watched.last().unwrap();
            assert_eq!(json!(last), json!(received.last().unwrap()));
            for update in watched.iter().chain(&received) {
                assert_eq!(update.task_id, *result.id());
                assert_eq!(json!(update)["status"], json!(update.state));
            }
            match how {
                "fail" => {
                    let raised = last.exception().unwrap();
                    assert!(raised.is("builtins.ValueError") && raised.message() == "boom", "{raised:?}");
                    assert!(last.traceback.is_some() && last.value::<i64>().unwrap().is_none());
                }
                _ => {
                    assert_eq!((last.value().unwrap(), last.exception()), (Some(5), None));
                    assert_eq!(last.children.as_deref(), Some(&[][..]));
                    for progress in watched.iter().filter(|update| update.state.as_str() == "PROGRESS") {
                        assert_eq!(progress.meta().unwrap(), Some(json!({"done": 3})));
                    }
                }
            }
        }
    }

    async fn get_inside_a_task_is_refused(fixture: &Fixture) {
        let builder = live(fixture).register::<add>().register::<asks>().register::<asks_plainly>();
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
        assert!(began.elapsed() < Duration::from_secs(20), "the tasks did not wait for the timeout");
        for allowed in [asks::delay(true), asks_plainly::delay(true)] {
            assert_eq!(value(&allowed.send(&app).await.unwrap()).await, 2);
        }
        stop(worker, StopKind::Warm).await;
    }
}
