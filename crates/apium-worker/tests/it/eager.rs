//! Eager calls (`task_always_eager`): the task runs in the caller's process, under the rules of a worker.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::task_error::TaskError;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;

use crate::rig::{Notes, json, state};
use crate::task;

task!(Who = "who", [], async |ctx| {
    let request = ctx.request();
    Ok(json((request.is_eager, request.called_directly, request.id().is_some(), request.body.args.len())))
});
task!(Plain = "plain", [], fn |ctx| Ok(json(ctx.request().is_eager)));
task!(Retries = "retries", [], async |ctx| {
    ctx.state::<Notes>().unwrap().add(ctx.request().retries().to_string());
    match ctx.request().retries() {
        3 => Ok(json("done")),
        _ => Err(ctx.retry().countdown(Duration::from_secs(60)).into()),
    }
});
task!(Fails = "fails", [], async |_ctx| Err(TaskError::failure("no")));

async fn app(notes: &Notes) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(notes.clone());
    let builder = builder.setting("task_always_eager", true).register::<Who>().register::<Plain>();
    builder.register::<Retries>().register::<Fails>().build().await.unwrap()
}

fn call<T: apium_app::task::definition::TaskType>() -> apium_app::call::call::Call<apium_protocol::json::text::Json> {
    let arguments = apium_app::task::arguments::Arguments::new(vec![json(1), json(2)], Vec::new());
    let signature = apium_app::signature::signature::Signature::<(), apium_protocol::json::text::Json>::of_def(
        T::def(),
        Ok(arguments),
    );
    apium_app::call::call::Call::of(signature)
}

#[tokio::test]
async fn an_eager_call_runs_in_the_callers_process_and_its_request_says_so() {
    let app = app(&Notes::default()).await;
    let result = call::<Who>().send(&app).await.unwrap();
    let value: serde_json::Value = result.get().await.unwrap().decode().unwrap();
    assert_eq!(value, serde_json::json!([true, false, true, 2]));
    assert_eq!(app.sent_by_name("who").len(), 0, "nothing was published");
    assert_eq!(state(&app, result.id().as_str()).await, "PENDING", "nothing was stored");
    let result = call::<Plain>().send(&app).await.unwrap();
    assert_eq!(result.get().await.unwrap().as_str(), "true");
}

#[tokio::test]
async fn an_eager_retry_runs_again_at_once() {
    let notes = Notes::default();
    let app = app(&notes).await;
    let result = call::<Retries>().send(&app).await.unwrap();
    assert_eq!(result.get().await.unwrap().as_str(), "\"done\"");
    assert_eq!(notes.all(), ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn get_raises_an_eager_failure() {
    let app = app(&Notes::default()).await;
    let result = call::<Fails>().send(&app).await.unwrap();
    let error = result.get().await.unwrap_err();
    assert_eq!(error.failure().unwrap().exception().exc_type, "TaskError");
}
