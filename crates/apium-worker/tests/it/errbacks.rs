//! Errbacks that the worker calls itself: their limits, their order, and what a stop does about them.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::canvas::node::Node;
use apium_app::canvas::send::send as send_workflow;
use apium_app::task_error::TaskError;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_worker::builder::AppWorker as _;
use apium_worker::shutdown::kind::StopKind;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;

use crate::rig::{Gate, Notes, counts, dead, json, send, state, until, until_counts, until_state};
use crate::task;

task!(Late = "late", [acks_late: Some(true)], async |_ctx| Err(TaskError::failure("no")));
task!(Held = "held", [acks_late: Some(true)], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});
task!(Quick = "quick", [acks_late: Some(true)], async |_ctx| Ok(json(1)));
task!(Body = "body", [], async |_ctx| Ok(json(1)));
task!(Waits = "waits", [], fn no_ctx |ctx| {
    ctx.state::<Notes>().unwrap().add("errback");
    tokio::runtime::Handle::current().block_on(ctx.state::<Gate>().unwrap().pass());
    Ok(json(1))
});
task!(Limited = "limited", [time_limit: Some(Duration::from_secs(2))], fn no_ctx |ctx| {
    tokio::runtime::Handle::current().block_on(ctx.state::<Gate>().unwrap().pass());
    Ok(json(1))
});

async fn app(gate: &Gate, notes: &Notes) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone()).state(notes.clone());
    let builder = builder.register::<Late>().register::<Quick>().register::<Body>();
    builder.register::<Held>().register::<Waits>().register::<Limited>().build().await.unwrap()
}

fn node(task: &str, errback: &str) -> Node {
    let mut node = Node::from_wire(&WireSignature::new(task)).unwrap();
    node.link_error(WireSignature::new(errback));
    node
}

async fn send_failing(app: &App, id: &str, errback: &str) {
    send_with_errback(app, "late", id, errback).await;
}

async fn send_with_errback(app: &App, task: &str, id: &str, errback: &str) {
    let mut node = node(task, errback);
    node.options_mut().task_id = Some(id.into());
    send_workflow(app, node).await.unwrap();
}

#[tokio::test]
async fn an_errback_is_called_after_the_failure_is_stored_and_before_its_delivery_is_settled() {
    let (gate, notes) = (Gate::new(), Notes::default());
    let app = app(&gate, &notes).await;
    send_failing(&app, "f", "waits").await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    assert_eq!(state(&app, "f").await, "FAILURE");
    assert_eq!(counts(&app, "celery").await.unacked, 1, "the message is still in flight");
    // The worker dies: another one calls the errback again.
    worker.stop_as(StopKind::Now).await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    gate.open(2);
    until_counts(&app, 0, 0).await;
    assert_eq!(worker.stop().await.unsettled, 0);
    assert_eq!(notes.all(), ["errback", "errback"]);
}

#[tokio::test]
async fn an_errback_of_a_task_that_kills_its_workers_is_called_before_its_message_is_in_the_dead_set() {
    let (gate, notes) = (Gate::new(), Notes::default());
    let app = app(&gate, &notes).await;
    send_with_errback(&app, "held", "killer", "waits").await;
    for _ in 0..3 {
        let worker = app.worker().concurrency(1).start().await.unwrap();
        gate.begun(1).await;
        worker.stop_as(StopKind::Now).await;
    }
    assert_eq!(notes.all(), [""; 0]);
    // This one dies while it calls the errback, so another one calls it again.
    for call in 1..=2 {
        let worker = app.worker().concurrency(1).start().await.unwrap();
        gate.begun(1).await;
        assert_eq!((notes.all().len(), state(&app, "killer").await.as_str()), (call, "FAILURE"));
        assert_eq!((counts(&app, "celery").await.unacked, dead(&app).await.len()), (1, 0));
        if call == 1 {
            worker.stop_as(StopKind::Now).await;
        } else {
            gate.open(2);
            until_counts(&app, 0, 0).await;
            assert_eq!(worker.stop().await.unsettled, 0);
        }
    }
    assert_eq!(dead(&app).await.len(), 1);
}

#[tokio::test]
async fn an_errback_that_hangs_is_given_up_at_its_time_limit() {
    for (errback, limit) in [("limited", 2), ("waits", 300)] {
        let (gate, notes) = (Gate::new(), Notes::default());
        let app = app(&gate, &notes).await;
        send_failing(&app, "f", errback).await;
        send(&app, "quick", "next").await;
        let worker = app.worker().concurrency(1).start().await.unwrap();
        gate.begun(1).await;
        app.clock().advance(Duration::from_secs(limit));
        until_state(&app, "next", "SUCCESS").await;
        until_counts(&app, 0, 0).await;
        assert_eq!(worker.leaked_threads(), 1, "a thread cannot be stopped");
        worker.stop().await;
        gate.open(1);
    }
}

#[tokio::test]
async fn a_cold_stop_cancels_an_errback_that_hangs_and_its_message_goes_back() {
    let (gate, notes) = (Gate::new(), Notes::default());
    let app = app(&gate, &notes).await;
    send_failing(&app, "f", "waits").await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    let report = worker.stop_as(StopKind::Cold).await;
    assert_eq!((report.how, report.unsettled), (StopKind::Cold, 0), "{report}");
    let left = counts(&app, "celery").await;
    assert_eq!((left.ready, left.unacked), (1, 0));
    gate.open(1);
}

#[tokio::test(start_paused = true)]
async fn an_errback_of_a_failed_chord_does_not_hold_up_a_stop_for_ever() {
    let (gate, notes) = (Gate::new(), Notes::default());
    let app = app(&gate, &notes).await;
    // More of them than are called at once: others wait.
    for _ in 0..6 {
        let header = [Node::from_wire(&WireSignature::new("late")).unwrap()];
        let header: Vec<Node> =
            header.iter().cloned().chain([Node::from_wire(&WireSignature::new("quick")).unwrap()]).collect();
        send_workflow(&app, Node::chord(header, node("body", "waits"))).await.unwrap();
    }
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until("the errbacks began", async || !notes.all().is_empty()).await;
    // They hold no slot.
    send(&app, "quick", "next").await;
    until_state(&app, "next", "SUCCESS").await;
    let report = tokio::time::timeout(Duration::from_secs(120), worker.stop()).await.expect("the stop ends");
    assert_eq!(report.how, StopKind::Warm);
    gate.open(6);
}
