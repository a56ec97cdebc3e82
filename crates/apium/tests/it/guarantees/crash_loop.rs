//! `crash-loop`: a task that keeps killing its worker goes to the dead set after a number of crashes, and all other
//! tasks run.

use apium::ErrorKind;
use apium::driver::DeadLetter;
use apium::prelude::*;
use apium::worker::StopKind;

use crate::fixture::{Fixture, Records, records};
use crate::live::{
    PATIENCE, counts, entered, live, none_entered, open_gate, start, stop, value, wait_for_counts, wait_until,
};
use crate::program::Sandbox;
use crate::scenarios::ends::shutdown::gated;

/// The body of a chord.
#[task(name = "guarantees.total")]
async fn total(State(records): State<Records>, parts: Vec<i64>) -> TaskResult<i64> {
    records.add("total");
    Ok(parts.iter().sum())
}

async fn dead(app: &App) -> Vec<DeadLetter> {
    app.broker().dead().unwrap().list(0, 10).await.unwrap()
}

/// An app whose workers fetch more than they run.
fn prefetching(fixture: &Fixture) -> AppBuilder {
    live(fixture).setting("task_acks_late", true).setting("worker_prefetch_multiplier", 4)
}

/// Starts a worker that dies while it runs the first task of the queue, when it has fetched `fetched` messages.
async fn crash(fixture: &Fixture, app: &App, fetched: u64, queued: u64) {
    crash_with(fixture, app, (1, 1), fetched, queued).await;
}

/// As [`crash`], of a worker with so many slots, in which so many tasks have begun.
async fn crash_with(fixture: &Fixture, app: &App, (slots, begun): (usize, u32), fetched: u64, queued: u64) {
    let worker = start(app, slots).await;
    entered(app, begun).await;
    wait_for_counts(app, queued - fetched, fetched).await;
    // Dropped without a stop, it settles nothing, and the broker sees a dead consumer.
    drop(worker);
    // On Redis another worker reclaims the messages, also a worker of other queues.
    let other = match fixture {
        Fixture::Redis(..) => Some(app.worker().hostname("other@host").queues(["elsewhere"]).start().await.unwrap()),
        _ => None,
    };
    wait_for_counts(app, queued, 0).await;
    if let Some(other) = other {
        stop(other, StopKind::Warm).await;
    }
}

on_every_driver! {
    async fn a_task_that_kills_its_worker_goes_to_the_dead_set(fixture: &Fixture) {
        let app = prefetching(fixture).register::<gated>().build().await.unwrap();
        let killer = gated::delay(0).task_id("killer").send(&app).await.unwrap();
        let others = gated::batch((1..4).map(|n| (n,))).send_all(&app).await.unwrap();
        for round in 1..=3 {
            assert_eq!(dead(&app).await.len(), 0, "before crash {round}");
            crash(fixture, &app, 4, 4).await;
        }
        assert_eq!(records(&app), ["0", "0 again", "0 again"], "nothing but the first task ran");
        assert_eq!(killer.state().await.unwrap(), TaskState::Pending);

        // The next worker ends it without a run. The others were fetched as often, which does not count, so they run.
        open_gate(&app, 3);
        let worker = start(&app, 1).await;
        for (n, result) in (1..).zip(&others) {
            assert_eq!(value(result).await, n);
        }
        entered(&app, 3).await;
        stop(worker, StopKind::Warm).await;
        assert_eq!(records(&app), ["1 again", "2 again", "3 again"]);
        let dead_letters = dead(&app).await;
        assert_eq!(dead_letters.len(), 1);
        let dead_letter = &dead_letters[0];
        assert_eq!((dead_letter.code.as_str(), dead_letter.queue.as_str()), ("crash-loop", "celery"));
        assert_eq!((dead_letter.task_id.as_deref(), dead_letter.task.as_deref()), (Some("killer"), Some(gated::NAME)));
        assert!(dead_letter.reason.contains('3') && dead_letter.reason.contains("worker_max_crashes"), "{}", dead_letter.reason);
        assert_eq!(counts(&app).await.ready, 0);
        let error = killer.get().timeout(PATIENCE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TaskFailed);
        assert!(format!("{error:#}").contains("WorkerLostError"), "{error:#}");

        // When it is replayed it starts anew, and its crashes are counted from zero.
        assert_eq!(app.replay_dead(&[dead_letter.key]).await.unwrap(), 1);
        let killer = app.result::<i64>(killer.id().clone());
        assert_eq!(killer.state().await.unwrap(), TaskState::Pending);
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
            let builder = prefetching(fixture).setting("worker_max_crashes", limit);
            let app = builder.register::<gated>().build().await.unwrap();
            let killer = gated::delay(0).send(&app).await.unwrap();
            for _ in 0..crashes {
                crash(fixture, &app, 1, 1).await;
            }
            let worker = start(&app, 1).await;
            if dead_lettered == 0 {
                entered(&app, 1).await;
                open_gate(&app, 1);
                assert_eq!(value(&killer).await, 0);
            }
            wait_for_counts(&app, 0, 0).await;
            wait_until("the verdict", async || dead(&app).await.len() == dead_lettered).await;
            stop(worker, StopKind::Warm).await;
            let dead_letters = dead(&app).await;
            assert_eq!(dead_letters.len(), dead_lettered, "worker_max_crashes = {limit}");
            assert_eq!(killer.failed().await.unwrap(), dead_lettered == 1);
            app.broker().dead().unwrap().remove(dead_letters.iter().map(|dead_letter| dead_letter.key).collect()).await.unwrap();
        }
    }

    /// Both had begun before the first crash, and either may have been its cause.
    async fn a_neighbour_of_the_killer_is_not_convicted(fixture: &Fixture) {
        let app = prefetching(fixture).register::<gated>().build().await.unwrap();
        let tasks = gated::batch((0..2).map(|n| (n,))).send_all(&app).await.unwrap();
        crash_with(fixture, &app, (2, 2), 2, 2).await;
        for _ in 0..2 {
            crash_with(fixture, &app, (2, 1), 2, 2).await;
            assert!(none_entered(&app), "one suspect at a time");
        }
        open_gate(&app, 1);
        let worker = start(&app, 2).await;
        assert_eq!(value(&tasks[1]).await, 1);
        assert!(tasks[0].failed().await.unwrap());
        wait_for_counts(&app, 0, 0).await;
        stop(worker, StopKind::Warm).await;
        assert_eq!(dead(&app).await.len(), 1);
        assert_eq!(records(&app).iter().filter(|run| run.starts_with('1')).count(), 2, "the neighbour ran once more");
    }

    async fn a_part_that_kills_its_worker_fails_its_chord_and_is_counted_once(fixture: &Fixture) {
        let app = prefetching(fixture).register::<gated>().register::<total>().build().await.unwrap();
        let body = chord([gated::s(1), gated::s(2)], total::p()).send(&app).await.unwrap();
        for _ in 0..3 {
            crash(fixture, &app, 2, 2).await;
        }
        open_gate(&app, 1);
        let worker = start(&app, 1).await;
        let error = body.get().timeout(PATIENCE).await.unwrap_err();
        assert!(format!("{error:#}").contains("WorkerLostError"), "{error:#}");
        entered(&app, 1).await;
        stop(worker, StopKind::Warm).await;

        // A replay runs the part, and its chord has ended.
        let dead_letter = dead(&app).await.remove(0);
        assert_eq!(app.replay_dead(&[dead_letter.key]).await.unwrap(), 1);
        let part = app.result::<i64>(dead_letter.task_id.unwrap());
        assert_eq!(part.state().await.unwrap(), TaskState::Pending);
        open_gate(&app, 1);
        let worker = start(&app, 1).await;
        assert_eq!(value(&part).await, 1);
        wait_for_counts(&app, 0, 0).await;
        stop(worker, StopKind::Warm).await;
        assert!(body.failed().await.unwrap());
        assert!(!records(&app).contains(&"total".to_owned()));
    }
}

on_rabbitmq! {
    a_task_that_kills_its_worker_goes_to_the_dead_set
    the_limit_is_a_setting_and_zero_is_none
    a_neighbour_of_the_killer_is_not_convicted
    a_part_that_kills_its_worker_fails_its_chord_and_is_counted_once
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
    assert!(killer.failed().await.unwrap());
    let stats = counts(&app).await;
    assert_eq!((stats.ready, stats.unacked), (0, 0));
    assert_eq!(worker.stop("TERM").0, 0);
}
