//! `worker_prefetch_multiplier = "auto"`: long tasks are not fetched ahead, short ones are fetched in batches, and what
//! was fetched ahead of long ones goes back.

use apium_app::app::app::App;
use apium_app::context::context::Ctx;
use apium_app::task_error::TaskResult;
use apium_protocol::json::text::Json;
use apium_worker::builder::AppWorker as _;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;

use crate::rig::{Gate, Notes, counts, json, send, until, until_counts};
use crate::switched_driver::{SwitchedDriver, Switches, URL};
use crate::task;

task!(Early = "early", [], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});
task!(Late = "late", [acks_late: Some(true)], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});
task!(Nothing = "nothing", [], async |_ctx| Ok(json(())));
task!(LateNothing = "late_nothing", [acks_late: Some(true)], async |_ctx| Ok(json(())));
task!(Noted = "noted", [], async |ctx| note(&ctx));
task!(LateNoted = "late_noted", [acks_late: Some(true)], async |ctx| note(&ctx));
task!(Limited = "limited", [rate_limit: Some("2/s".into())], async |_ctx| Ok(json(())));

/// Notes whether the message was delivered before.
fn note(ctx: &Ctx) -> TaskResult<Json> {
    let redelivered = ctx.request().delivery_info.redelivered;
    ctx.state::<Notes>().unwrap().add(if redelivered { "again" } else { "first" });
    Ok(json(()))
}

async fn app(gate: &Gate, switches: &Switches) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone());
    let builder = builder.driver(SwitchedDriver::new(switches)).broker(URL).backend(URL);
    let builder = builder.state(Notes::default()).register::<Noted>().register::<LateNoted>().register::<Limited>();
    let builder = builder.register::<Early>().register::<Late>().register::<Nothing>();
    builder.register::<LateNothing>().build().await.unwrap()
}

#[tokio::test]
async fn a_message_without_a_free_slot_stays_in_the_queue() {
    // With late ack the eight that run are unacked; with early ack none is.
    for (task, unacked) in [("late", 8), ("early", 0)] {
        let (gate, switches) = (Gate::new(), Switches::default());
        let app = app(&gate, &switches).await;
        for n in 0..30 {
            send(&app, task, &format!("{task}{n}")).await;
        }
        let worker = app.worker().concurrency(8).start().await.unwrap();
        gate.begun(8).await;
        until_counts(&app, 22, unacked).await;
        for left in [21, 20, 19] {
            gate.open(1);
            gate.begun(1).await;
            until_counts(&app, left, unacked).await;
        }
        // Its consumer is paused meanwhile, and another worker gets the messages that are left.
        until("the consumer is paused", async || switches.pauses() > 0).await;
        let other = app.worker().hostname("other@here").concurrency(8).start().await.unwrap();
        gate.begun(8).await;
        until_counts(&app, 11, 2 * unacked).await;
        gate.open(30);
        until_counts(&app, 0, 0).await;
        let finished = worker.stop().await.finished + other.stop().await.finished;
        assert_eq!(finished, 30, "{task}");
    }
}

#[tokio::test]
async fn short_runs_make_it_fetch_more_than_four_for_each_slot() {
    for task in ["nothing", "late_nothing"] {
        let switches = Switches::default();
        let app = app(&Gate::new(), &switches).await;
        for round in 1..=2 {
            let before = switches.prefetches().len();
            for n in 0..1_500 {
                send(&app, task, &format!("{round}-{n}")).await;
            }
            let worker = app.worker().concurrency(2).prefetch_auto().start().await.unwrap();
            until("all are done", async || {
                let left = counts(&app, "celery").await;
                (left.ready, left.unacked) == (0, 0)
            })
            .await;
            assert_eq!(worker.stop().await.finished, 1_500, "{task}");
            let prefetches = switches.prefetches().split_off(before);
            assert_eq!(prefetches[0], 2, "it begins with its slots: {prefetches:?}");
            let largest = prefetches.iter().max().unwrap();
            assert!(*largest > 8, "{task}: the largest of {prefetches:?}");
            assert!(prefetches.len() < 200, "{task}: set {} times", prefetches.len());
        }
    }
}

/// Waits until a list has so many notes.
async fn until_noted(app: &TestApp, count: usize) -> Vec<String> {
    let notes = app.states().get::<Notes>().unwrap();
    until("so many notes", async || notes.all().len() == count).await;
    notes.all()
}

#[tokio::test]
async fn what_was_fetched_ahead_of_long_runs_goes_to_a_worker_with_a_free_slot() {
    for (short, long, noted) in [("nothing", "early", "noted"), ("late_nothing", "late", "late_noted")] {
        let (gate, switches) = (Gate::new(), Switches::default());
        let app = app(&gate, &switches).await;
        for n in 0..2_000 {
            send(&app, short, &format!("s{n}")).await;
        }
        for n in 0..2 {
            send(&app, long, &format!("l{n}")).await;
        }
        for n in 0..200 {
            send(&app, noted, &format!("n{n}")).await;
        }
        let worker = app.worker().concurrency(2).start().await.unwrap();
        gate.begun(2).await;
        let other = app.worker().hostname("other@here").concurrency(2).start().await.unwrap();
        let notes = until_noted(&app, 200).await;
        assert!(notes.iter().any(|note| note == "again"), "{short}: nothing was fetched ahead");
        gate.open(2);
        until_counts(&app, 0, 0).await;
        let finished = worker.stop().await.finished + other.stop().await.finished;
        assert_eq!(finished, 2_202, "{short}");
    }
}

#[tokio::test]
async fn what_went_back_begins_here_when_a_slot_is_free_again() {
    let (gate, switches) = (Gate::new(), Switches::default());
    let app = app(&gate, &switches).await;
    for n in 0..2_000 {
        send(&app, "late_nothing", &format!("s{n}")).await;
    }
    send(&app, "late", "long").await;
    for n in 0..200 {
        send(&app, "late_noted", &format!("n{n}")).await;
    }
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    until_counts(&app, 200, 1).await;
    gate.open(1);
    until_counts(&app, 0, 0).await;
    assert_eq!(until_noted(&app, 200).await.len(), 200);
    assert_eq!(worker.stop().await.finished, 2_201);
}

#[tokio::test]
async fn a_number_keeps_what_it_fetched() {
    let (gate, switches) = (Gate::new(), Switches::default());
    let app = app(&gate, &switches).await;
    for n in 0..30 {
        send(&app, if n < 2 { "late" } else { "late_noted" }, &format!("n{n}")).await;
    }
    let worker = app.worker().concurrency(2).prefetch_multiplier(4).start().await.unwrap();
    gate.begun(2).await;
    until_counts(&app, 22, 8).await;
    let other = app.worker().hostname("other@here").concurrency(2).start().await.unwrap();
    until_noted(&app, 22).await;
    until_counts(&app, 0, 8).await;
    gate.open(2);
    let notes = until_noted(&app, 28).await;
    assert!(notes.iter().all(|note| note == "first"), "{notes:?}");
    until_counts(&app, 0, 0).await;
    assert_eq!(worker.stop().await.finished + other.stop().await.finished, 30);
}

#[tokio::test]
async fn a_run_that_waits_for_its_turn_does_not_hold_up_others() {
    let app = app(&Gate::new(), &Switches::default()).await;
    // The clock stands still, so the turn of the second and the third does not come.
    for n in 0..3 {
        send(&app, "limited", &format!("l{n}")).await;
    }
    for n in 0..20 {
        send(&app, "late_noted", &format!("n{n}")).await;
    }
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until_noted(&app, 20).await;
    until_counts(&app, 0, 2).await;
    let report = worker.stop().await;
    assert_eq!((report.finished, report.given_back), (21, 2));
}

#[tokio::test]
async fn a_prefetch_multiplier_of_the_builder_wins_over_the_setting() {
    let (gate, switches) = (Gate::new(), Switches::default());
    let app = app(&gate, &switches).await;
    for n in 0..30 {
        send(&app, "late", &format!("n{n}")).await;
    }
    let worker = app.worker().concurrency(3).prefetch_multiplier(2).start().await.unwrap();
    gate.begun(3).await;
    until_counts(&app, 24, 6).await;
    gate.open(30);
    until_counts(&app, 0, 0).await;
    worker.stop().await;
    assert_eq!((switches.prefetches(), switches.pauses()), (vec![6], 0));
}
