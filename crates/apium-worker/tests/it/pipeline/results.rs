//! What is stored of a run, and when hooks see it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::context::context::Ctx;
use apium_app::task::definition::{Hooks, Returned};
use apium_app::task_error::{TaskError, TaskResult};
use apium_transport::backend::backend::SharedBackend;
use apium_worker::builder::AppWorker as _;
use apium_worker::testing::builder::AppTest as _;
use futures_util::future::BoxFuture;

use crate::rig::{Gate, Notes, json, send, state, stored, until_state};
use crate::task;

task!(Ignored = "ignored", [ignore_result: Some(true)], async |ctx| {
    ctx.update_state("PROGRESS", serde_json::json!({"done": 1})).await.unwrap();
    Ok(json(1))
});
task!(IgnoredFails = "ignored_fails", [ignore_result: Some(true)], async |_ctx| Err(TaskError::failure("no")));
task!(KeepsErrors = "keeps_errors", [ignore_result: Some(true), store_errors_even_if_ignored: Some(true)], async |_ctx| {
    Err(TaskError::failure("no"))
});

#[tokio::test]
async fn ignored_results_are_not_stored_but_errors_may_be() {
    let builder = App::test().with(|app| app.autodiscover(false)).register::<Ignored>();
    let app = builder.register::<IgnoredFails>().register::<KeepsErrors>().build().await.unwrap();
    for task in ["ignored", "ignored_fails", "keeps_errors"] {
        send(&app, task, task).await;
    }
    assert_eq!(app.drain().await, 3);
    assert_eq!(state(&app, "ignored").await, "PROGRESS", "update_state writes all the same");
    assert_eq!(state(&app, "ignored_fails").await, "PENDING");
    assert_eq!(state(&app, "keeps_errors").await, "FAILURE");
}

task!(Tracked = "tracked", [track_started: Some(true)], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json("done"))
});

#[tokio::test]
async fn started_is_stored_before_the_run_with_pid_and_node() {
    let gate = Gate::new();
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone());
    let app = builder.setting("result_extended", true).register::<Tracked>().build().await.unwrap();
    app.sig("tracked").args((7, "x")).call().task_id("id").send(&app).await.unwrap();
    let worker = app.worker().hostname("w1@here").concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    let started = stored(&app, "id").await.unwrap();
    assert_eq!(started.state.as_str(), "STARTED");
    let info: serde_json::Value = started.result.decode().unwrap();
    assert_eq!(info, serde_json::json!({"pid": std::process::id(), "hostname": "w1@here"}));
    gate.open(1);
    until_state(&app, "id", "SUCCESS").await;
    let document = stored(&app, "id").await.unwrap();
    let extended = document.extended.unwrap();
    assert_eq!(extended.name.as_deref(), Some("tracked"));
    assert_eq!(extended.worker.as_deref(), Some("w1@here"));
    assert_eq!(extended.args.unwrap().as_str(), "[7, \"x\"]");
    assert_eq!(extended.queue.as_deref(), Some("celery"));
    assert_eq!(document.children, Some(Vec::new()));
    assert!(document.date_done.is_some());
    worker.stop().await;
}

/// The result backend, so that hooks can read the stored state.
type Store = Arc<OnceLock<SharedBackend>>;

fn add_state(ctx: &Ctx, what: String) -> BoxFuture<'static, TaskResult<()>> {
    let ctx = ctx.clone();
    Box::pin(async move {
        let id = ctx.request().id().unwrap().to_string();
        let backend = ctx.state::<Store>().unwrap().get().unwrap();
        let document = backend.stored().unwrap().fetch(&[id.as_str().into()]).await.unwrap().remove(0);
        let state = document.map_or_else(|| "PENDING".to_owned(), |document| document.state.to_string());
        ctx.state::<Notes>().unwrap().add(format!("{what} while {state}"));
        Ok(())
    })
}

const HOOKS: Hooks = Hooks {
    before_start: Some(|ctx, ()| add_state(&ctx, "before_start".into())),
    on_success: Some(|ctx, value| add_state(&ctx, format!("on_success {value:?}"))),
    on_failure: Some(|ctx, failure| add_state(&ctx, format!("on_failure {failure}"))),
    on_retry: Some(|ctx, cause| add_state(&ctx, format!("on_retry {}", cause.is_some()))),
    on_replace: None,
    after_return: Some(|ctx, returned: Returned| {
        add_state(&ctx, format!("after_return {} {}", returned.state, returned.failure.is_some()))
    }),
};

task!(Hooked = "hooked", [], hooks HOOKS, async |ctx| {
    ctx.state::<Notes>().unwrap().add("body");
    match (ctx.request().body.args.len(), ctx.request().retries()) {
        (0, _) => Ok(json(5)),
        (1, _) => Err(TaskError::failure("no")),
        (_, 0) => Err(ctx.retry().countdown(Duration::ZERO).into()),
        _ => Ok(json(6)),
    }
});

#[tokio::test]
async fn hooks_run_in_celery_s_order_and_see_the_state_stored() {
    let mut results = Vec::new();
    for (args, id) in [(vec![], "ok"), (vec![1], "bad"), (vec![1, 2], "retried")] {
        let (notes, store) = (Notes::default(), Store::default());
        let builder = App::test().with(|app| app.autodiscover(false)).state(notes.clone()).state(store.clone());
        let app = builder.register::<Hooked>().build().await.unwrap();
        assert!(store.set(app.backend().unwrap().clone()).is_ok());
        app.sig("hooked").raw_args(args.into_iter().map(json)).call().task_id(id).send(&app).await.unwrap();
        app.drain().await;
        results.push(notes.all());
    }
    assert_eq!(
        results[0],
        [
            "before_start while PENDING",
            "body",
            "on_success 5 while SUCCESS",
            "after_return SUCCESS false while SUCCESS"
        ]
    );
    assert_eq!(
        results[1],
        [
            "before_start while PENDING",
            "body",
            "on_failure TaskError('no') while FAILURE",
            "after_return FAILURE true while FAILURE"
        ]
    );
    assert_eq!(results[2][..3], ["before_start while PENDING", "body", "on_retry false while RETRY"]);
}
