//! Sets and groups of results: their members, waiting for all of them, groups inside groups.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::error::ErrorKind;
use apium_app::result::async_result::AsyncResult;
use apium_app::result::get::Outcome;
use apium_app::result::group_result::GroupResult;
use apium_app::result::result_set::ResultSet;
use apium_protocol::json::text::Json;
use apium_protocol::result::document::GroupDocument;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use futures_util::{FutureExt, StreamExt, TryStreamExt};

use crate::kit;
use crate::result::trees::{fail, json, soon, store, tuple, vector};
use crate::result::watched_backend::{self, BackendCall};

fn set(app: &App, ids: &[&str]) -> ResultSet<i64> {
    ResultSet::new(app, ids.iter().map(|id| app.result(*id)))
}

fn ids<T>(set: &ResultSet<T>) -> Vec<&str> {
    set.iter().map(|result| result.id().as_str()).collect()
}

/// A group after a task. Its members are a task, a group of two tasks, and a chain of two tasks.
const NESTED: &str = r#"[["g", [["first", null], null]], [[["x", null], null], [["inner", null], [[["y", null], null], [["z", null], null]]], [["w2", [["w1", null], null]], null]]]"#;

#[tokio::test]
async fn feature_4_2_01_a_set_has_each_result_once() {
    let (app, _) = kit::app().await;
    let mut results = set(&app, &["a", "b", "a"]);
    assert_eq!(ids(&results), ["a", "b"]);
    results.add(app.result("c"));
    results.add(app.result("a"));
    results.update(["c", "d", "d"].map(|id| app.result(id)));
    assert_eq!((ids(&results), results.len()), (vec!["a", "b", "c", "d"], 4));
    assert_eq!(results[2].id().as_str(), "c");
    assert_eq!(results.remove(&"b".into()).unwrap().id().as_str(), "b");
    assert_eq!(results.remove(&"b".into()).unwrap_err().kind(), ErrorKind::Call);
    assert!(results.discard(&"b".into()).is_none() && results.discard(&"d".into()).is_some());
    assert!(results.contains(&"c".into()) && !results.contains(&"d".into()));
    assert_eq!(results, set(&app, &["a", "c"]));
    results.clear();
    assert!(results.is_empty());
    assert_eq!(results.get().await.unwrap(), Vec::<i64>::new());
}

#[tokio::test(start_paused = true)]
async fn feature_4_2_02_join_returns_values_in_order_or_the_first_failure_that_it_sees() {
    let (app, _) = kit::app().await;
    let results = set(&app, &["a", "b", "c"]);
    let mut join = std::pin::pin!(results.join().into_future());
    store(&app, "c", "SUCCESS", "3").await;
    assert!(join.as_mut().now_or_never().is_none());
    assert_eq!(results.get().timeout(Duration::ZERO).await.unwrap_err().kind(), ErrorKind::Timeout);
    fail(&app, "b", "builtins.ValueError", "boom").await;
    assert_eq!(soon(join).await.unwrap_err().kind(), ErrorKind::TaskFailed, "although a is not ready");
    assert_eq!(results.maybe_throw().await.unwrap_err().kind(), ErrorKind::TaskFailed);
    store(&app, "a", "SUCCESS", "1").await;
    let outcomes = results.get().timeout(Duration::ZERO).outcomes().await.unwrap();
    assert!(matches!(outcomes[..], [Outcome::Value(1), Outcome::Failed(_), Outcome::Value(3)]), "{outcomes:?}");
    assert_eq!(set(&app, &["c", "a"]).get().await.unwrap(), [3, 1]);
}

#[tokio::test(start_paused = true)]
async fn feature_4_2_02_a_callback_gets_each_value_when_it_is_ready() {
    let (app, _) = kit::app().await;
    let mut seen = Vec::new();
    let results = set(&app, &["a", "b"]);
    let join = results.get().callback(|id, value| seen.push((id.to_string(), value)));
    let run = async {
        store(&app, "b", "SUCCESS", "2").await;
        store(&app, "a", "SUCCESS", "1").await;
    };
    let (joined, ()) = tokio::join!(soon(join), run);
    joined.unwrap();
    assert_eq!(seen, [("b".to_owned(), 2), ("a".to_owned(), 1)]);
    fail(&app, "c", "builtins.ValueError", "boom").await;
    let refused = set(&app, &["c", "never"]).get().callback(|_, _| panic!("nothing has a value"));
    let error = soon(refused).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TaskFailed);
}

#[tokio::test(start_paused = true)]
async fn feature_4_2_03_iter_native_yields_each_outcome_when_it_is_ready() {
    let (app, _) = kit::app().await;
    let results = set(&app, &["a", "b", "c"]);
    store(&app, "b", "SUCCESS", "2").await;
    let mut ended = std::pin::pin!(results.get().timeout(Duration::from_secs(2)).iter_native().unwrap());
    let (id, outcome) = ended.next().await.unwrap().unwrap();
    assert_eq!((id.as_str(), outcome.value()), ("b", Some(2)));
    assert!(ended.next().now_or_never().is_none());
    fail(&app, "c", "builtins.ValueError", "boom").await;
    let (id, outcome) = ended.next().await.unwrap().unwrap();
    assert!(id.as_str() == "c" && matches!(outcome, Outcome::Failed(_)));
    assert_eq!(ended.next().await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    assert!(ended.next().await.is_none());
    store(&app, "a", "SUCCESS", "1").await;
    let ended: Vec<_> = results.get().timeout(Duration::ZERO).iter_native().unwrap().try_collect().await.unwrap();
    assert_eq!(ended.len(), 3);
}

#[tokio::test]
async fn feature_4_2_04_only_success_is_counted_as_complete() {
    let (app, _) = kit::app().await;
    let results = set(&app, &["a", "b"]);
    store(&app, "a", "SUCCESS", "1").await;
    assert!(results.waiting().await.unwrap() && !results.ready().await.unwrap());
    store(&app, "b", "REVOKED", ExceptionInfo::task_revoked("revoked").to_json().as_str()).await;
    assert_eq!((results.ready().await.unwrap(), results.waiting().await.unwrap()), (true, false));
    assert_eq!((results.successful().await.unwrap(), results.failed().await.unwrap()), (false, false));
    assert_eq!(results.completed_count().await.unwrap(), 1);
}

#[tokio::test]
async fn feature_4_2_05_forget_is_one_call_for_all() {
    let (app, recorder) = watched_backend::app().await;
    let group = GroupResult::<Json>::of_tuple(&app, &tuple(NESTED));
    group.forget().await.unwrap();
    assert_eq!(recorder.take(), [BackendCall::Forget(["first", "w1", "w2", "x", "y", "z"].map(Into::into).into())]);
}

#[tokio::test]
async fn feature_4_2_06_a_join_is_a_future_that_can_be_awaited_later() {
    let (app, _) = kit::app().await;
    let then = set(&app, &["a", "b"]).join().into_future().map(|values| values.map(|all| all.len()));
    let run = async {
        store(&app, "b", "SUCCESS", "2").await;
        store(&app, "a", "SUCCESS", "1").await;
    };
    assert_eq!(tokio::join!(then, run).0.unwrap(), 2);
}

#[tokio::test]
async fn feature_4_2_02_waiting_for_a_set_inside_a_task_is_refused_unless_allowed() {
    let (app, _) = kit::app().await;
    store(&app, "a", "SUCCESS", "1").await;
    let results = set(&app, &["a"]);
    apium_app::context::current::scope(kit::running(&app, "parent", None, 0), async {
        let refused = |error: apium_app::error::Error| error.kind() == ErrorKind::GetInTask;
        assert!(refused(results.get().await.unwrap_err()));
        assert!(refused(results.get().outcomes().await.unwrap_err()));
        assert!(refused(results.get().callback(|_, _| {}).await.unwrap_err()));
        assert!(results.get().iter_native().is_err_and(refused));
        assert!(refused(results[0].collect().await.unwrap_err()));
        assert_eq!(results.get().allow_in_task().await.unwrap(), [1]);
        assert_eq!(results[0].collect().allow_in_task().await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn feature_4_2_07_a_group_that_celery_saved_is_restored_as_it_was() {
    let (app, _) = kit::app().await;
    let captured = vector("result_group_saved");
    for raw in [captured["raw"].as_str().unwrap().to_owned(), format!("{{\"result\": {NESTED}}}")] {
        let document = GroupDocument::from_json(raw.as_bytes()).unwrap();
        let id = document.result.id.clone();
        app.backend().unwrap().groups().unwrap().save_group(id.as_str(), document, None).await.unwrap();
        let group = GroupResult::<Json>::restore(&app, id.as_str()).await.unwrap().unwrap();
        group.delete().await.unwrap();
        group.save().await.unwrap();
        let saved = app.backend().unwrap().groups().unwrap().load_group(id.as_str()).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(saved.to_json()).unwrap(), raw);
        assert_eq!(group, GroupResult::restore(&app, id.as_str()).await.unwrap().unwrap());
    }
    assert!(GroupResult::<Json>::restore(&app, "nobody-saved").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn feature_4_2_08_members_that_are_groups_have_lists_as_values() {
    let (app, _) = kit::app().await;
    let group = GroupResult::<Json>::of_tuple(&app, &tuple(NESTED));
    assert_eq!(json(&group.as_tuple()), serde_json::from_str::<serde_json::Value>(NESTED).unwrap());
    assert_eq!(ids(&group), ["x", "inner", "w2"]);
    assert_eq!(group.results()[1].group().unwrap().len(), 2);
    for (id, value) in [("x", "1"), ("y", "2"), ("w2", "4")] {
        store(&app, id, "SUCCESS", value).await;
    }
    assert_eq!(group.states().await.unwrap(), [State::Success, State::Pending, State::Success]);
    assert_eq!(group.completed_count().await.unwrap(), 2);
    let (values, ()) = tokio::join!(soon(group.get().into_future()), store(&app, "z", "SUCCESS", "3"));
    let values: Vec<String> = values.unwrap().iter().map(|value| value.as_str().to_owned()).collect();
    assert_eq!(values, ["1", "[2, 3]", "4"]);
    let lists = r#"[["gg", null], [[["inner", null], [[["y", null], null], [["z", null], null]]]]]"#;
    let typed = GroupResult::<Vec<i64>>::of_tuple(&app, &tuple(lists));
    assert_eq!(typed.get().await.unwrap(), [[2, 3]]);
    let alone = GroupResult::<i64>::of_tuple(&app, &tuple(r#"[["x", null], null]"#));
    assert_eq!(alone.get().await.unwrap(), [1]);
}

#[tokio::test(start_paused = true)]
async fn get_returns_the_failure_of_the_first_failed_member() {
    let (app, _) = kit::app().await;
    for id in ["b", "c", "d", "e"] {
        fail(&app, id, "builtins.ValueError", id).await;
    }
    for looked in [false, true] {
        let results = set(&app, &["a", "b", "c", "d", "e"]);
        if looked {
            assert!(results.failed().await.unwrap());
        }
        let error = soon(results.get().into_future()).await.unwrap_err();
        assert!(error.to_string().contains("task b"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_a_nested_group_is_the_failure_of_that_member() {
    let (app, _) = kit::app().await;
    let group = GroupResult::<Json>::of_tuple(&app, &tuple(NESTED));
    for (id, value) in [("x", "1"), ("y", "2"), ("w2", "4")] {
        store(&app, id, "SUCCESS", value).await;
    }
    fail(&app, "z", "builtins.ValueError", "boom").await;
    assert!(soon(group.get().into_future()).await.unwrap_err().to_string().contains("task z"));
    let outcomes = soon(group.get().outcomes()).await.unwrap();
    assert!(matches!(&outcomes[..], [Outcome::Value(_), Outcome::Failed(_), Outcome::Value(_)]), "{outcomes:?}");
    assert_eq!(group.states().await.unwrap(), [State::Success, State::Failure, State::Success]);
}

#[tokio::test(start_paused = true)]
async fn a_group_at_the_end_of_a_chain_that_failed_is_not_waited_for() {
    let (app, _) = kit::app().await;
    let group = GroupResult::<Json>::of_tuple(&app, &tuple(NESTED));
    let (error, ()) = tokio::join!(soon(group.get().into_future()), fail(&app, "first", "builtins.ValueError", "boom"));
    assert!(error.unwrap_err().to_string().contains("task first"));
    let outcomes = soon(group.get().outcomes()).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Failed(_))), "{outcomes:?}");
    let ended: Vec<_> = soon(group.get().iter_native().unwrap().try_collect()).await.unwrap();
    assert_eq!(ended.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_member_after_a_failed_task_fails_with_it_and_the_others_do_not() {
    let (app, _) = kit::app().await;
    let group = GroupResult::<Json>::of_tuple(&app, &tuple(NESTED));
    fail(&app, "w1", "builtins.ValueError", "boom").await;
    let mut outcomes = std::pin::pin!(group.get().outcomes());
    assert!(outcomes.as_mut().now_or_never().is_none());
    for (id, value) in [("x", "1"), ("y", "2"), ("z", "3")] {
        store(&app, id, "SUCCESS", value).await;
    }
    let outcomes = soon(outcomes).await.unwrap();
    assert!(matches!(&outcomes[..], [Outcome::Value(_), Outcome::Value(_), Outcome::Failed(_)]), "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_comes_before_another_result() {
    let (app, _) = kit::app().await;
    let header =
        GroupResult::new(&app, "h", vec![app.result::<i64>("a"), app.result("b")]).with_parent(app.result("p"));
    let body = app.result::<i64>("body").with_parent(header.clone());
    let expected = r#"[["body", [["h", [["p", null], null]], [[["a", null], null], [["b", null], null]]]], null]"#;
    assert_eq!(json(&body.as_tuple()), serde_json::from_str::<serde_json::Value>(expected).unwrap());
    assert_eq!(AsyncResult::from(header.clone()).as_tuple(), header.as_tuple());
    fail(&app, "p", "builtins.ValueError", "boom").await;
    assert!(soon(body.get().into_future()).await.unwrap_err().to_string().contains("task p"));
}
