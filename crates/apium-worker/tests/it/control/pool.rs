//! A pool that grows and shrinks while it works.

use std::time::Duration;

use apium_app::app::app::App;
use apium_worker::builder::AppWorker as _;
use apium_worker::pool::kind::PoolKind;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;
use serde_json::json as j;

use crate::control::caller::call;
use crate::control::vectors::{reply, vector};
use crate::rig::{Gate, json, send, until, until_counts, until_state};
use crate::task;

task!(Wait = "wait", [], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});
task!(Late = "late", [acks_late: Some(true)], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});

async fn app(gate: &Gate) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone());
    builder.register::<Wait>().register::<Late>().build().await.unwrap()
}

#[tokio::test]
async fn more_slots_begin_more_runs_and_fewer_slots_let_theirs_end() {
    for pool in [PoolKind::Async, PoolKind::Threads] {
        let gate = Gate::new();
        let app = app(&gate).await;
        let worker = app.worker().concurrency(1).pool(pool).prefetch_multiplier(1).start().await.unwrap();
        for n in 0..8 {
            send(&app, "late", &format!("t{n}")).await;
        }
        gate.begun(1).await;
        assert_eq!(call(&app, "pool_grow", j!({"n": 2})).await, j!({"ok": "pool will grow"}));
        gate.begun(2).await;
        // The prefetch has grown with it.
        until_counts(&app, 5, 3).await;
        assert_eq!(call(&app, "stats", j!({})).await["pool"]["max-concurrency"], 3);
        assert_eq!(call(&app, "pool_shrink", j!({"n": 2})).await, j!({"ok": "pool will shrink"}));
        let active = async || call(&app, "active", j!({})).await.as_array().unwrap().len();
        assert_eq!(active().await, 3, "what runs goes on");
        gate.open(3);
        gate.begun(1).await;
        until("one runs", async || active().await == 1).await;
        gate.open(4);
        for n in 0..8 {
            if n < 7 {
                until_state(&app, &format!("t{n}"), "SUCCESS").await;
            }
        }
        gate.begun(4).await;
        assert_eq!((active().await, gate.more()), (1, 0));
        let stats = call(&app, "stats", j!({})).await;
        assert_eq!((&stats["pool"]["max-concurrency"], &stats["total"]), (&j!(1), &j!({"late": 8})));
        gate.open(1);
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_pool_keeps_one_slot_and_idle_slots_end_at_once() {
    let gate = Gate::new();
    let app = app(&gate).await;
    let worker = app.worker().concurrency(4).start().await.unwrap();
    let refused = call(&app, "pool_shrink", j!({"n": 4})).await;
    assert!(refused["error"].as_str().unwrap().contains("keeps one at least"), "{refused}");
    call(&app, "pool_shrink", j!({"n": 3})).await;
    call(&app, "pool_grow", j!({"n": 1})).await;
    call(&app, "pool_shrink", j!({})).await;
    for n in 0..2 {
        send(&app, "wait", &format!("t{n}")).await;
    }
    gate.begun(1).await;
    until("one is active", async || call(&app, "active", j!({})).await.as_array().unwrap().len() == 1).await;
    assert_eq!(gate.more(), 0);
    gate.open(2);
    until_state(&app, "t1", "SUCCESS").await;
    let wrong = call(&app, "pool_grow", j!({"n": -1})).await;
    assert_eq!(wrong, j!({"error": "TypeError('n must be a whole number from 0, not -1')"}));
    let huge = call(&app, "pool_grow", j!({"n": 10_000_000})).await;
    assert!(huge["error"].as_str().unwrap().contains("65536"), "{huge}");
    worker.stop().await;
    let solo = app.worker().pool(PoolKind::Solo).start().await.unwrap();
    let refused = call(&app, "pool_grow", j!({"n": 1})).await;
    assert_eq!(refused, j!({"error": "AttributeError(\"'TaskPool' object has no attribute 'grow'\")"}));
    solo.stop().await;
}

#[tokio::test]
async fn a_worker_that_scales_itself_has_as_many_slots_as_there_is_work_for() {
    let gate = Gate::new();
    let app = app(&gate).await;
    let worker = app.worker().hostname("w1@wirespec").autoscale(3, 1).start().await.unwrap();
    let stats = async || call(&app, "stats", j!({})).await["autoscaler"].clone();
    assert_eq!(stats().await, j!({"max": 3, "min": 1, "current": 1, "qty": 0}));
    for n in 0..6 {
        send(&app, "late", &format!("t{n}")).await;
    }
    gate.begun(1).await;
    let until_slots = async |slots: usize| {
        until("the slots are as many", async || {
            app.clock().advance(Duration::from_secs(1));
            stats().await["current"] == slots
        })
        .await;
    };
    until_slots(3).await;
    gate.begun(2).await;
    // Celery's replies.
    let both = [("pool_grow_autoscale", "pool_grow"), ("pool_grow_autoscale", "pool_shrink")];
    for (name, command) in both {
        let (_, theirs) = vector(name);
        let theirs = theirs.unwrap().to_string().replace("pool_grow", command);
        assert_eq!(call(&app, command, j!({"n": 1})).await.to_string(), theirs);
    }
    let (request, theirs) = vector("autoscale");
    assert_eq!(reply(&app, &request).await, theirs.unwrap());
    assert_eq!(stats().await, j!({"max": 4, "min": 2, "current": 3, "qty": 3}));
    until_slots(4).await;
    let refused = call(&app, "autoscale", j!({"max": 1})).await;
    assert_eq!(refused, j!({"error": "the least number of slots (2) is above the most (1)"}));
    assert_eq!(call(&app, "autoscale", j!({"max": 3})).await, j!({"ok": "autoscale now max=3 min=2"}));
    assert_eq!(stats().await["current"], 3, "what is above the most ends at once");
    gate.open(6);
    for n in 0..6 {
        until_state(&app, &format!("t{n}"), "SUCCESS").await;
    }
    until_slots(2).await;
    worker.stop().await;
    for (pool, max, min, why) in [
        (PoolKind::Solo, 3, 1, "the pool solo has one slot"),
        (PoolKind::Async, 1, 2, "the least number of slots (2) is above the most (1)"),
    ] {
        let error = app.worker().pool(pool).autoscale(max, min).start().await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
