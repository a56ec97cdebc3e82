//! Stops while the broker or a store is away, or code of the app hangs: each ends within its bound and says what it
//! left.

use std::time::Duration;

use apium_app::app::app::App;
use apium_worker::builder::AppWorker as _;
use apium_worker::handle::WorkerHandle;
use apium_worker::shutdown::kind::{StopCause, StopKind};
use apium_worker::shutdown::report::StopReport;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;

use crate::rig::{Gate, counts, json, send, state, until};
use crate::switched_driver::{SwitchedDriver, Switches, URL};
use crate::task;

task!(Late = "late", [acks_late: Some(true)], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});
task!(Early = "early", [], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    App::current()?.sig("late").call().await?;
    Ok(json(1))
});

async fn app(switches: &Switches, gate: &Gate) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone());
    let builder = builder.driver(SwitchedDriver::new(switches)).broker(URL).backend(URL);
    builder.register::<Late>().register::<Early>().build().await.unwrap()
}

/// Waits for a stop, whose timeouts pass at once while everything waits.
async fn stopped(worker: WorkerHandle) -> StopReport {
    tokio::time::timeout(Duration::from_secs(120), worker.stopped()).await.expect("the stop ends")
}

#[tokio::test(start_paused = true)]
async fn a_warm_stop_with_the_broker_gone_ends_and_names_what_is_not_settled() {
    let (switches, gate) = (Switches::default(), Gate::new());
    let app = app(&switches, &gate).await;
    send(&app, "late", "a").await;
    send(&app, "late", "b").await;
    let worker = app.worker().concurrency(2).start().await.unwrap();
    gate.begun(2).await;
    switches.cut_acks(true);
    worker.request_stop(StopKind::Warm);
    gate.open(2);
    let report = stopped(worker).await;
    assert_eq!((report.how, report.finished, report.unsettled), (StopKind::Warm, 2, 2), "{report}");
    assert_eq!(report.unsettled_tasks, ["late[a]", "late[b]"]);
    assert_eq!(report.exit_code(), 1);
    assert!(report.to_string().ends_with("runs not settled: 2 (late[a], late[b])"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_warm_stop_settles_when_the_broker_comes_back_in_time() {
    let (switches, gate) = (Switches::default(), Gate::new());
    let app = app(&switches, &gate).await;
    send(&app, "late", "a").await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    switches.cut_acks(true);
    worker.request_stop(StopKind::Warm);
    gate.open(1);
    until("settling was tried", async || switches.settled() > 0).await;
    switches.cut_acks(false);
    let report = stopped(worker).await;
    assert_eq!((report.finished, report.unsettled, report.exit_code()), (1, 0, 0), "{report}");
    assert_eq!(state(&app, "a").await, "SUCCESS");
}

#[tokio::test(start_paused = true)]
async fn a_warm_stop_waits_for_a_run_as_long_as_it_takes_although_the_broker_is_gone() {
    let (switches, gate) = (Switches::default(), Gate::new());
    let app = app(&switches, &gate).await;
    send(&app, "late", "a").await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    switches.cut_acks(true);
    worker.request_stop(StopKind::Warm);
    for _ in 0..600 {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    switches.cut_acks(false);
    gate.open(1);
    let report = stopped(worker).await;
    assert_eq!((report.how, report.finished, report.unsettled), (StopKind::Warm, 1, 0), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_warm_stop_does_not_wait_for_ever_for_a_run_that_waits_for_the_broker() {
    let (switches, gate) = (Switches::default(), Gate::new());
    let app = app(&switches, &gate).await;
    send(&app, "early", "e").await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    switches.cut_publish(true);
    worker.request_stop(StopKind::Warm);
    gate.open(1);
    let report = stopped(worker).await;
    assert_eq!((report.finished, report.cancelled), (0, 1), "{report}");
}

#[tokio::test]
async fn the_soft_shutdown_timeout_bounds_a_warm_stop_too() {
    let (switches, gate) = (Switches::default(), Gate::new());
    let app = app(&switches, &gate).await;
    send(&app, "late", "a").await;
    let worker = app.worker().concurrency(1).soft_shutdown_timeout(Duration::from_secs(60)).start().await.unwrap();
    gate.begun(1).await;
    let began = app.now();
    worker.request_stop(StopKind::Warm);
    let passing = async {
        loop {
            app.clock().advance(Duration::from_millis(500));
            tokio::task::yield_now().await;
        }
    };
    let report = tokio::select! {
        report = worker.stopped() => report,
        () = passing => unreachable!(),
    };
    assert!(app.now().duration_since(began) >= jiff::SignedDuration::from_secs(60));
    assert_eq!((report.how, report.cancelled, report.unsettled), (StopKind::Warm, 1, 0), "{report}");
    assert_eq!(counts(&app, "celery").await.ready, 1, "it goes back to its queue");
}

#[tokio::test(start_paused = true)]
async fn every_stop_ends_although_the_consumer_does_not_close() {
    for kind in [StopKind::Warm, StopKind::Cold] {
        let (switches, gate) = (Switches::default(), Gate::new());
        let app = app(&switches, &gate).await;
        let worker = app.worker().concurrency(1).start().await.unwrap();
        switches.hang_close();
        worker.request_stop(kind);
        assert_eq!(stopped(worker).await.how, kind);
    }
}

#[tokio::test]
async fn a_worker_that_waits_for_its_broker_stops_at_once() {
    let (switches, gate) = (Switches::default(), Gate::new());
    let app = app(&switches, &gate).await;
    switches.cut(true);
    let stop = async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    let report = app.worker().concurrency(1).run_until(stop).await.unwrap();
    assert_eq!((report.how, report.cause, report.exit_code()), (StopKind::Warm, StopCause::Program, 0));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_ends_early_makes_the_worker_unhealthy_and_stops_it_in_order() {
    let (switches, gate) = (Switches::default(), Gate::new());
    let app = app(&switches, &gate).await;
    send(&app, "late", "a").await;
    let worker = app.worker().concurrency(1).prefetch_multiplier(4).start().await.unwrap();
    gate.begun(1).await;
    switches.panic_next();
    send(&app, "late", "b").await;
    until("the worker says so", async || format!("{:?}", worker.health()).contains("the service consume")).await;
    worker.stopping().await;
    gate.open(1);
    let report = stopped(worker).await;
    assert_eq!((report.how, report.cause, report.exit_code()), (StopKind::Warm, StopCause::Fault, 1), "{report}");
    assert_eq!(report.finished, 1, "what ran has ended");
}
