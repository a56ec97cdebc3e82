//! Results with what came before them, and with the tasks that their tasks sent: chains, chords, groups inside groups.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::error::ErrorKind;
use apium_app::result::async_result::AsyncResult;
use apium_app::result::get::Outcome;
use apium_app::result::group_result::GroupResult;
use apium_protocol::json::text::Json;
use apium_protocol::result::document::{ResultDocument, ResultTuple};
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::ResultRecord;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use serde_json::Value;

use crate::kit;
use crate::result::watched_backend::{self, BackendCall};

pub(crate) fn vector(name: &str) -> Value {
    let path = format!("{}/../../tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(crate) fn tuple(json: &str) -> ResultTuple {
    ResultTuple::from_json(json.as_bytes()).unwrap()
}

pub(crate) fn json(tuple: &ResultTuple) -> Value {
    serde_json::from_slice(&tuple.to_json()).unwrap()
}

pub(crate) async fn store(app: &App, id: &str, state: &str, result: &str) {
    kit::store(app, &id.into(), state, result).await;
}

pub(crate) async fn fail(app: &App, id: &str, class: &str, text: &str) {
    store(app, id, "FAILURE", ExceptionInfo::from_path(class, text).to_json().as_str()).await;
}

async fn revoke(app: &App, id: &str) {
    store(app, id, "REVOKED", ExceptionInfo::task_revoked("terminated").to_json().as_str()).await;
}

async fn store_document(app: &App, document: ResultDocument) {
    app.backend().unwrap().store(vec![ResultRecord::new(document)]).await.unwrap();
}

/// Stores a SUCCESS that says what the task sent.
async fn succeed(app: &App, id: &str, result: &str, children: &[&str]) {
    let mut document = ResultDocument::new(id, State::Success, Json::from_text(result).unwrap());
    document.children = Some(children.iter().map(|child| tuple(child)).collect());
    store_document(app, document).await;
}

/// `last` after `middle` after `first`.
fn chain(app: &App) -> AsyncResult<i64> {
    AsyncResult::of_tuple(app, &tuple(r#"[["last", [["middle", [["first", null], null]], null]], null]"#))
}

/// A body after a header of three.
fn chord(app: &App) -> AsyncResult<i64> {
    let header = r#"[["header", null], [[["a", null], null], [["b", null], null], [["c", null], null]]]"#;
    AsyncResult::of_tuple(app, &tuple(&format!(r#"[["body", {header}], null]"#)))
}

/// Fails the test when a wait would last for ever. Where time is paused, it fails at once.
pub(crate) async fn soon<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), work).await.unwrap()
}

fn class_of(error: &apium_app::error::Error) -> String {
    error.failure().unwrap().exception().exc_type.to_string()
}

#[tokio::test]
async fn feature_4_1_19_tuples_are_written_as_by_celery() {
    let (app, _) = kit::app().await;
    let captured = vector("result_as_tuple");
    for kind in ["chain", "group", "chord"] {
        let read = tuple(&captured[kind].to_string());
        assert_eq!(json(&AsyncResult::<Json>::of_tuple(&app, &read).as_tuple()), captured[kind], "{kind}");
    }
    let chord = AsyncResult::<i64>::of_tuple(&app, &tuple(&captured["chord"].to_string()));
    let header = chord.parent().unwrap().group().unwrap();
    assert_eq!(header.id().as_str(), captured["chord"][0][1][0][0].as_str().unwrap());
    assert_eq!((header.len(), chord.group().is_none()), (1, true));
    let group = GroupResult::<i64>::of_tuple(&app, &tuple(&captured["group"].to_string()));
    assert_eq!((json(&group.as_tuple()), group.len()), (captured["group"].clone(), 2));
    let list: Vec<String> = chain(&app).as_list().iter().map(ToString::to_string).collect();
    assert_eq!(list, ["last", "middle", "first"]);
}

#[tokio::test]
async fn feature_4_1_01_results_are_equal_when_their_ids_are() {
    let (app, _) = kit::app().await;
    assert_eq!(app.result::<i64>("t"), AsyncResult::of(&app, "t"));
    assert_ne!(app.result::<i64>("t"), app.result("u"));
    assert_eq!(app.result::<i64>("t").to_string(), "t");
}

#[tokio::test]
async fn feature_4_1_11_and_4_1_12_and_4_1_14_which_states_are_ready_successful_and_failed() {
    let (app, _) = kit::app().await;
    let unknown = app.result::<Json>("unknown");
    assert!(!unknown.exists().await.unwrap() && !unknown.ready().await.unwrap());
    for (state, ready, successful, failed) in [
        ("STARTED", false, false, false),
        ("RETRY", false, false, false),
        ("PROGRESS", false, false, false),
        ("SUCCESS", true, true, false),
        ("FAILURE", true, false, true),
        ("REVOKED", true, false, false),
    ] {
        let result = app.result::<Json>(state);
        store(&app, state, state, "null").await;
        let seen = (result.ready().await.unwrap(), result.successful().await.unwrap(), result.failed().await.unwrap());
        assert_eq!(seen, (ready, successful, failed), "{state}");
        assert!(result.exists().await.unwrap(), "{state}");
    }
}

#[tokio::test(start_paused = true)]
async fn scenario_13_get_on_the_last_task_of_a_chain_returns_an_earlier_failure() {
    let (app, _) = kit::app().await;
    let last = chain(&app);
    store(&app, "first", "SUCCESS", "2").await;
    fail(&app, "middle", "builtins.ValueError", "boom").await;
    fail(&app, "last", "builtins.ValueError", "boom").await;
    let error = last.get().await.unwrap_err();
    assert_eq!((error.kind(), class_of(&error)), (ErrorKind::TaskFailed, "ValueError".into()));
    assert!(error.to_string().contains("task middle"), "{error}");
    assert_eq!(last.parent().unwrap().parent().unwrap().get().await.unwrap().as_str(), "2");
    assert!(last.failed().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn scenario_14_a_revoked_task_of_a_chain_ends_the_wait_for_the_last() {
    let (app, _) = kit::app().await;
    let last = chain(&app);
    let (error, ()) = tokio::join!(soon(last.get().into_future()), revoke(&app, "first"));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::TaskRevoked);
    // A wait for the outcome ends too.
    assert!(matches!(soon(last.get().outcome()).await.unwrap(), Outcome::Revoked(_)));
    assert_eq!(last.state().await.unwrap(), State::Pending);
    let polled = chain(&app).get().timeout(Duration::ZERO).await.unwrap_err();
    assert_eq!(polled.kind(), ErrorKind::TaskRevoked, "a timeout of zero finds it too");
}

#[tokio::test(start_paused = true)]
async fn scenario_17_get_returns_the_failure_of_a_header_before_that_of_the_body() {
    let (app, _) = kit::app().await;
    for (id, value) in [("a", "1"), ("c", "3")] {
        store(&app, id, "SUCCESS", value).await;
    }
    let waiting = chord(&app);
    let (error, ()) = tokio::join!(soon(waiting.get().into_future()), fail(&app, "b", "builtins.ValueError", "boom"));
    assert_eq!(class_of(&error.unwrap_err()), "ValueError", "while it waits");
    fail(&app, "body", "celery.exceptions.ChordError", "Dependency b raised ValueError('boom')").await;
    for known in [false, true] {
        let body = chord(&app);
        if known {
            assert!(body.failed().await.unwrap());
        }
        assert_eq!(class_of(&body.get().await.unwrap_err()), "ValueError", "known before: {known}");
        assert!(body.info().await.unwrap().as_str().contains("ChordError"));
        let outcome = body.get().outcome().await.unwrap();
        assert_eq!(outcome.failure().unwrap().exception().exc_type, "ChordError");
    }
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_a_chord_with_a_failed_header_is_the_failure_of_the_body() {
    let (app, _) = kit::app().await;
    fail(&app, "b", "builtins.ValueError", "boom").await;
    let body = chord(&app);
    let mut outcome = std::pin::pin!(body.get().outcome());
    assert!(outcome.as_mut().now_or_never().is_none(), "the body has no state of its own yet");
    fail(&app, "body", "celery.exceptions.ChordError", "Dependency b raised ValueError('boom')").await;
    assert_eq!(soon(outcome).await.unwrap().failure().unwrap().exception().exc_type, "ChordError");
}

#[tokio::test(start_paused = true)]
async fn a_failed_chain_in_a_header_ends_the_wait_for_the_body() {
    let (app, _) = kit::app().await;
    let header = r#"[["header", null], [[["a2", [["a1", null], null]], null], [["b", null], null]]]"#;
    let body = AsyncResult::<i64>::of_tuple(&app, &tuple(&format!(r#"[["body", {header}], null]"#)));
    revoke(&app, "a1").await;
    assert_eq!(soon(body.get().into_future()).await.unwrap_err().kind(), ErrorKind::TaskRevoked);
    assert!(matches!(soon(body.get().outcome()).await.unwrap(), Outcome::Revoked(_)));
}

#[tokio::test(start_paused = true)]
async fn feature_4_1_05_one_watch_covers_all_results_before() {
    let (app, recorder) = watched_backend::app().await;
    let body = chord(&app);
    let run = async {
        for id in ["a", "b", "c", "body"] {
            store(&app, id, "SUCCESS", "1").await;
        }
    };
    let (value, ()) = tokio::join!(body.get(), run);
    assert_eq!(value.unwrap(), 1);
    assert_eq!(recorder.take(), [BackendCall::Watch(["a", "b", "body", "c"].map(Into::into).into())]);
    // All documents are ready, so nothing is read again.
    assert_eq!((body.get().await.unwrap(), recorder.take()), (1, vec![]));
    // The tasks before it are read once, and in one call.
    store(&app, "last", "SUCCESS", "3").await;
    let last = chain(&app);
    assert!(last.ready().await.unwrap());
    recorder.take();
    assert_eq!(last.get().await.unwrap(), 3);
    assert_eq!(recorder.take(), [BackendCall::Fetch(["first", "middle"].map(Into::into).into())]);
}

#[tokio::test]
async fn feature_4_1_06_on_message_gets_no_states_of_parents() {
    let (app, _) = kit::app().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let get = chain(&app).get().on_message(move |body| {
        let body = serde_json::to_value(body).unwrap();
        keep.lock().unwrap().push((body["task_id"].to_string(), body["status"].to_string()));
    });
    let run = async {
        for (id, state) in [("first", "SUCCESS"), ("middle", "SUCCESS"), ("last", "STARTED"), ("last", "SUCCESS")] {
            store(&app, id, state, "1").await;
        }
    };
    let (value, ()) = tokio::join!(get, run);
    assert_eq!(value.unwrap(), 1);
    let states = ["STARTED", "SUCCESS"].map(|state| ("\"last\"".to_owned(), format!("\"{state}\"")));
    assert_eq!(*seen.lock().unwrap(), states);
}

#[tokio::test]
async fn feature_4_1_06_on_message_is_called_with_a_timeout_of_zero() {
    let (app, _) = kit::app().await;
    store(&app, "t", "SUCCESS", "1").await;
    let result = app.result::<i64>("t");
    for known in [false, true] {
        let seen = Arc::new(Mutex::new(0));
        let count = seen.clone();
        let get = result.get().timeout(Duration::ZERO).on_message(move |_| *count.lock().unwrap() += 1);
        assert_eq!((get.await.unwrap(), *seen.lock().unwrap()), (1, 1), "known before: {known}");
    }
}

#[tokio::test]
async fn feature_4_1_09_a_callback_gets_the_id_and_the_value() {
    let (app, _) = kit::app().await;
    store(&app, "t", "SUCCESS", "4").await;
    let mut seen = None;
    app.result::<i64>("t").get().callback(|id, value| seen = Some((id.to_string(), value))).await.unwrap();
    assert_eq!(seen, Some(("t".into(), 4)));
    fail(&app, "f", "builtins.ValueError", "boom").await;
    let error = app.result::<i64>("f").get().callback(|_, _| panic!("it has no value")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TaskFailed);
}

#[tokio::test]
async fn feature_4_1_13_the_fields_of_result_extended_can_be_read() {
    let (app, _) = kit::app().await;
    let raw = vector("result_children_extended")["result"]["raw"].as_str().unwrap().to_owned();
    let document = ResultDocument::from_json(raw.as_bytes()).unwrap();
    let result = app.result::<i64>(document.task_id.clone());
    assert_eq!((result.date_done().await.unwrap(), result.extended().await.unwrap()), (None, None));
    store_document(&app, document).await;
    let extended = result.extended().await.unwrap().unwrap();
    assert_eq!(extended.name.as_deref(), Some("tasks.spawn"));
    assert_eq!((extended.args.unwrap().as_str(), extended.kwargs.unwrap().as_str()), ("[2]", "{}"));
    assert_eq!((extended.worker.as_deref(), extended.retries), (Some("w1@wirespec"), Some(0)));
    assert_eq!(extended.queue.as_deref(), Some("celery"));
    assert_eq!(result.date_done().await.unwrap().unwrap().to_string(), "2026-11-22T15:39:20.252474Z");
    assert_eq!(result.children().await.unwrap().unwrap().len(), 2);
}

#[tokio::test]
async fn feature_4_1_15_collect_walks_the_tree() {
    let (app, recorder) = watched_backend::app().await;
    let captured = vector("result_children");
    for command in captured["commands"].as_array().unwrap() {
        if command[0] == "SETEX" {
            store_document(&app, ResultDocument::from_json(command[3].as_str().unwrap().as_bytes()).unwrap()).await;
        }
    }
    let root = app.result::<i64>(captured["result"]["doc"]["task_id"].as_str().unwrap());
    let all = root.collect().await.unwrap();
    let children = captured["result"]["doc"]["children"].as_array().unwrap();
    let ids = [root.id().as_str(), children[0][0][0].as_str().unwrap(), children[1][0][0].as_str().unwrap()];
    let seen: Vec<(&str, &str)> = all.iter().map(|(result, value)| (result.id().as_str(), value.as_str())).collect();
    assert_eq!(seen, [(ids[0], "2"), (ids[1], "0"), (ids[2], "2")]);
    let mut level = [ids[1], ids[2]].map(str::to_owned);
    level.sort();
    let expected = [BackendCall::Watch(vec![ids[0].to_owned()]), BackendCall::Fetch(level.into())];
    assert_eq!(recorder.take(), expected, "a level is read in one call, and nothing is read twice");
}

#[tokio::test(start_paused = true)]
async fn feature_4_2_09_collect_walks_groups_and_waits() {
    let (app, _) = kit::app().await;
    let group = r#"[["g", null], [[["b0", null], null], [["b1", null], null]]]"#;
    let run = async {
        succeed(&app, "b1", "null", &[r#"[["leaf", null], null]"#]).await;
        succeed(&app, "a", "\"sent\"", &[group]).await;
        store(&app, "b0", "SUCCESS", "0").await;
        store(&app, "leaf", "SUCCESS", "1").await;
    };
    let all = app
        .result::<Json>("a")
        .collect()
        .stream()
        .unwrap()
        .map_ok(|(result, value)| (result.id().to_string(), value.as_str().to_owned()));
    let (all, ()) = tokio::join!(soon(all.try_collect::<Vec<_>>()), run);
    let expected = [("a", "\"sent\""), ("g", "[0, null]"), ("b0", "0"), ("b1", "null"), ("leaf", "1")];
    assert_eq!(all.unwrap(), expected.map(|(id, value)| (id.to_owned(), value.to_owned())));
    assert_eq!(app.result::<Json>("a").get_leaf().await.unwrap().as_str(), "1");
}

#[tokio::test]
async fn collect_returns_failures_and_its_timeout_is_for_all_results() {
    let (app, _) = kit::app().await;
    succeed(&app, "a", "1", &[r#"[["bad", null], null]"#, r#"[["late", null], null]"#]).await;
    fail(&app, "bad", "builtins.ValueError", "boom").await;
    let mut seen = std::pin::pin!(app.result::<Json>("a").collect().stream().unwrap());
    assert_eq!(seen.next().await.unwrap().unwrap().1.as_str(), "1");
    assert_eq!(seen.next().await.unwrap().unwrap_err().kind(), ErrorKind::TaskFailed);
    assert!(seen.next().await.is_none());
    let late = app.result::<Json>("late").collect().timeout(Duration::ZERO).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn feature_4_1_16_iterdeps_and_graph_show_which_task_sent_which() {
    let (app, _) = kit::app().await;
    let root = app.result::<Json>("a");
    let pairs = |intermediate| {
        let pairs = root
            .iterdeps(intermediate)
            .map_ok(|(parent, result)| (parent.map(|parent| parent.id().to_string()), result.id().to_string()));
        pairs.try_collect::<Vec<_>>()
    };
    let error = pairs(false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incomplete);
    assert!(error.to_string().contains("task a"), "{error}");
    assert_eq!(pairs(true).await.unwrap(), [(None, "a".to_owned())]);
    succeed(&app, "a", "1", &[r#"[["g", null], [[["b\"0", null], null]]]"#, r#"[["c", null], null]"#]).await;
    assert_eq!(pairs(false).await.unwrap_err().kind(), ErrorKind::Incomplete);
    let half = [(None, "a"), (Some("a"), "g"), (Some("a"), "c")];
    let owned = |pairs: &[(Option<&str>, &str)]| -> Vec<(Option<String>, String)> {
        pairs.iter().map(|(parent, id)| (parent.map(str::to_owned), (*id).to_owned())).collect()
    };
    assert_eq!(pairs(true).await.unwrap(), owned(&half));
    store(&app, "b\"0", "SUCCESS", "0").await;
    store(&app, "c", "SUCCESS", "0").await;
    let all = [(None, "a"), (Some("a"), "g"), (Some("a"), "c"), (Some("g"), "b\"0")];
    assert_eq!(pairs(false).await.unwrap(), owned(&all));
    let graph = root.graph(false).await.unwrap();
    assert_eq!((graph.results().len(), graph.edges().count()), (4, 3));
    let dot = [
        r#"digraph "a" {"#,
        r#"    "a" [label="a", shape=oval];"#,
        r#"    "g" [label="g", shape=box];"#,
        r#"    "c" [label="c", shape=oval];"#,
        r#"    "b\"0" [label="b\"0", shape=oval];"#,
        r#"    "a" -> "g";"#,
        r#"    "a" -> "c";"#,
        r#"    "g" -> "b\"0";"#,
        "}\n",
    ];
    assert_eq!(graph.to_dot(), dot.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn collect_expands_a_task_that_is_its_own_child_once() {
    let (app, _) = kit::app().await;
    succeed(&app, "a", "1", &[r#"[["a", null], null]"#]).await;
    let all = app.result::<Json>("a").collect().stream().unwrap().take(10);
    assert_eq!(all.try_collect::<Vec<_>>().await.unwrap().len(), 2);
}

#[tokio::test]
async fn feature_4_1_17_forget_deletes_the_groups_before_too() {
    let (app, recorder) = watched_backend::app().await;
    let ids = ["a", "b", "body", "c"];
    for id in ids {
        store(&app, id, "SUCCESS", "1").await;
    }
    let body = chord(&app);
    assert_eq!(body.get().await.unwrap(), 1);
    recorder.take();
    body.forget().await.unwrap();
    assert_eq!(recorder.take(), [BackendCall::Forget(ids.map(Into::into).into())]);
    assert_eq!(body.state().await.unwrap(), State::Pending);
    assert!(!body.parent().unwrap().exists().await.unwrap(), "the documents of the header are forgotten too");
}

#[tokio::test]
async fn feature_4_1_20_a_get_is_a_future_that_can_be_awaited_later() {
    let (app, _) = kit::app().await;
    let result = app.result::<i64>("t");
    let then = result.get().into_future().map(|value| value.map(|value| value + 1));
    let (value, ()) = tokio::join!(then, store(&app, "t", "SUCCESS", "4"));
    assert_eq!(value.unwrap(), 5);
}

#[tokio::test]
async fn feature_4_1_21_maybe_throw_returns_failures_only() {
    let (app, _) = kit::app().await;
    let result = app.result::<i64>("t");
    result.maybe_throw().await.unwrap();
    store(&app, "t", "RETRY", ExceptionInfo::from_path("builtins.ValueError", "boom").to_json().as_str()).await;
    result.maybe_throw().await.unwrap();
    revoke(&app, "t").await;
    assert_eq!(result.maybe_throw().await.unwrap_err().kind(), ErrorKind::TaskRevoked);
}

#[tokio::test]
async fn the_value_of_a_group_is_a_list() {
    let (app, _) = kit::app().await;
    let group = r#"[["g", [["first", null], null]], [[["x", null], null], [["y", null], null]]]"#;
    let result = AsyncResult::<Vec<i64>>::of_tuple(&app, &tuple(group));
    assert_eq!((result.state().await.unwrap(), result.exists().await.unwrap()), (State::Pending, false));
    store(&app, "y", "SUCCESS", "2").await;
    assert_eq!((result.ready().await.unwrap(), result.exists().await.unwrap()), (false, true));
    store(&app, "x", "SUCCESS", "1").await;
    assert_eq!((result.state().await.unwrap(), result.info().await.unwrap().as_str()), (State::Success, "[1, 2]"));
    assert_eq!(result.get().await.unwrap(), [1, 2]);
    assert_eq!(result.children().await.unwrap().unwrap().len(), 2);
    assert_eq!(json(&result.as_tuple()), serde_json::from_str::<Value>(group).unwrap());
    assert_eq!(result.group().unwrap().parent().unwrap().id().as_str(), "first");
}

#[tokio::test]
async fn a_very_long_chain_does_not_overflow_the_stack() {
    let (app, _) = kit::app().await;
    let mut last = app.result::<Json>("t0");
    for step in 1..30_000 {
        last = app.result::<Json>(format!("t{step}")).with_parent(last);
    }
    let get = last.get().timeout(Duration::from_secs(60));
    let (error, ()) = tokio::join!(get, fail(&app, "t0", "builtins.ValueError", "boom"));
    assert_eq!(class_of(&error.unwrap_err()), "ValueError");
    assert_eq!(last.as_list().len(), 30_000);
}
