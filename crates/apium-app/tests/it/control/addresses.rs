//! Whom a command is for, and commands that are impossible.

use apium_app::control::addressing::PatternMatcher;
use apium_app::error::ErrorKind;

use crate::control::fake_worker::FakeWorker;
use crate::kit;

#[tokio::test]
async fn destination_and_pattern_travel_in_the_request() {
    let app = kit::app().await.0;
    let worker = FakeWorker::answering(&app, r#"{"ok": "pong"}"#).await;
    app.control().destination(["a@h", "b@h"]).ping().send().await.unwrap();
    app.inspect().pattern("w*@h", PatternMatcher::Glob).ping().send().await.unwrap();
    app.control().destination(Vec::<String>::new()).ping().send().await.unwrap();
    worker.wait_for(3).await;
    let requests = worker.requests();
    assert_eq!(requests[0].destination.as_deref(), Some(["a@h".to_owned(), "b@h".to_owned()].as_slice()));
    assert_eq!((requests[1].pattern.as_deref(), requests[1].matcher.as_deref()), (Some("w*@h"), Some("glob")));
    assert_eq!((&requests[2].destination, &requests[2].pattern, &requests[2].reply_to), (&None, &None, &None));
}

#[tokio::test]
async fn impossible_commands_are_refused_and_nothing_is_sent() {
    let app = kit::app().await.0;
    let worker = FakeWorker::answering(&app, "null").await;
    let control = app.control();
    let errors = [
        control.clone().destination([""]).ping().send().await.unwrap_err(),
        control.clone().pattern("", PatternMatcher::Pcre).ping().send().await.unwrap_err(),
        control.broadcast(" ", Vec::new()).send().await.unwrap_err(),
        control.revoke("").send().await.unwrap_err(),
        control.revoke_all(["a", ""]).replies().await.unwrap_err(),
        control.revoke("a").signal("").send().await.unwrap_err(),
        control.pause_queue("", "why").send().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Call, "{error}");
        assert!(error.to_string().contains("empty"), "{error}");
    }
    let error = control.rate_limit("tasks.add", "many").send().await.unwrap_err();
    assert!(error.to_string().contains("\"many\""), "{error}");
    control.ping().send().await.unwrap();
    worker.wait_for(1).await;
    assert_eq!(worker.requests().len(), 1);
}

#[tokio::test]
async fn requests_have_the_serializer_of_tasks() {
    let builder = kit::builder().setting("task_serializer", "msgpack").setting("accept_content", ["json", "msgpack"]);
    let app = kit::app_of(builder).await.0;
    let worker = FakeWorker::answering(&app, r#"{"ok": "pong"}"#).await;
    assert_eq!(app.control().limit(1).ping().replies().await.unwrap().len(), 1);
    assert_eq!(worker.messages()[0].properties.content_type.as_deref(), Some("application/x-msgpack"));
    assert_eq!(worker.requests()[0].method, "ping");
}

#[tokio::test]
async fn the_exchanges_have_the_name_of_the_settings() {
    let app = kit::app_of(kit::builder().setting("control_exchange", "mine")).await.0;
    let worker = FakeWorker::answering(&app, "null").await;
    app.control().ping().send().await.unwrap();
    tokio::task::yield_now().await;
    assert!(worker.requests().is_empty());
}
