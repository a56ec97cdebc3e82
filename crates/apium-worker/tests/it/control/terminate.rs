//! Runs that are terminated: they end, their state says so, and their slot is free.

use apium_app::app::app::App;
use apium_worker::builder::AppWorker as _;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;
use serde_json::json as j;

use crate::control::caller::call;
use crate::rig::{Gate, Notes, counts, exception, json, send, until, until_state};
use crate::task;

task!(Wait = "wait", [], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});
task!(Late = "late", [acks_late: Some(true)], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});
task!(Checks = "checks", [], fn |ctx| {
    ctx.state::<Notes>().unwrap().add("begun");
    loop {
        if let Err(error) = ctx.check() {
            ctx.state::<Notes>().unwrap().add("ended");
            return Err(error);
        }
        std::thread::yield_now();
    }
});
task!(Deaf = "blind", [], fn |ctx| {
    let gate = ctx.state::<Gate>().unwrap();
    tokio::runtime::Handle::current().block_on(gate.pass());
    Ok(json(2))
});
task!(Quick = "quick", [], async |_ctx| Ok(json(3)));

async fn app(gate: &Gate, notes: &Notes) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone()).state(notes.clone());
    let builder = builder.register::<Wait>().register::<Late>().register::<Checks>().register::<Deaf>();
    builder.register::<Quick>().build().await.unwrap()
}

#[tokio::test]
async fn an_async_run_is_dropped_and_its_slot_is_free() {
    for task in ["wait", "late"] {
        let gate = Gate::new();
        let app = app(&gate, &Notes::default()).await;
        let worker = app.worker().concurrency(1).start().await.unwrap();
        send(&app, task, "a").await;
        gate.begun(1).await;
        send(&app, "quick", "next").await;
        let arguments = j!({"task_id": "a", "terminate": true, "signal": "SIGKILL"});
        assert_eq!(call(&app, "revoke", arguments).await, j!({"ok": "terminate: a"}));
        until_state(&app, "a", "REVOKED").await;
        until_state(&app, "next", "SUCCESS").await;
        assert_eq!(exception(&app, "a").await, ("TaskRevokedError".into(), j!(["terminated"])));
        until("it is acked", async || counts(&app, "celery").await.unacked == 0).await;
        let again = call(&app, "terminate", j!({"signal": "TERM", "task_id": ["a"]})).await;
        assert_eq!(again, j!({"ok": "terminate: tasks unknown"}));
        let report = worker.stop().await;
        assert_eq!((report.finished, report.cancelled), (2, 0), "{task}");
    }
}

#[tokio::test]
async fn a_plain_function_sees_it_in_its_context() {
    let notes = Notes::default();
    let app = app(&Gate::new(), &notes).await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    send(&app, "checks", "a").await;
    until("it has begun", async || notes.all() == ["begun"]).await;
    call(&app, "terminate", j!({"signal": "TERM", "task_id": "a"})).await;
    until_state(&app, "a", "REVOKED").await;
    until("it has ended", async || notes.all() == ["begun", "ended"]).await;
    assert_eq!(worker.leaked_threads(), 0);
    worker.stop().await;
}

#[tokio::test]
async fn a_plain_function_that_does_not_look_is_abandoned_and_its_thread_counted() {
    let gate = Gate::new();
    let app = app(&gate, &Notes::default()).await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    send(&app, "blind", "a").await;
    gate.begun(1).await;
    call(&app, "revoke", j!({"task_id": "a", "terminate": true})).await;
    until_state(&app, "a", "REVOKED").await;
    assert_eq!(worker.leaked_threads(), 1);
    send(&app, "quick", "next").await;
    until_state(&app, "next", "SUCCESS").await;
    gate.open(1);
    until("the thread ends", async || worker.leaked_threads() == 0).await;
    worker.stop().await;
}

#[tokio::test]
async fn what_waits_is_terminated_before_it_begins_and_a_wrong_signal_does_nothing() {
    let gate = Gate::new();
    let app = app(&gate, &Notes::default()).await;
    let worker = app.worker().concurrency(1).prefetch_multiplier(4).start().await.unwrap();
    send(&app, "wait", "a").await;
    gate.begun(1).await;
    send(&app, "wait", "b").await;
    until("it is reserved", async || !call(&app, "reserved", j!({})).await.as_array().unwrap().is_empty()).await;
    let wrong = call(&app, "terminate", j!({"signal": "NOPE", "task_id": "a"})).await;
    assert_eq!(wrong, j!({"error": "AttributeError(\"module 'signal' has no attribute 'SIGNOPE'\")"}));
    assert_eq!(call(&app, "terminate", j!({"signal": 15, "task_id": "b"})).await, j!({"ok": "terminate: b"}));
    until_state(&app, "b", "REVOKED").await;
    gate.open(1);
    until_state(&app, "a", "SUCCESS").await;
    worker.stop().await;
    assert_eq!(gate.more(), 0);
}
