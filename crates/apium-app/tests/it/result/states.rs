//! The states of results: which there are, which of them are ready, which may overwrite which, and what each has.

use apium_app::error::ErrorKind;
use apium_app::result::async_result::AsyncResult;
use apium_protocol::json::text::Json;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;

use crate::kit;

const ALL: [&str; 9] =
    ["SUCCESS", "FAILURE", "REVOKED", "STARTED", "RECEIVED", "REJECTED", "RETRY", "PENDING", "IGNORED"];

fn those(which: impl Fn(&State) -> bool) -> Vec<&'static str> {
    ALL.into_iter().filter(|state| which(&State::from(*state))).collect()
}

#[test]
fn feature_4_3_01_and_4_3_02_the_states_and_their_sets_are_celerys() {
    assert!(ALL.iter().all(|state| State::from(*state).as_str() == *state));
    assert_eq!(those(State::is_ready), ["SUCCESS", "FAILURE", "REVOKED"]);
    assert_eq!(those(State::is_exception), ["FAILURE", "REVOKED", "RETRY"]);
    assert_eq!(those(State::propagates), ["FAILURE", "REVOKED"]);
}

#[test]
fn feature_4_3_03_custom_states_have_a_precedence_between_failure_and_revoked() {
    let order = ["SUCCESS", "FAILURE", "PROGRESS", "REVOKED", "STARTED", "RECEIVED", "REJECTED", "RETRY", "PENDING"];
    let places: Vec<u8> = order.iter().map(|state| State::from(*state).precedence()).collect();
    let rises = places.is_sorted_by(|a, b| a < b);
    let falls = places.is_sorted_by(|a, b| a > b);
    assert!(rises || falls, "{places:?}");
}

#[tokio::test]
async fn feature_4_3_04_success_is_not_overwritten_and_failure_is() {
    let (app, _) = kit::app().await;
    kit::store(&app, &"done".into(), "SUCCESS", "1").await;
    kit::store(&app, &"done".into(), "FAILURE", "null").await;
    assert_eq!(app.result::<Json>("done").state().await.unwrap(), State::Success);
    kit::store(&app, &"failed".into(), "FAILURE", "null").await;
    kit::store(&app, &"failed".into(), "SUCCESS", "1").await;
    assert_eq!(app.result::<Json>("failed").state().await.unwrap(), State::Success);
}

#[tokio::test]
async fn feature_4_3_06_pending_is_not_stored() {
    let (app, _) = kit::app().await;
    let unknown: AsyncResult<Json> = app.result("nobody knows it");
    assert_eq!((unknown.state().await.unwrap(), unknown.info().await.unwrap()), (State::Pending, Json::NULL));
    assert!(!unknown.exists().await.unwrap());
}

#[tokio::test]
async fn feature_4_3_07_and_4_3_08_retry_and_revoked_have_their_reason() {
    let (app, _) = kit::app().await;
    let cause = ExceptionInfo::from_path("builtins.ValueError", "boom");
    kit::store(&app, &"again".into(), "RETRY", &cause.to_json().to_string()).await;
    let info = app.result::<Json>("again").info().await.unwrap();
    assert_eq!(ExceptionInfo::from_json(&info), cause);
    let revoked = ExceptionInfo::task_revoked("expired");
    kit::store(&app, &"late".into(), "REVOKED", &revoked.to_json().to_string()).await;
    let error = app.result::<Json>("late").get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TaskRevoked);
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn feature_4_3_19_reading_without_a_result_backend_is_an_error() {
    let (app, _) = kit::app_of(kit::builder_without_backend()).await;
    let result: AsyncResult<Json> = app.result("any");
    assert_eq!(result.state().await.unwrap_err().kind(), ErrorKind::NoBackend);
    assert_eq!(result.get().await.unwrap_err().kind(), ErrorKind::NoBackend);
}
