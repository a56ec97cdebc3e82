//! The test kit itself: `drain` and `advance` of a test's app.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::task_error::TaskError;
use apium_worker::builder::AppWorker as _;
use apium_worker::testing::builder::AppTest as _;

use crate::rig::{Notes, counts, json, send};
use crate::task;

task!(Parent = "parent", [], async |ctx| {
    ctx.state::<Notes>().unwrap().add("parent");
    for id in ["c1", "c2"] {
        let call = apium_app::signature::signature::Signature::<(), apium_protocol::json::text::Json>::of_def(
            <Child as apium_app::task::definition::TaskType>::def(),
            Ok(apium_app::task::arguments::Arguments::default()),
        );
        let call = apium_app::call::call::Call::of(call).task_id(id).queue("other");
        call.await.map_err(|error| TaskError::failure(format!("{error:#}")))?;
    }
    Ok(json(1))
});
task!(Child = "child", [], async |ctx| {
    ctx.state::<Notes>().unwrap().add(ctx.request().id().unwrap().to_string());
    Ok(json(2))
});

#[tokio::test]
async fn drain_runs_what_is_due_and_what_those_runs_send_in_order() {
    let notes = Notes::default();
    let builder = App::test().with(|app| app.autodiscover(false)).state(notes.clone());
    let app = builder.register::<Parent>().register::<Child>().build().await.unwrap();
    send(&app, "parent", "p").await;
    assert!(notes.all().is_empty(), "nothing runs before `drain`");
    assert_eq!(app.drain().await, 3);
    assert_eq!(notes.all(), ["parent", "c1", "c2"]);
    assert_eq!(app.sent_by_name("child").len(), 2);
    let parent = app.sent_by_name("child")[0].message.headers.parent_id.clone().unwrap();
    assert_eq!(parent.as_str(), "p");
    assert_eq!(app.drain().await, 0);
    assert_eq!(counts(&app, "other").await.ready, 0);
}

task!(Stamp = "stamp", [rate_limit: Some("1/m".into())], async |ctx| {
    ctx.state::<Notes>().unwrap().add(ctx.request().id().unwrap().to_string());
    Ok(json(1))
});

#[tokio::test]
async fn advance_fires_countdowns_and_rate_limits_in_order() {
    let notes = Notes::default();
    let builder = App::test().with(|app| app.autodiscover(false)).state(notes.clone());
    let app = builder.register::<Stamp>().register::<Child>().build().await.unwrap();
    for (id, wait) in [("later", 90), ("soon", 30)] {
        let call = app.sig("child").call().task_id(id).countdown(Duration::from_secs(wait));
        call.send(&app).await.unwrap();
    }
    for id in ["s1", "s2", "s3"] {
        send(&app, "stamp", id).await;
    }
    assert_eq!(app.drain().await, 1);
    assert_eq!(app.advance(Duration::from_secs(59)).await, 1);
    assert_eq!(notes.all(), ["s1", "soon"]);
    assert_eq!(app.advance(Duration::from_secs(3_600)).await, 3);
    assert_eq!(notes.all(), ["s1", "soon", "s2", "later", "s3"]);
}

/// What a wait for a result panics with.
async fn panic_of(result: apium_app::result::async_result::AsyncResult<apium_protocol::json::text::Json>) -> String {
    use futures_util::FutureExt as _;
    let waited = std::panic::AssertUnwindSafe(async move { result.get().await }).catch_unwind().await;
    *waited.expect_err("the wait panics").downcast::<String>().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_what_cannot_come_panics_and_says_which_advance_helps() {
    let builder = App::test().with(|app| app.autodiscover(false)).state(Notes::default());
    let app = builder.register::<Stamp>().register::<Child>().build().await.unwrap();
    let result = app.sig("child").call().send(&app).await.unwrap();
    let text = panic_of(result.clone()).await;
    assert!(text.contains(&format!("waits for the result of task {}", result.id())), "{text}");
    assert!(text.contains("messages that are ready in queue celery, and no worker runs: 1"), "{text}");
    assert!(text.ends_with("call `app.drain().await` before"), "{text}");
    app.drain().await;
    assert!(result.get().await.is_ok(), "it does not panic when the result is there");

    let later = app.sig("child").call().countdown(Duration::from_millis(1_500)).send(&app).await.unwrap();
    app.drain().await;
    let text = panic_of(later).await;
    assert!(text.contains("messages of queue celery that wait for their eta: 1"), "{text}");
    assert!(text.ends_with("`app.advance(Duration::from_millis(1500)).await` makes it so"), "{text}");

    let worker = app.worker().concurrency(1).start().await.unwrap();
    app.sig("stamp").call().send(&app).await.unwrap().get().await.unwrap();
    let limited = app.sig("stamp").call().send(&app).await.unwrap();
    app.clock().advance(Duration::from_millis(59_950));
    let text = panic_of(limited.clone()).await;
    assert!(text.contains("tasks that wait in a worker for their rate limit or their eta: 1"), "{text}");
    assert!(text.ends_with("`app.clock().advance(Duration::from_millis(50))` makes it so"), "{text}");
    app.clock().advance(Duration::from_millis(50));
    assert!(limited.get().await.is_ok());
    worker.stop().await;
    let never =
        apium_app::result::async_result::AsyncResult::<apium_protocol::json::text::Json>::of(&app, "never-sent");
    assert!(panic_of(never).await.ends_with("no `advance` helps"));
}
