//! A pool that grows and shrinks while it works.

use apium_app::app::app::App;
use apium_worker::builder::AppWorker as _;
use apium_worker::pool::kind::PoolKind;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;
use serde_json::json as j;

use crate::control::caller::call;
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
