//! Time limits on every pool, and panics.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::task_error::TaskError;
use apium_worker::builder::AppWorker as _;
use apium_worker::pool::kind::PoolKind;
use apium_worker::shutdown::kind::{StopCause, StopKind};
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;

use crate::rig::{Gate, exception, json, send, state, until, until_state};
use crate::task;

const SOFT: Option<Duration> = Some(Duration::from_secs(1));
const HARD: Option<Duration> = Some(Duration::from_secs(2));

task!(AsyncHard = "async_hard", [time_limit: HARD], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json("too late"))
});
task!(AsyncSoft = "async_soft", [soft_time_limit: SOFT], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json("too late"))
});
task!(AsyncListens = "async_listens", [soft_time_limit: SOFT, time_limit: HARD], async |ctx| {
    let soft_limit = ctx.soft_limit().wait();
    tokio::select! {
        () = ctx.state::<Gate>().unwrap().pass() => Ok(json("too late")),
        () = soft_limit => Ok(json("in time")),
    }
});
task!(PlainHard = "plain_hard", [time_limit: HARD], fn |ctx| {
    tokio::runtime::Handle::current().block_on(ctx.state::<Gate>().unwrap().pass());
    Ok(json("too late"))
});
task!(PlainSoft = "plain_soft", [soft_time_limit: SOFT], fn |ctx| {
    let began = tokio::runtime::Handle::current().spawn({
        let gate = ctx.state::<Gate>().unwrap().clone();
        async move { gate.pass().await }
    });
    loop {
        if let Err(error) = ctx.check() {
            began.abort();
            return Err(error);
        }
        std::thread::yield_now();
    }
});
task!(Quick = "quick", [], async |_ctx| Ok(json("quick")));
task!(Panics = "panics", [], async |_ctx| panic!("boom"));
task!(PlainPanics = "plain_panics", [acks_late: Some(true)], fn |_ctx| panic!("plain {}", "boom"));

async fn app(gate: &Gate) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone());
    let builder = builder.register::<AsyncHard>().register::<AsyncSoft>().register::<AsyncListens>();
    let builder = builder.register::<PlainHard>().register::<PlainSoft>().register::<Quick>();
    builder.register::<Panics>().register::<PlainPanics>().build().await.unwrap()
}

async fn check_limits(pool: PoolKind) {
    for (task, outcome) in [
        ("async_hard", Some(("TimeLimitExceeded", serde_json::json!([2])))),
        ("async_soft", Some(("SoftTimeLimitExceeded", serde_json::json!([])))),
        ("async_listens", None),
        ("plain_hard", Some(("TimeLimitExceeded", serde_json::json!([2])))),
        ("plain_soft", Some(("SoftTimeLimitExceeded", serde_json::json!([])))),
    ] {
        let gate = Gate::new();
        let app = app(&gate).await;
        send(&app, task, "it").await;
        send(&app, "quick", "next").await;
        let worker = app.worker().concurrency(1).pool(pool).start().await.unwrap();
        gate.begun(1).await;
        // The limits count from an instant before the body began, so the clock may be turned now.
        app.clock().advance(Duration::from_secs(if task.ends_with("hard") { 2 } else { 1 }));
        let wanted = if outcome.is_some() { "FAILURE" } else { "SUCCESS" };
        until_state(&app, "it", wanted).await;
        if let Some((class, message)) = outcome {
            assert_eq!(exception(&app, "it").await, (class.to_owned(), message), "{task} on {pool}");
        }
        // Its slot is free again.
        until_state(&app, "next", "SUCCESS").await;
        let leaks = usize::from(task == "plain_hard");
        let report = worker.stop().await;
        assert_eq!(report.leaked_threads, leaks, "{task} on {pool}");
        gate.open(1);
    }
}

#[tokio::test]
async fn limits_work_on_the_async_pool() {
    check_limits(PoolKind::Async).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_work_on_threads() {
    check_limits(PoolKind::Threads).await;
}

#[tokio::test]
async fn limits_work_solo() {
    check_limits(PoolKind::Solo).await;
}

#[tokio::test]
async fn a_worker_whose_threads_are_lost_to_functions_without_end_says_so_and_stops() {
    let gate = Gate::new();
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone()).register::<PlainHard>();
    let app = builder.setting("worker_max_leaked_threads", 2).build().await.unwrap();
    let worker = app.worker().concurrency(1).start().await.unwrap();
    for leaked in [1, 2] {
        until("the worker is healthy", async || worker.health().is_green()).await;
        send(&app, "plain_hard", &format!("p{leaked}")).await;
        gate.begun(1).await;
        app.clock().advance(Duration::from_secs(2));
        until_state(&app, &format!("p{leaked}"), "FAILURE").await;
        assert_eq!(worker.leaked_threads(), leaked);
    }
    worker.stopping().await;
    assert!(format!("{:?}", worker.health()).contains("2 threads still run plain functions"), "{:?}", worker.health());
    let report = worker.stopped().await;
    assert_eq!((report.how, report.cause, report.leaked_threads), (StopKind::Warm, StopCause::Fault, 2));
    assert_eq!(report.exit_code(), 1, "so that a supervisor starts it anew");
    gate.open(2);
}

task!(NoContext = "proj.no_context", [soft_time_limit: SOFT], fn no_ctx |_ctx| Ok(json(1)));

#[tokio::test]
async fn a_soft_limit_that_cannot_work_is_refused_at_start_up() {
    let app = App::test().with(|app| app.autodiscover(false)).register::<NoContext>().build().await.unwrap();
    let error = app.worker().start().await.unwrap_err().to_string();
    assert!(error.contains("proj.no_context") && error.contains("&Ctx"), "{error}");
}

#[tokio::test]
async fn a_calls_limit_wins_over_the_tasks() {
    let gate = Gate::new();
    let app = app(&gate).await;
    let call = app.sig("async_hard").call().task_id("it").time_limit(Duration::from_secs(60));
    call.send(&app).await.unwrap();
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    app.clock().advance(Duration::from_secs(59));
    assert_eq!(state(&app, "it").await, "PENDING");
    app.clock().advance(Duration::from_secs(1));
    until_state(&app, "it", "FAILURE").await;
    assert_eq!(exception(&app, "it").await.1, serde_json::json!([60]));
    worker.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_set_times_no_run_out_and_holds_no_limit_back() {
    let gate = Gate::new();
    let app = app(&gate).await;
    send(&app, "async_hard", "it").await;
    let worker = app.worker().concurrency(2).start().await.unwrap();
    gate.begun(1).await;
    let day = jiff::SignedDuration::from_hours(24);
    for (step, next) in [(day, "forward"), (-day, "back")] {
        app.clock().set(app.clock().now() + step);
        send(&app, "quick", next).await;
        until_state(&app, next, "SUCCESS").await;
        assert_eq!(state(&app, "it").await, "PENDING", "it timed out by a step of the clock");
    }
    app.clock().advance(Duration::from_secs(2));
    until_state(&app, "it", "FAILURE").await;
    worker.stop().await;
}

task!(Requeued = "requeued", [acks_late: Some(true), acks_on_timeout: Some(false), time_limit: HARD], async |ctx| {
    if ctx.request().delivery_info.redelivered {
        return Ok(json("second"));
    }
    ctx.state::<Gate>().unwrap().pass().await;
    Err(TaskError::failure("not reached"))
});

#[tokio::test]
async fn a_timed_out_run_that_is_not_acked_runs_again() {
    let gate = Gate::new();
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone()).register::<Requeued>();
    let app = builder.build().await.unwrap();
    send(&app, "requeued", "it").await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    app.clock().advance(Duration::from_secs(2));
    until_state(&app, "it", "SUCCESS").await;
    worker.stop().await;
}

#[tokio::test]
async fn a_panic_is_a_failure_and_frees_the_slot() {
    let app = app(&Gate::new()).await;
    send(&app, "panics", "a").await;
    send(&app, "plain_panics", "b").await;
    send(&app, "quick", "c").await;
    assert_eq!(app.drain().await, 3);
    assert_eq!(exception(&app, "a").await, ("Panic".into(), serde_json::json!(["boom"])));
    assert_eq!(exception(&app, "b").await, ("Panic".into(), serde_json::json!(["plain boom"])));
    assert_eq!(state(&app, "c").await, "SUCCESS");
}
