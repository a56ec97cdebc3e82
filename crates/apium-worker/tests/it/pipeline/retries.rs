//! Retries: asked for by the task, and automatic ones by error type.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::failure::{Failure, Judgement};
use apium_app::options::task_options::{Backoff, ErrorMatcher};
use apium_app::task_error::{TaskError, TaskErrorKind};
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::{AppTest as _, TestBuilder};

use crate::rig::{Notes, exception, json, send, state, stored};
use crate::task;

fn key_error() -> TaskError {
    TaskError::new(TaskErrorKind::Failure(Failure::of_class("builtins.KeyError", "k")))
}

fn builder(notes: &Notes) -> TestBuilder {
    App::test().with(|app| app.autodiscover(false)).state(notes.clone())
}

task!(ByHand = "by_hand", [max_retries: Some(Some(2))], async |ctx| {
    let id = ctx.request().id().unwrap().clone();
    ctx.state::<Notes>().unwrap().add(format!("{id} {}", ctx.request().retries()));
    Err(ctx.retry().cause(key_error()).countdown(Duration::ZERO).into())
});
task!(NoCause = "no_cause", [max_retries: Some(Some(0))], async |ctx| Err(ctx.retry().into()));

#[tokio::test]
async fn max_retries_counts_retries_and_the_last_error_is_the_cause() {
    let notes = Notes::default();
    let app = builder(&notes).register::<ByHand>().register::<NoCause>().build().await.unwrap();
    send(&app, "by_hand", "id").await;
    send(&app, "no_cause", "none").await;
    app.drain().await;
    assert_eq!(notes.all(), ["id 0", "id 1", "id 2"]);
    assert_eq!(state(&app, "id").await, "FAILURE");
    assert_eq!(exception(&app, "id").await.0, "KeyError");
    assert_eq!(exception(&app, "none").await.0, "MaxRetriesExceededError");
    assert_eq!(app.sent_by_name("by_hand").len(), 3);
}

task!(Auto = "auto", [autoretry_for: std::borrow::Cow::Borrowed(&[ErrorMatcher::ANY])], async |ctx| {
    match ctx.request().retries() {
        0 => Err(TaskError::failure("not yet")),
        _ => Ok(json("done")),
    }
});

#[tokio::test]
async fn an_automatic_retry_is_one_message_of_the_same_id_and_not_delayed() {
    let app = builder(&Notes::default()).register::<Auto>().build().await.unwrap();
    send(&app, "auto", "id").await;
    app.drain().await;
    let sent = app.sent_by_name("auto");
    assert_eq!(sent.len(), 2);
    let retry = &sent[1].message.headers;
    assert_eq!((retry.id.as_ref().unwrap().as_str(), retry.retries, retry.eta.as_deref()), ("id", 1, None));
    assert_eq!(retry.parent_id.as_ref().unwrap().as_str(), "id");
    assert_eq!(state(&app, "id").await, "SUCCESS");
}

task!(PassedOn = "passed_on", [autoretry_for: std::borrow::Cow::Borrowed(&[ErrorMatcher::ANY])], async |ctx| {
    match ctx.request().retries() {
        // A failure that the options of another task have judged: they name no error.
        0 => Err(Failure::message("not yet").judged(Judgement::default()).into()),
        _ => Ok(json("done")),
    }
});

#[tokio::test]
async fn a_failure_of_another_task_is_judged_by_the_options_of_the_task_that_returns_it() {
    let app = builder(&Notes::default()).register::<PassedOn>().build().await.unwrap();
    send(&app, "passed_on", "id").await;
    app.drain().await;
    assert_eq!(app.sent_by_name("passed_on").len(), 2);
    assert_eq!(state(&app, "id").await, "SUCCESS");
}

task!(Backs = "backs", [
    autoretry_for: std::borrow::Cow::Borrowed(&[ErrorMatcher::ANY]),
    retry_backoff: Some(Backoff::Exponential(3)),
    retry_jitter: Some(false),
    max_retries: Some(None)
], async |ctx| {
    match ctx.request().retries() {
        4 => Ok(json("done")),
        _ => Err(TaskError::failure("not yet")),
    }
});

async fn waits(app: &TestApp) -> Vec<i64> {
    let mut waits = Vec::new();
    let mut last = app.now();
    for outgoing in app.sent_by_name("backs").iter().skip(1) {
        let eta = outgoing.eta.unwrap();
        waits.push(eta.duration_since(last).as_secs());
        last = eta;
    }
    waits
}

#[tokio::test]
async fn backoff_spaces_automatic_retries_and_the_state_is_retry_meanwhile() {
    let app = builder(&Notes::default()).register::<Backs>().build().await.unwrap();
    let start = app.now();
    send(&app, "backs", "id").await;
    assert_eq!(app.drain().await, 1);
    let document = stored(&app, "id").await.unwrap();
    assert_eq!(document.state.as_str(), "RETRY");
    assert_eq!(document.children.unwrap()[0].id.as_str(), "id", "the retry is its own child");
    assert!(document.date_done.is_none());
    assert_eq!(app.advance(Duration::from_millis(2_999)).await, 0);
    assert_eq!(app.advance(Duration::from_millis(1)).await, 1);
    assert_eq!(app.advance(Duration::from_secs(100)).await, 3);
    assert_eq!(state(&app, "id").await, "SUCCESS");
    let first = app.sent_by_name("backs")[1].eta.unwrap().duration_since(start).as_secs();
    assert_eq!(first, 3);
    assert_eq!(waits(&app).await[1..], [6, 12, 24]);
}

task!(Jitters = "jitters", [
    autoretry_for: std::borrow::Cow::Borrowed(&[ErrorMatcher::ANY]),
    retry_backoff: Some(Backoff::Exponential(100)),
    max_retries: Some(Some(6))
], async |_ctx| Err(TaskError::failure("not yet")));

#[tokio::test]
async fn random_waits_are_the_same_in_each_run_of_a_test() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let app = builder(&Notes::default()).register::<Jitters>().build().await.unwrap();
        let start = app.now();
        send(&app, "jitters", "id").await;
        app.drain().await;
        app.advance(Duration::from_secs(100_000)).await;
        let sent = app.sent_by_name("jitters");
        runs.push(sent.iter().map(|sent| sent.eta.map(|eta| eta.duration_since(start))).collect::<Vec<_>>());
    }
    assert_eq!(runs[0].len(), 7);
    assert_eq!(runs[0], runs[1]);
}

task!(RetriesAndSucceeds = "retries_and_succeeds", [], async |ctx| {
    if ctx.request().retries() > 0 {
        return Ok(json("second"));
    }
    ctx.retry().countdown(Duration::ZERO).send().await?;
    Ok(json("first"))
});

#[tokio::test]
async fn success_is_final() {
    let app = builder(&Notes::default()).register::<RetriesAndSucceeds>().build().await.unwrap();
    send(&app, "retries_and_succeeds", "id").await;
    assert_eq!(app.drain().await, 2);
    assert_eq!(stored(&app, "id").await.unwrap().result.as_str(), "\"first\"");
}
