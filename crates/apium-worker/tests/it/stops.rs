//! Warm, cold and immediate stops: what they finish, requeue, cancel and report.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::context::context::Ctx;
use apium_app::task::definition::Hooks;
use apium_app::task_error::TaskResult;
use apium_protocol::json::text::Json;
use apium_worker::builder::AppWorker as _;
use apium_worker::shutdown::kind::StopKind;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;

use crate::rig::{Gate, counts, dead, exception, json, send, state, until_counts, until_state};
use crate::task;

task!(Early = "early", [], async |ctx| pass(&ctx).await);
task!(Late = "late", [acks_late: Some(true)], async |ctx| pass(&ctx).await);
task!(Limited = "limited", [rate_limit: Some("1/s".into())], async |ctx| pass(&ctx).await);
task!(Plain = "plain", [acks_late: Some(true)], fn |ctx| {
    let gate = ctx.state::<Gate>().unwrap();
    tokio::runtime::Handle::current().block_on(gate.pass());
    Ok(json(2))
});

async fn pass(ctx: &Ctx) -> TaskResult<Json> {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
}

async fn app(gate: &Gate) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone());
    builder.register::<Early>().register::<Late>().register::<Limited>().register::<Plain>().build().await.unwrap()
}

#[tokio::test]
async fn a_warm_stop_finishes_what_runs_and_requeues_the_others_at_once() {
    let gate = Gate::new();
    let app = app(&gate).await;
    for n in 0..30 {
        send(&app, "late", &format!("l{n}")).await;
    }
    let worker = app.worker().concurrency(3).prefetch_multiplier(4).start().await.unwrap();
    gate.begun(3).await;
    until_counts(&app, 18, 12).await;
    worker.request_stop(StopKind::Warm);
    // What was prefetched is in its queue again while the three still run.
    until_counts(&app, 27, 3).await;
    gate.open(3);
    let report = worker.stopped().await;
    assert_eq!((report.how, report.finished, report.finished_while_stopping), (StopKind::Warm, 3, 3));
    assert_eq!((report.given_back, report.cancelled, report.unsettled), (9, 0, 0));
    let left = counts(&app, "celery").await;
    assert_eq!((left.ready, left.unacked, left.consumers), (27, 0, 0));
    assert_eq!(gate.more(), 0);
    let mut done = 0;
    for n in 0..30 {
        done += usize::from(state(&app, &format!("l{n}")).await == "SUCCESS");
    }
    assert_eq!(done, 3);
    assert_eq!(dead(&app).await, []);
}

#[tokio::test]
async fn a_cold_stop_requeues_late_ack_tasks_and_revokes_early_ack_tasks() {
    let gate = Gate::new();
    let app = app(&gate).await;
    send(&app, "late", "l").await;
    send(&app, "early", "e").await;
    let worker = app.worker().concurrency(2).start().await.unwrap();
    gate.begun(2).await;
    let report = worker.stop_as(StopKind::Cold).await;
    assert_eq!((report.how, report.cancelled, report.finished), (StopKind::Cold, 2, 0));
    let left = counts(&app, "celery").await;
    assert_eq!((left.ready, left.unacked), (1, 0), "the late-ack one is requeued");
    assert_eq!(state(&app, "l").await, "PENDING");
    assert_eq!(exception(&app, "e").await, ("TaskRevokedError".into(), serde_json::json!(["terminated"])));
    assert_eq!(state(&app, "e").await, "REVOKED");
    gate.open(1);
    assert_eq!(app.drain().await, 1);
    assert_eq!(state(&app, "l").await, "SUCCESS");
}

#[tokio::test]
async fn a_cold_stop_overtakes_a_warm_one_and_leaks_only_plain_functions() {
    let gate = Gate::new();
    let app = app(&gate).await;
    send(&app, "plain", "p").await;
    send(&app, "late", "l").await;
    let worker = app.worker().concurrency(2).start().await.unwrap();
    gate.begun(2).await;
    worker.request_stop(StopKind::Warm);
    worker.request_stop(StopKind::Cold);
    let report = worker.stopped().await;
    assert_eq!((report.how, report.cancelled, report.leaked_threads), (StopKind::Cold, 2, 1));
    until_counts(&app, 2, 0).await;
    gate.open(1);
}

#[tokio::test]
async fn a_soft_shutdown_lets_runs_go_on_before_it_cancels_them() {
    let gate = Gate::new();
    let app = app(&gate).await;
    send(&app, "late", "l").await;
    let builder = app.worker().concurrency(1).soft_shutdown_timeout(Duration::from_secs(60));
    let worker = builder.start().await.unwrap();
    gate.begun(1).await;
    worker.request_stop(StopKind::Cold);
    gate.open(1);
    let report = worker.stopped().await;
    assert_eq!((report.finished, report.cancelled), (1, 0));
    assert_eq!(state(&app, "l").await, "SUCCESS");
}

const ENDLESS: Hooks = Hooks {
    on_success: Some(|ctx: Ctx, _| {
        Box::pin(async move {
            ctx.state::<Gate>().unwrap().pass().await;
            std::future::pending().await
        })
    }),
    ..Hooks::NONE
};
task!(Hooked = "hooked", [acks_late: Some(true)], hooks ENDLESS, async |_ctx| Ok(json(1)));

#[tokio::test(start_paused = true)]
async fn a_cold_stop_does_not_wait_for_a_hook_that_does_not_end() {
    let gate = Gate::new();
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone());
    let app = builder.register::<Hooked>().build().await.unwrap();
    send(&app, "hooked", "h").await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    gate.open(1);
    let report = worker.stop_as(StopKind::Cold).await;
    assert_eq!((report.how, report.finished, report.unsettled), (StopKind::Cold, 1, 0));
    assert_eq!(state(&app, "h").await, "SUCCESS");
}

#[tokio::test]
async fn a_stop_at_once_settles_nothing() {
    let gate = Gate::new();
    let app = app(&gate).await;
    send(&app, "late", "l").await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    let report = worker.stop_as(StopKind::Now).await;
    assert_eq!((report.how, report.exit_code()), (StopKind::Now, 1));
    assert_eq!(state(&app, "l").await, "PENDING");
    until_counts(&app, 1, 0).await;
}

#[tokio::test]
async fn run_until_stops_the_worker_when_its_future_is_ready() {
    let gate = Gate::new();
    let app = app(&gate).await;
    send(&app, "early", "e").await;
    gate.open(1);
    let report = app.worker().concurrency(1).run_until(gate.begun(1)).await.unwrap();
    assert_eq!((report.finished, report.exit_code()), (1, 0));
}

#[tokio::test]
async fn a_task_that_keeps_killing_its_worker_is_dead_lettered_and_its_neighbours_are_not() {
    let gate = Gate::new();
    let app = app(&gate).await;
    send(&app, "late", "killer").await;
    for n in 0..3 {
        send(&app, "late", &format!("n{n}")).await;
    }
    for _ in 0..3 {
        assert_eq!(dead(&app).await, []);
        assert_eq!(state(&app, "killer").await, "PENDING");
        let worker = app.worker().concurrency(1).prefetch_multiplier(4).start().await.unwrap();
        gate.begun(1).await;
        until_counts(&app, 0, 4).await;
        // Nothing is settled, so for the broker the worker died.
        worker.stop_as(StopKind::Now).await;
    }
    gate.open(3);
    assert_eq!(app.drain().await, 4, "the others run, and the killer ends without a run");
    let codes: Vec<String> = dead(&app).await.into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, ["crash-loop"]);
    assert_eq!(state(&app, "killer").await, "FAILURE");
    let (class, args) = exception(&app, "killer").await;
    assert_eq!(class, "WorkerLostError");
    assert!(args[0].as_str().unwrap().contains("3 of its runs"), "{args}");
}

#[tokio::test]
async fn after_a_crash_each_suspect_runs_alone_until_one_is_convicted() {
    let gate = Gate::new();
    let app = app(&gate).await;
    for id in ["killer", "neighbour", "other"] {
        send(&app, "late", id).await;
    }
    // Both have begun when the worker dies, and either may have killed it.
    let worker = app.worker().concurrency(2).prefetch_multiplier(4).start().await.unwrap();
    gate.begun(2).await;
    worker.stop_as(StopKind::Now).await;
    for _ in 0..2 {
        assert_eq!(dead(&app).await, []);
        let worker = app.worker().concurrency(2).prefetch_multiplier(4).start().await.unwrap();
        gate.begun(1).await;
        until_counts(&app, 0, 3).await;
        until_idle().await;
        assert_eq!(gate.more(), 0, "the first suspect runs alone");
        worker.stop_as(StopKind::Now).await;
    }
    let worker = app.worker().concurrency(2).prefetch_multiplier(4).start().await.unwrap();
    gate.begun(1).await;
    until_state(&app, "killer", "FAILURE").await;
    assert_eq!(gate.more(), 0, "the second suspect runs alone too");
    gate.open(2);
    for id in ["neighbour", "other"] {
        until_state(&app, id, "SUCCESS").await;
    }
    worker.stop().await;
    let letters = app.broker().dead().unwrap().list(0, 10).await.unwrap();
    let ids: Vec<_> = letters.iter().filter_map(|letter| letter.task_id.as_deref()).collect();
    assert_eq!(ids, ["killer"]);
}

#[tokio::test]
async fn a_neighbour_that_runs_for_longer_than_it_is_alone_is_not_convicted_for_the_killer() {
    let gate = Gate::new();
    let app = app(&gate).await;
    for id in ["neighbour", "killer"] {
        send(&app, "late", id).await;
    }
    let worker = app.worker().concurrency(2).prefetch_multiplier(4).start().await.unwrap();
    gate.begun(2).await;
    worker.stop_as(StopKind::Now).await;
    for _ in 0..2 {
        let worker = app.worker().concurrency(2).prefetch_multiplier(4).start().await.unwrap();
        gate.begun(1).await;
        until_counts(&app, 0, 2).await;
        until_idle().await;
        assert_eq!(gate.more(), 0, "the neighbour is alone at first");
        app.clock().advance(Duration::from_secs(30));
        gate.begun(1).await;
        worker.stop_as(StopKind::Now).await;
    }
    let worker = app.worker().concurrency(2).prefetch_multiplier(4).start().await.unwrap();
    gate.begun(1).await;
    until_state(&app, "killer", "FAILURE").await;
    gate.open(1);
    until_state(&app, "neighbour", "SUCCESS").await;
    worker.stop().await;
}

#[tokio::test]
async fn a_suspect_that_runs_long_does_not_hold_up_its_worker() {
    // What is held back meanwhile may wait for a slot, or for its turn as well.
    for other in ["late", "early", "limited"] {
        let gate = Gate::new();
        let app = app(&gate).await;
        send(&app, "late", "suspect").await;
        let worker = app.worker().concurrency(1).start().await.unwrap();
        gate.begun(1).await;
        worker.stop_as(StopKind::Now).await;
        send(&app, other, "other").await;
        let worker = app.worker().concurrency(2).start().await.unwrap();
        gate.begun(1).await;
        until_counts(&app, 0, 2).await;
        until_idle().await;
        assert_eq!(gate.more(), 0, "{other}");
        app.clock().advance(Duration::from_secs(29));
        until_idle().await;
        assert_eq!(gate.more(), 0, "{other}");
        app.clock().advance(Duration::from_secs(1));
        gate.begun(1).await;
        gate.open(2);
        for id in ["suspect", "other"] {
            until_state(&app, id, "SUCCESS").await;
        }
        worker.stop().await;
    }
}

/// Lets everything go on that does not wait for the gate or the clock.
async fn until_idle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}
