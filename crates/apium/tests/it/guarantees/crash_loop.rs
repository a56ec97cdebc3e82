//! `crash-loop`: a task that keeps killing its worker goes to the dead set after a number of crashes, and all other
//! tasks run.

use apium::driver::DeadLetter;
use apium::prelude::*;
use apium::worker::StopKind;

use crate::fixture::{Fixture, records};
use crate::live::{counts, entered, live, none_entered, open_gate, start, stop, value, wait_for_counts, wait_until};
use crate::program::Sandbox;
use crate::scenarios::shutdown::gated;

async fn dead(app: &App) -> Vec<DeadLetter> {
    app.broker().dead().unwrap().list(0, 10).await.unwrap()
}

/// Starts a worker that dies while it runs the first task of the queue, when it has fetched `fetched` messages.
async fn crash(fixture: &Fixture, app: &App, fetched: u64, queued: u64) {
    let worker = start(app, 1).await;
    entered(app, 1).await;
    wait_for_counts(app, queued - fetched, fetched).await;
    // Dropped without a stop, it settles nothing, and the broker sees a dead consumer.
    drop(worker);
    // On Redis another worker reclaims the messages, also a worker of other queues.
    let other = match fixture {
        Fixture::Redis(..) => Some(app.worker().hostname("other@host").queues(["elsewhere"]).start().await.unwrap()),
        _ => None,
    };
    wait_until(&format!("none of {queued} is unacknowledged"), async || counts(app).await.unacked == 0).await;
    if let Some(other) = other {
        stop(other, StopKind::Warm).await;
    }
}

on_every_driver! {
    async fn a_task_that_kills_its_worker_goes_to_the_dead_set(fixture: &Fixture) {
        let app = live(fixture).setting("task_acks_late", true).register::<gated>().build().await.unwrap();
        let killer = gated::delay(0).task_id("killer").send(&app).await.unwrap();
        let others = gated::batch((1..4).map(|n| (n,))).send_all(&app).await.unwrap();
        for round in 1..=3 {
            assert_eq!(dead(&app).await.len(), 0, "before crash {round}");
            crash(fixture, &app, 4, 4).await;
        }
        assert_eq!(records(&app), ["0", "0 again", "0 again"], "nothing but the first task ran");
        let dead_letters = dead(&app).await;
        assert_eq!(dead_letters.len(), 1);
        let dead_letter = &dead_letters[0];
        assert_eq!((dead_letter.code.as_str(), dead_letter.queue.as_str()), ("crash-loop", "celery"));
        assert_eq!((dead_letter.task_id.as_deref(), dead_letter.task.as_deref()), (Some("killer"), Some(gated::NAME)));
        assert!(dead_letter.reason.contains('3') && dead_letter.reason.contains("worker_max_crashes"), "{}", dead_letter.reason);
        assert_eq!(counts(&app).await.ready, 3);

        // The other tasks were fetched as often, which does not count, so they run.
        open_gate(&app, 3);
        let worker = start(&app, 1).await;
        for (n, result) in (1..).zip(&others) {
            assert_eq!(value(result).await, n);
        }
        entered(&app, 3).await;
        stop(worker, StopKind::Warm).await;
        assert_eq!(records(&app), ["1 again", "2 again", "3 again"]);
        assert!(!killer.ready().await.unwrap());

        // When it is replayed, its crashes are counted from zero.
        assert_eq!(app.broker().dead().unwrap().replay(vec![dead_letter.key]).await.unwrap(), 1);
        crash(fixture, &app, 1, 1).await;
        assert!(none_entered(&app));
        assert_eq!((dead(&app).await.len(), counts(&app).await.ready), (0, 1));
        open_gate(&app, 1);
        let worker = start(&app, 1).await;
        assert_eq!(value(&killer).await, 0);
        stop(worker, StopKind::Warm).await;
    }

    async fn the_limit_is_a_setting_and_zero_is_none(fixture: &Fixture) {
        for (limit, crashes, dead_lettered) in [(1, 1, 1), (0, 5, 0)] {
            let builder = live(fixture).setting("task_acks_late", true).setting("worker_max_crashes", limit);
            let app = builder.register::<gated>().build().await.unwrap();
            gated::delay(0).send(&app).await.unwrap();
            for _ in 0..crashes {
                crash(fixture, &app, 1, 1).await;
            }
            let dead_letters = dead(&app).await;
            assert_eq!(dead_letters.len(), dead_lettered, "worker_max_crashes = {limit}");
            assert_eq!(counts(&app).await.ready, 1 - dead_lettered as u64);
            app.broker().dead().unwrap().remove(dead_letters.iter().map(|dead_letter| dead_letter.key).collect()).await.unwrap();
            app.broker().queues().unwrap().purge("celery").await.unwrap();
        }
    }
}

/// The process id in the state STARTED of a task.
async fn started_by(result: &AsyncResult<Json>) -> Option<u64> {
    let info: serde_json::Value = result.info().await.unwrap().decode().unwrap();
    info.get("pid").and_then(serde_json::Value::as_u64)
}

/// Worker processes that are killed count as crashes, like the dropped workers above.
#[tokio::test]
async fn killed_worker_processes_count() {
    let sandbox = Sandbox::new();
    let builder = App::builder("watcher").autodiscover(false).broker(sandbox.url()).backend(sandbox.url());
    let app = builder.build().await.unwrap();
    let killer = app.sig("tasks.late_sleep").args((3600,)).send().await.unwrap();
    for round in 1..=3 {
        assert_eq!(dead(&app).await.len(), 0, "before crash {round}");
        let worker = sandbox.worker_with(&[], &[("APIUM_TASK_TRACK_STARTED", "true")]);
        let pid = u64::from(worker.pid());
        wait_until("the task runs", async || started_by(&killer).await == Some(pid)).await;
        worker.kill();
    }
    let sum = app.sig("tasks.add").args((2, 2)).send().await.unwrap();
    let worker = sandbox.worker(&[]);
    assert_eq!(value(&sum).await.decode::<i64>().unwrap(), 4, "other tasks run");
    wait_until("the task is in the dead set", async || dead(&app).await.len() == 1).await;
    let dead_letter = dead(&app).await.remove(0);
    assert_eq!((dead_letter.code.as_str(), dead_letter.task_id.as_deref()), ("crash-loop", Some(killer.id().as_str())));
    let stats = counts(&app).await;
    assert_eq!((stats.ready, stats.unacked), (0, 0));
    assert_eq!(worker.stop("TERM").0, 0);
}
