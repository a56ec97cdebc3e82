//! Limits that change while the worker runs.

use apium_app::app::app::App;
use apium_transport::clock::Clock;
use apium_worker::builder::AppWorker as _;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;
use serde_json::json as j;

use crate::control::caller::call;
use crate::rig::{Gate, exception, json, send, until, until_state};
use crate::task;

task!(Wait = "wait", [], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});
task!(Limited = "limited", [rate_limit: Some("1/h".into())], async |_ctx| Ok(json(1)));
task!(Quick = "quick", [], async |_ctx| Ok(json(1)));
task!(Plain = "plain", [], fn no_ctx |_ctx| Ok(json(1)));

async fn app(gate: &Gate) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false).clock(Clock::system())).state(gate.clone());
    let builder = builder.register::<Wait>().register::<Limited>().register::<Quick>().register::<Plain>();
    builder.build().await.unwrap()
}

async fn reserved(app: &App) -> usize {
    call(app, "reserved", j!({})).await.as_array().unwrap().len()
}

#[tokio::test]
async fn a_new_rate_limit_holds_for_what_waits_and_for_what_comes() {
    let gate = Gate::new();
    let app = app(&gate).await;
    let worker = app.worker().concurrency(1).prefetch_multiplier(9).start().await.unwrap();
    send(&app, "wait", "w").await;
    gate.begun(1).await;
    for id in ["a", "b", "c"] {
        send(&app, "quick", id).await;
    }
    until("three wait", async || reserved(&app).await == 3).await;
    let set = call(&app, "rate_limit", j!({"task_name": "quick", "rate_limit": "1/h"})).await;
    assert_eq!(set, j!({"ok": "new rate limit set successfully"}));
    gate.open(1);
    until_state(&app, "a", "SUCCESS").await;
    assert_eq!(reserved(&app).await, 2, "the others wait for their turn");
    assert_eq!(call(&app, "registered", j!({"taskinfoitems": "rate_limit"})).await[2], "quick [rate_limit=1/h]");
    let off = call(&app, "rate_limit", j!({"task_name": "quick", "rate_limit": 0})).await;
    assert_eq!(off, j!({"ok": "rate limit disabled successfully"}));
    for id in ["b", "c"] {
        until_state(&app, id, "SUCCESS").await;
    }
    // The limit of the task itself is replaced too.
    call(&app, "rate_limit", j!({"task_name": "limited", "rate_limit": null})).await;
    for id in ["d", "e"] {
        send(&app, "limited", id).await;
        until_state(&app, id, "SUCCESS").await;
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_new_time_limit_holds_for_what_waits_and_for_what_comes() {
    let gate = Gate::new();
    let app = app(&gate).await;
    let worker = app.worker().concurrency(1).prefetch_multiplier(9).start().await.unwrap();
    send(&app, "wait", "runs").await;
    gate.begun(1).await;
    send(&app, "wait", "waits").await;
    until("one waits", async || reserved(&app).await == 1).await;
    let set = call(&app, "time_limit", j!({"task_name": "wait", "hard": 0.05, "soft": null})).await;
    assert_eq!(set, j!({"ok": "time limits set successfully"}));
    // What runs keeps its limits.
    gate.open(1);
    until_state(&app, "runs", "SUCCESS").await;
    send(&app, "wait", "comes").await;
    for id in ["waits", "comes"] {
        until_state(&app, id, "FAILURE").await;
        assert_eq!(exception(&app, id).await.0, "TimeLimitExceeded");
    }
    call(&app, "time_limit", j!({"task_name": "wait"})).await;
    gate.begun(2).await;
    send(&app, "wait", "free").await;
    gate.begun(1).await;
    assert_eq!(call(&app, "active", j!({})).await[0].get("timelimit"), None);
    gate.open(1);
    until_state(&app, "free", "SUCCESS").await;
    worker.stop().await;
}

#[tokio::test]
async fn limits_that_would_not_work_are_refused() {
    let app = app(&Gate::new()).await;
    let worker = app.worker().start().await.unwrap();
    for (arguments, wanted) in [
        (j!({"task_name": "wait", "soft": 2, "hard": 1}), "the soft limit of 2s is above the hard one of 1s"),
        (j!({"task_name": "plain", "soft": 2}), "plain cannot see a soft limit"),
        (j!({"task_name": "nobody", "soft": 2}), "unknown task"),
        (j!({"task_name": "wait", "soft": "x"}), "TypeError(\"soft must be a number of seconds above 0, not 'x'\")"),
        (j!({"task_name": "wait", "hard": -1}), "TypeError('hard must be"),
    ] {
        let answer = call(&app, "time_limit", arguments.clone()).await;
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(error.starts_with(wanted), "{arguments}: {answer}");
    }
    worker.stop().await;
    let worker = app.worker().start().await.unwrap();
    let answer = call(&app, "rate_limit", j!({"task_name": "quick", "rate_limit": "5/x"})).await;
    assert!(answer["error"].as_str().unwrap().starts_with("Invalid rate limit string: ValueError("), "{answer}");
    worker.stop().await;
}
