//! Revokes: what is written for workers that start later, and whom results revoke.

use apium_app::app::app::App;
use apium_app::result::async_result::AsyncResult;
use apium_app::result::group_result::GroupResult;
use apium_app::signature::chain::chord;
use apium_app::signature::group::group;
use apium_protocol::json::text::Json;
use apium_transport::broker::fleet::{FleetLimits, FleetTopic};

use crate::control::fake_worker::{FakeWorker, NODE};
use crate::kit::{self, Add};

async fn written(app: &App, topic: FleetTopic) -> Vec<String> {
    let all = FleetLimits::new(usize::MAX, None);
    let records = app.broker().fleet().unwrap().list(topic, None, all).await.unwrap();
    records.into_iter().map(|record| record.key).collect()
}

/// The ids that the last request revokes.
fn last_ids(worker: &FakeWorker) -> Vec<String> {
    let request = worker.requests().pop().unwrap();
    assert_eq!(request.method, "revoke");
    let ids = request.argument("task_id").unwrap();
    let mut ids = ids.decode::<Vec<String>>().unwrap_or_else(|_| vec![ids.decode().unwrap()]);
    ids.sort();
    ids
}

#[tokio::test]
async fn a_revoke_with_no_worker_up_is_written() {
    let app = kit::app().await.0;
    app.control().revoke("a").send().await.unwrap();
    app.control().revoke_all(["b", "c"]).terminate().replies().await.unwrap();
    assert_eq!(written(&app, FleetTopic::RevokedTasks).await, ["a", "b", "c"]);
    let stamps = [("batch", Json::from_text(r#"["b1", "b2"]"#).unwrap()), ("user", Json::from_text("7").unwrap())];
    app.control().revoke_by_stamps(stamps).send().await.unwrap();
    assert_eq!(written(&app, FleetTopic::RevokedStamps).await, [r#"batch="b1""#, r#"batch="b2""#, "user=7"]);
}

#[tokio::test]
async fn a_revoke_is_taken_back_for_workers_that_start_later() {
    let app = kit::app().await.0;
    let worker = FakeWorker::answering(&app, "null").await;
    app.control().revoke_all(["a", "b"]).send().await.unwrap();
    let user = |number: i64| [("user", Json::from_serialize(&number).unwrap())];
    app.control().revoke_by_stamps(user(7)).send().await.unwrap();
    app.control().unrevoke(["a", "unknown"]).send().await.unwrap();
    app.control().unrevoke_by_stamps(user(7)).send().await.unwrap();
    worker.wait_for(4).await;
    assert_eq!(written(&app, FleetTopic::RevokedTasks).await, ["b"]);
    assert!(written(&app, FleetTopic::RevokedStamps).await.is_empty());
    let requests = worker.requests();
    assert_eq!((&*requests[2].method, &*requests[3].method), ("unrevoke", "unrevoke_by_stamped_headers"));
    assert_eq!(requests[2].argument("task_id").unwrap().as_str(), r#"["a", "unknown"]"#);
    assert_eq!(requests[3].argument("headers").unwrap().as_str(), r#"{"user": 7}"#);
    assert!(requests[2].argument("terminate").is_none() && requests[2].recorded);

    app.control().destination([NODE]).unrevoke(["b"]).send().await.unwrap();
    assert_eq!(written(&app, FleetTopic::RevokedTasks).await, ["b"], "it is a matter of that worker");
    let error = app.control().unrevoke([""]).send().await.unwrap_err();
    assert!(error.to_string().contains("an id is empty"), "{error}");
}

#[tokio::test]
async fn a_revoke_for_some_workers_only_is_not_written() {
    let app = kit::app().await.0;
    app.control().destination([NODE]).revoke("a").send().await.unwrap();
    assert!(written(&app, FleetTopic::RevokedTasks).await.is_empty());
}

#[tokio::test]
async fn so_many_are_kept_and_for_so_long_as_the_settings_say() {
    let app = kit::app_of(kit::builder().setting("worker_revokes_max", 2)).await.0;
    app.control().revoke_all(["a", "b", "c"]).send().await.unwrap();
    assert_eq!(written(&app, FleetTopic::RevokedTasks).await, ["b", "c"]);
    app.clock().advance(std::time::Duration::from_secs(10_801));
    app.control().revoke("d").send().await.unwrap();
    assert_eq!(written(&app, FleetTopic::RevokedTasks).await, ["d"]);
}

#[tokio::test]
async fn a_hundred_thousand_ids_are_bounded() {
    let app = kit::app().await.0;
    let worker = FakeWorker::answering(&app, "null").await;
    app.control().revoke_all((0..120_000).map(|number| number.to_string())).send().await.unwrap();
    let kept = written(&app, FleetTopic::RevokedTasks).await;
    assert_eq!((kept.len(), kept.last().unwrap().as_str()), (50_000, "119999"));
    worker.wait_for(24).await;
    assert_eq!(worker.requests().len(), 24);
    assert!(worker.messages().iter().all(|message| message.body.len() < 100_000));
}

#[tokio::test]
async fn nothing_to_revoke_sends_nothing() {
    let app = kit::app().await.0;
    let worker = FakeWorker::answering(&app, "null").await;
    app.control().revoke_all(Vec::<String>::new()).send().await.unwrap();
    app.control().revoke_by_stamps(Vec::<(String, Json)>::new()).send().await.unwrap();
    GroupResult::<Json>::new(&app, "empty", Vec::new()).revoke().send().await.unwrap();
    app.control().ping().send().await.unwrap();
    worker.wait_for(1).await;
    assert_eq!(worker.requests()[0].method, "ping");
}

#[tokio::test]
async fn a_result_revokes_its_task_and_a_group_its_members() {
    let app = kit::app().await.0;
    let worker = FakeWorker::answering(&app, "null").await;
    let result: AsyncResult<i64> = app.result("one");
    result.revoke().terminate().signal("KILL").send().await.unwrap();
    worker.wait_for(1).await;
    let request = worker.requests().pop().unwrap();
    assert_eq!(request.argument("task_id").unwrap().as_str(), r#""one""#);
    assert_eq!(request.argument("terminate").unwrap().as_str(), "true");
    assert_eq!(request.argument("signal").unwrap().as_str(), r#""KILL""#);

    let group = group([Add::s(1, 2), Add::s(3, 4)]).send(&app).await.unwrap();
    group.revoke().send().await.unwrap();
    worker.wait_for(2).await;
    let mut members: Vec<String> = group.iter().map(|member| member.id().to_string()).collect();
    members.sort();
    assert_eq!(last_ids(&worker), members);
    AsyncResult::from(group).revoke().send().await.unwrap();
    worker.wait_for(3).await;
    assert_eq!(last_ids(&worker), members);
}

#[tokio::test]
async fn a_whole_workflow_is_revoked_by_every_id_of_it() {
    let (app, sent) = kit::app().await;
    let worker = FakeWorker::answering(&app, "null").await;
    let step = |x: i64| Add::s(x, x).into_immutable().cast::<Json, Json>();
    let steps = (Add::s(1, 1).cast::<(), Json>() | step(2) | step(3)).send(&app).await.unwrap();
    steps.workflow().revoke().send().await.unwrap();
    worker.wait_for(1).await;
    let mut expected: Vec<String> = steps.as_list().iter().map(ToString::to_string).collect();
    expected.sort();
    assert_eq!((last_ids(&worker), expected.len()), (expected, 3));
    sent.take();

    let whole = chord(group([Add::s(1, 2), Add::s(3, 4)]), Add::s(5, 6).into_immutable().cast::<Vec<i64>, Json>())
        .send(&app)
        .await
        .unwrap();
    whole.workflow().revoke().send().await.unwrap();
    worker.wait_for(2).await;
    let mut expected: Vec<String> =
        whole.parent().unwrap().group().unwrap().iter().map(|one| one.id().to_string()).collect();
    expected.push(whole.id().to_string());
    expected.sort();
    assert_eq!((last_ids(&worker), expected.len()), (expected, 3));
}
