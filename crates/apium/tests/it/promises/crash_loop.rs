//! A task that keeps killing its worker is put aside after so many crashes, and everything else flows on.

use apium::driver::DeadLetter;
use apium::prelude::*;
use apium::worker::StopKind;

use crate::ground::{Ground, notes};
use crate::live::{came, counts, let_through, live, nobody_came, start, stop, until, until_counts, value};
use crate::program::Place;
use crate::scenarios::shutdown::gated;

async fn dead(app: &App) -> Vec<DeadLetter> {
    app.broker().dead().unwrap().list(0, 10).await.unwrap()
}

/// Starts a worker that dies while it runs the first task in the queue; it has fetched `fetched` in all.
async fn crash(ground: &Ground, app: &App, fetched: u64, left: u64) {
    let worker = start(app, 1).await;
    came(app, 1).await;
    until_counts(app, left - fetched, fetched).await;
    // Dropped without a stop: nothing is settled, and the broker sees a dead consumer.
    drop(worker);
    // On Redis it is workers that look after what the dead have left, those of other queues too.
    let beside = match ground {
        Ground::Redis(..) => Some(app.worker().hostname("beside@host").queues(["elsewhere"]).start().await.unwrap()),
        _ => None,
    };
    until(&format!("none of {left} is delivered"), async || counts(app).await.unacked == 0).await;
    if let Some(beside) = beside {
        stop(beside, StopKind::Warm).await;
    }
}

on_every_driver! {
    async fn promise_04_a_task_that_kills_its_worker_is_put_aside(ground: &Ground) {
        let app = live(ground).setting("task_acks_late", true).register::<gated>().build().await.unwrap();
        let killer = gated::delay(0).task_id("killer").send(&app).await.unwrap();
        let others = gated::batch((1..4).map(|n| (n,))).send_all(&app).await.unwrap();
        for round in 1..=3 {
            assert_eq!(dead(&app).await.len(), 0, "before crash {round}");
            crash(ground, &app, 4, 4).await;
        }
        assert_eq!(notes(&app), ["0", "0 again", "0 again"], "nothing but the first task ran");
        let letters = dead(&app).await;
        assert_eq!(letters.len(), 1);
        let letter = &letters[0];
        assert_eq!((letter.code.as_str(), letter.queue.as_str()), ("crash-loop", "celery"));
        assert_eq!((letter.task_id.as_deref(), letter.task.as_deref()), (Some("killer"), Some(gated::NAME)));
        assert!(letter.reason.contains('3') && letter.reason.contains("worker_max_crashes"), "{}", letter.reason);
        assert_eq!(counts(&app).await.ready, 3);

        // The others were fetched as often, which counts nothing: they flow on.
        let_through(&app, 3);
        let worker = start(&app, 1).await;
        for (n, result) in (1..).zip(&others) {
            assert_eq!(value(result).await, n);
        }
        came(&app, 3).await;
        stop(worker, StopKind::Warm).await;
        assert_eq!(notes(&app), ["1 again", "2 again", "3 again"]);
        assert!(!killer.ready().await.unwrap());

        // Replayed, it begins to count anew.
        assert_eq!(app.broker().dead().unwrap().replay(vec![letter.key]).await.unwrap(), 1);
        crash(ground, &app, 1, 1).await;
        assert!(nobody_came(&app));
        assert_eq!((dead(&app).await.len(), counts(&app).await.ready), (0, 1));
        let_through(&app, 1);
        let worker = start(&app, 1).await;
        assert_eq!(value(&killer).await, 0);
        stop(worker, StopKind::Warm).await;
    }

    async fn promise_04_the_limit_is_a_setting_and_zero_is_none(ground: &Ground) {
        for (limit, crashes, quarantined) in [(1, 1, 1), (0, 5, 0)] {
            let builder = live(ground).setting("task_acks_late", true).setting("worker_max_crashes", limit);
            let app = builder.register::<gated>().build().await.unwrap();
            gated::delay(0).send(&app).await.unwrap();
            for _ in 0..crashes {
                crash(ground, &app, 1, 1).await;
            }
            let letters = dead(&app).await;
            assert_eq!(letters.len(), quarantined, "worker_max_crashes = {limit}");
            assert_eq!(counts(&app).await.ready, 1 - quarantined as u64);
            app.broker().dead().unwrap().remove(letters.iter().map(|letter| letter.key).collect()).await.unwrap();
            app.broker().queues().unwrap().purge("celery").await.unwrap();
        }
    }
}

/// The process id that a task's STARTED names.
async fn started_by(result: &AsyncResult<Json>) -> Option<u64> {
    let info: serde_json::Value = result.info().await.unwrap().decode().unwrap();
    info.get("pid").and_then(serde_json::Value::as_u64)
}

/// Worker processes that are killed while they run it.
#[tokio::test]
async fn promise_04_killed_worker_processes_count() {
    let place = Place::new();
    let builder = App::builder("watcher").autodiscover(false).broker(place.url()).backend(place.url());
    let app = builder.build().await.unwrap();
    let killer = app.sig("tasks.late_sleep").args((3600,)).send().await.unwrap();
    for round in 1..=3 {
        assert_eq!(dead(&app).await.len(), 0, "before crash {round}");
        let worker = place.worker_with(&[], &[("APIUM_TASK_TRACK_STARTED", "true")]);
        let pid = u64::from(worker.pid());
        until("the task runs", async || started_by(&killer).await == Some(pid)).await;
        worker.kill();
    }
    let sum = app.sig("tasks.add").args((2, 2)).send().await.unwrap();
    let worker = place.worker(&[]);
    assert_eq!(value(&sum).await.decode::<i64>().unwrap(), 4, "others flow on");
    until("the task is put aside", async || dead(&app).await.len() == 1).await;
    let letter = dead(&app).await.remove(0);
    assert_eq!((letter.code.as_str(), letter.task_id.as_deref()), ("crash-loop", Some(killer.id().as_str())));
    let left = counts(&app).await;
    assert_eq!((left.ready, left.unacked), (0, 0));
    assert_eq!(worker.stop("TERM").0, 0);
}
