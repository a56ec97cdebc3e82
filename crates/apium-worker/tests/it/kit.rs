//! The test kit itself: `drain` and `advance` of a test's app.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::task_error::TaskError;
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
