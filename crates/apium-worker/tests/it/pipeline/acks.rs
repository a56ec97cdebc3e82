//! Early and late acknowledgement: what counts into the prefetch, and what reject and failure do to a message.

use apium_app::app::app::App;
use apium_app::task_error::{TaskError, TaskResult};
use apium_protocol::json::text::Json;
use apium_worker::builder::AppWorker as _;
use apium_worker::shutdown::kind::StopKind;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;

use crate::rig::{Gate, counts, dead, exception, json, send, state, until_counts};
use crate::task;

task!(Early = "early", [], async |ctx| gate(&ctx).await);
task!(Late = "late", [acks_late: Some(true)], async |ctx| gate(&ctx).await);

async fn gate(ctx: &apium_app::context::context::Ctx) -> TaskResult<Json> {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
}

async fn app(gate: &Gate) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone());
    builder.register::<Early>().register::<Late>().build().await.unwrap()
}

#[tokio::test]
async fn early_ack_prefetches_beside_what_runs() {
    let gate = Gate::new();
    let app = app(&gate).await;
    for n in 0..30 {
        send(&app, "early", &format!("e{n}")).await;
    }
    let worker = app.worker().concurrency(3).prefetch_multiplier(4).start().await.unwrap();
    gate.begun(3).await;
    until_counts(&app, 15, 12).await;
    assert_eq!(gate.more(), 0, "no fourth one runs");
    gate.open(30);
    until_counts(&app, 0, 0).await;
    assert_eq!(worker.stop().await.finished, 30);
}

#[tokio::test]
async fn late_ack_counts_what_runs_into_the_prefetch() {
    let gate = Gate::new();
    let app = app(&gate).await;
    for n in 0..30 {
        send(&app, "late", &format!("l{n}")).await;
    }
    let worker = app.worker().concurrency(3).prefetch_multiplier(4).start().await.unwrap();
    gate.begun(3).await;
    until_counts(&app, 18, 12).await;
    gate.open(30);
    until_counts(&app, 0, 0).await;
    assert_eq!(worker.stop().await.finished, 30);
    assert_eq!(state(&app, "l29").await, "SUCCESS");
}

#[tokio::test]
async fn a_multiplier_of_zero_fetches_everything() {
    let gate = Gate::new();
    let app = app(&gate).await;
    for n in 0..300 {
        send(&app, "late", &format!("z{n}")).await;
    }
    let worker = app.worker().concurrency(2).prefetch_multiplier(0).start().await.unwrap();
    gate.begun(2).await;
    until_counts(&app, 0, 300).await;
    assert_eq!(worker.stop_as(StopKind::Cold).await.cancelled, 2);
    assert_eq!(counts(&app, "celery").await.ready, 300);
}

task!(RejectEarly = "reject_early", [], async |_ctx| Err(TaskError::reject(true)));
task!(RejectAway = "reject_away", [acks_late: Some(true)], async |_ctx| Err(TaskError::reject_because("no", false)));
task!(RejectOnce = "reject_once", [acks_late: Some(true)], async |ctx| {
    match ctx.request().delivery_info.redelivered {
        true => Ok(json("second")),
        false => Err(TaskError::reject(true)),
    }
});
task!(Ignores = "ignores", [acks_late: Some(true)], async |_ctx| Err(TaskError::ignore()));

#[tokio::test]
async fn reject_works_with_late_ack_only() {
    let builder = App::test().with(|app| app.autodiscover(false)).register::<RejectEarly>().register::<RejectAway>();
    let app = builder.register::<RejectOnce>().register::<Ignores>().build().await.unwrap();
    for task in ["reject_early", "reject_away", "reject_once", "ignores"] {
        send(&app, task, task).await;
    }
    assert_eq!(app.drain().await, 5, "one of them twice");
    assert_eq!(state(&app, "reject_early").await, "PENDING");
    assert_eq!(state(&app, "reject_once").await, "SUCCESS");
    assert_eq!(state(&app, "ignores").await, "PENDING");
    assert_eq!(exception(&app, "reject_away").await, ("Reject".into(), serde_json::json!(["no", false])));
    assert_eq!(dead(&app).await, [("rejected".to_owned(), "no".to_owned())]);
    let left = counts(&app, "celery").await;
    assert_eq!((left.ready, left.unacked), (0, 0));
}

task!(Fails = "fails", [acks_late: Some(true), acks_on_failure: Some(false)], async |_ctx| {
    Err(TaskError::failure("no luck"))
});

#[tokio::test]
async fn a_failed_run_that_is_not_acked_goes_to_the_dead_set() {
    let app = App::test().with(|app| app.autodiscover(false)).register::<Fails>().build().await.unwrap();
    send(&app, "fails", "f").await;
    app.drain().await;
    assert_eq!(state(&app, "f").await, "FAILURE");
    let dead_letters = dead(&app).await;
    assert_eq!(dead_letters.len(), 1);
    assert!(dead_letters[0].1.contains("no luck"), "{dead_letters:?}");
}
