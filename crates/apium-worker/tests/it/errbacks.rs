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
task!(Early = "early", [], async |_ctx| Err(TaskError::failure("no")));
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
    let builder = builder.register::<Late>().register::<Early>().register::<Quick>().register::<Body>();
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

/// The parts of a header.
fn plain<const N: usize>(tasks: [&str; N]) -> [Node; N] {
    tasks.map(|task| Node::from_wire(&WireSignature::new(task)).unwrap())
}

#[tokio::test]
async fn an_errback_of_a_chord_is_called_before_the_delivery_of_its_last_part_is_settled() {
    // The second chord is a part of another one, and it is that one which has the errback.
    for is_nested in [false, true] {
        let (gate, notes) = (Gate::new(), Notes::default());
        let app = app(&gate, &notes).await;
        let chord = match is_nested {
            false => Node::chord(plain(["late", "quick"]), node("body", "waits")),
            true => {
                let [inner] = plain(["body"]);
                Node::chord([Node::chord(plain(["late", "quick"]), inner)], node("body", "waits"))
            }
        };
        let body = send_workflow(&app, chord).await.unwrap();
        for call in 1..=2 {
            let worker = app.worker().concurrency(1).start().await.unwrap();
            gate.begun(1).await;
            assert_eq!(state(&app, body.id.as_str()).await, "FAILURE", "the failure is stored");
            assert_eq!(
                (counts(&app, "celery").await.unacked, notes.all().len()),
                (1, call),
                "the last part is in flight"
            );
            if call == 1 {
                // The worker dies: another one calls the errback again.
                worker.stop_as(StopKind::Now).await;
            } else {
                gate.open(2);
                until_counts(&app, 0, 0).await;
                let report = worker.stop().await;
                assert_eq!((report.unsettled, report.finished), (0, 1), "the last part ran again, and no other");
            }
        }
        assert_eq!(notes.all(), ["errback", "errback"], "no errback is called again when its chord ends");
        assert_eq!(gate.more(), 0);
    }
}

#[tokio::test]
async fn a_chord_that_succeeds_is_counted_once_where_its_errbacks_are_called_by_the_worker() {
    let (gate, notes) = (Gate::new(), Notes::default());
    let app = app(&gate, &notes).await;
    let chord = Node::chord(plain(["quick", "quick"]), node("body", "waits"));
    let body = send_workflow(&app, chord).await.unwrap();
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until_state(&app, body.id.as_str(), "SUCCESS").await;
    until_counts(&app, 0, 0).await;
    assert_eq!(worker.stop().await.finished, 3);
    assert_eq!(notes.all(), [""; 0]);
}

#[tokio::test]
async fn an_expired_part_ends_its_chord_within_the_law_too() {
    let (gate, notes) = (Gate::new(), Notes::default());
    let app = app(&gate, &notes).await;
    let [mut part] = plain(["quick"]);
    part.options_mut().expires = Some(apium_app::options::call_options::Expires::In(Duration::from_secs(5)));
    let body = send_workflow(&app, Node::chord([part], node("body", "waits"))).await.unwrap();
    app.clock().advance(Duration::from_secs(6));
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    assert_eq!(state(&app, body.id.as_str()).await, "FAILURE");
    assert_eq!(counts(&app, "celery").await.unacked, 1);
    gate.open(1);
    until_counts(&app, 0, 0).await;
    worker.stop().await;
    assert_eq!(notes.all(), ["errback"]);
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
        send_workflow(&app, Node::chord(plain(["early", "body"]), node("body", "waits"))).await.unwrap();
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
