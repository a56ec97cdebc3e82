//! The result of one task: waiting, states, failures, forgetting.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::context::current;
use apium_app::error::ErrorKind;
use apium_app::result::async_result::AsyncResult;
use apium_app::result::get::Outcome;
use apium_protocol::json::text::Json;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use futures_util::StreamExt;

use crate::kit::{self, Add};

async fn sent() -> (App, AsyncResult<i64>) {
    let (app, _) = kit::app().await;
    let result = Add::s(2, 2).send(&app).await.unwrap();
    (app, result)
}

fn value_error() -> String {
    ExceptionInfo::from_path("builtins.ValueError", "boom").to_json().to_string()
}

#[tokio::test]
async fn feature_4_1_02_get_waits_for_the_value() {
    let (app, result) = sent().await;
    let get = result.get();
    let (value, ()) = tokio::join!(get, kit::store(&app, result.id(), "SUCCESS", "4"));
    assert_eq!(value.unwrap(), 4);
    assert!(result.ready().await.unwrap() && result.successful().await.unwrap() && !result.failed().await.unwrap());
}

#[tokio::test]
async fn guide_0_55_an_unknown_id_is_pending() {
    let (app, _) = sent().await;
    let unknown = app.result::<i64>("nobody-knows");
    assert_eq!(unknown.state().await.unwrap(), State::Pending);
    assert_eq!(unknown.info().await.unwrap(), Json::NULL);
    assert!(!unknown.exists().await.unwrap() && !unknown.ready().await.unwrap());
    let timeout = unknown.get().timeout(Duration::ZERO).await.unwrap_err();
    assert_eq!(timeout.kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn feature_4_1_03_the_timeout_ends_the_wait_and_not_the_task() {
    let (app, result) = sent().await;
    let start = tokio::time::Instant::now();
    let error = result.get().timeout(Duration::from_secs(3)).await.unwrap_err();
    assert_eq!((error.kind(), start.elapsed()), (ErrorKind::Timeout, Duration::from_secs(3)));
    kit::store(&app, result.id(), "SUCCESS", "4").await;
    assert_eq!(result.get().timeout(Duration::ZERO).await.unwrap(), 4);
}

#[tokio::test]
async fn guide_0_58_a_failure_is_raised_with_its_type_and_text() {
    let (app, result) = sent().await;
    kit::store(&app, result.id(), "FAILURE", &value_error()).await;
    let error = result.get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TaskFailed);
    assert_eq!(error.failure().unwrap().exception().exc_type, "ValueError");
    assert!(error.to_string().contains("boom") && error.to_string().contains(result.id().as_str()), "{error}");
    assert!(result.failed().await.unwrap());
    let outcome = result.get().outcome().await.unwrap();
    assert!(matches!(&outcome, Outcome::Failed(failure) if failure.exception().exc_type == "ValueError"));
}

#[tokio::test]
async fn guide_0_60_revoked_is_raised_and_is_neither_failed_nor_successful() {
    let (app, result) = sent().await;
    kit::store(&app, result.id(), "REVOKED", &ExceptionInfo::task_revoked("expired").to_json().to_string()).await;
    let error = result.get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TaskRevoked);
    assert!(error.to_string().contains("expired"), "{error}");
    assert!(!result.failed().await.unwrap() && !result.successful().await.unwrap());
    assert!(matches!(result.get().outcome().await.unwrap(), Outcome::Revoked(_)));
}

#[tokio::test]
async fn guide_0_88_on_message_sees_every_state_as_its_document() {
    let (app, result) = sent().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let get = result.get().on_message(move |body| keep.lock().unwrap().push(serde_json::to_value(body).unwrap()));
    let task = async {
        for (state, meta) in [("PROGRESS", "{\"progress\": 50}"), ("PROGRESS", "{\"progress\": 90}"), ("SUCCESS", "10")]
        {
            kit::store(&app, result.id(), state, meta).await;
        }
    };
    let (value, ()) = tokio::join!(get, task);
    assert_eq!(value.unwrap(), 10);
    let seen = seen.lock().unwrap();
    let last = seen.last().unwrap();
    assert_eq!((&last["status"], &last["result"]), (&"SUCCESS".into(), &10.into()));
    for key in ["status", "result", "traceback", "children", "date_done", "task_id"] {
        assert!(last.get(key).is_some(), "{key} is missing in {last}");
    }
    let progress: Vec<_> = seen.iter().filter_map(|body| body["result"]["progress"].as_i64()).collect();
    assert_eq!(progress, [50, 90]);
}

#[tokio::test]
async fn watch_streams_the_states_of_a_task() {
    let (app, result) = sent().await;
    let states = result.watch().await.unwrap();
    kit::store(&app, result.id(), "STARTED", "{\"pid\": 1, \"hostname\": \"w\"}").await;
    kit::store(&app, result.id(), "SUCCESS", "4").await;
    let states: Vec<_> = states.map(|document| document.unwrap().state).collect().await;
    assert_eq!(states.last(), Some(&State::Success));
}

#[tokio::test]
async fn feature_4_1_04_an_ignored_result_returns_at_once() {
    let (app, _) = kit::app().await;
    let result = Add::s(2, 2).ignore_result(true).send(&app).await.unwrap();
    assert_eq!(result.clone().cast::<Option<i64>>().get().await.unwrap(), None);
    let error = result.get().await.unwrap_err();
    assert!(error.to_string().contains("ignored"), "{error}");
    assert_eq!(app.result::<i64>(result.id().clone()).state().await.unwrap(), State::Pending);
}

#[tokio::test]
async fn scenario_21_and_feature_4_1_10_get_inside_a_task_is_refused_unless_allowed() {
    let (app, result) = sent().await;
    kit::store(&app, result.id(), "SUCCESS", "4").await;
    let ctx = kit::running(&app, "parent", None, 0);
    current::scope(ctx, async {
        let error = result.get().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::GetInTask);
        assert!(error.to_string().contains("Never call result.get() within a task!"), "{error}");
        assert_eq!(result.get().wait().unwrap_err().kind(), ErrorKind::GetInTask);
        assert_eq!(result.get().allow_in_task().await.unwrap(), 4);
        assert_eq!(current::allow_join(async { result.get().await }).await.unwrap(), 4);
    })
    .await;
}

#[tokio::test]
async fn feature_4_1_05_get_returns_the_failure_of_a_parent_at_once() {
    let (app, result) = sent().await;
    let parent = app.result::<Json>("first");
    kit::store(&app, parent.id(), "FAILURE", &value_error()).await;
    let error = result.clone().with_parent(parent.clone()).get().await.unwrap_err();
    assert!(error.to_string().contains("first"), "{error}");
    let chained = result.with_parent(parent.clone());
    assert_eq!(chained.as_tuple().parent.unwrap().id, *parent.id());
    chained.forget().await.unwrap();
    assert!(!app.result::<Json>("first").exists().await.unwrap());
}

#[tokio::test]
async fn feature_4_1_22_a_ready_state_is_read_once_and_feature_4_1_17_again_after_forget() {
    let (app, result) = sent().await;
    kit::store(&app, result.id(), "SUCCESS", "4").await;
    let clone = result.clone();
    assert_eq!(result.get().await.unwrap(), 4);
    app.backend().unwrap().stored().unwrap().forget(vec![result.id().clone()]).await.unwrap();
    assert_eq!(clone.state().await.unwrap(), State::Success, "the clone has the document that was read");
    clone.forget().await.unwrap();
    assert_eq!((result.state().await.unwrap(), clone.state().await.unwrap()), (State::Pending, State::Pending));
}

#[tokio::test]
async fn guide_0_62_abort_stores_the_state_aborted_and_success_stays() {
    let (app, result) = sent().await;
    result.abort().await.unwrap();
    assert!(result.is_aborted().await.unwrap() && !result.ready().await.unwrap());
    let done = Add::s(1, 1).send(&app).await.unwrap();
    kit::store(&app, done.id(), "SUCCESS", "2").await;
    done.abort().await.unwrap();
    assert_eq!(done.state().await.unwrap(), State::Success);
}

#[tokio::test]
async fn the_error_for_a_value_of_another_type_names_the_type() {
    let (app, result) = sent().await;
    kit::store(&app, result.id(), "SUCCESS", "\"text\"").await;
    let error = result.get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().contains("i64"), "{error}");
}
