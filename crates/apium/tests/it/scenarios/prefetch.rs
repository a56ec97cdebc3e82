//! How many messages a worker prefetches, and that what it prefetched does not wait while a slot anywhere is free.

use apium::prelude::*;
use apium::worker::StopKind;

use crate::fixture::Fixture;
use crate::live::{counts, entered, live, none_entered, open_gate, start, stop, value, wait_for_counts};
use crate::scenarios::ends::shutdown::gated;

/// A short task.
#[task(name = "scenarios.short")]
async fn short(n: i64) -> i64 {
    n
}

/// An app with default workers, whose long tasks wait at the gate.
async fn long_and_short(fixture: &Fixture, acks_late: bool) -> App {
    let builder = live(fixture).setting("task_acks_late", acks_late);
    builder.register::<gated>().register::<short>().build().await.unwrap()
}

/// Waits for all short tasks, while the long ones wait at the gate.
async fn all_end(results: &[AsyncResult<i64>]) {
    for (n, result) in (0..).zip(results) {
        assert_eq!(value(result).await, n);
    }
}

on_every_driver! {
    async fn no_short_task_waits_behind_a_long_one_while_a_slot_anywhere_is_free(fixture: &Fixture) {
        // Of the four slots of two default workers, one at least is free.
        for (acks_late, longs) in [(false, 2), (true, 2), (false, 3), (true, 3)] {
            let app = long_and_short(fixture, acks_late).await;
            let one = start(&app, 2).await;
            let two = start(&app, 2).await;
            gated::batch((0..longs).map(|n| (n,))).send_all(&app).await.unwrap();
            let results = short::batch((0..300).map(|n| (n,))).send_all(&app).await.unwrap();
            entered(&app, longs as u32).await;
            all_end(&results).await;

            open_gate(&app, longs as usize);
            wait_for_counts(&app, 0, 0).await;
            let finished = stop(one, StopKind::Warm).await.finished + stop(two, StopKind::Warm).await.finished;
            assert_eq!(finished, 300 + longs as u64);
        }
    }

    async fn short_tasks_that_were_fetched_ahead_of_long_ones_go_to_another_worker(fixture: &Fixture) {
        for acks_late in [false, true] {
            let app = long_and_short(fixture, acks_late).await;
            // With these the worker comes to fetch many ahead.
            short::batch((0..500).map(|n| (n,))).send_all(&app).await.unwrap();
            gated::batch((0..2).map(|n| (n,))).send_all(&app).await.unwrap();
            let results = short::batch((0..100).map(|n| (n,))).send_all(&app).await.unwrap();
            let one = start(&app, 2).await;
            entered(&app, 2).await;
            let two = start(&app, 2).await;
            all_end(&results).await;

            open_gate(&app, 2);
            wait_for_counts(&app, 0, 0).await;
            let finished = stop(one, StopKind::Warm).await.finished + stop(two, StopKind::Warm).await.finished;
            assert_eq!(finished, 602);
        }
    }

    async fn a_worker_prefetches_its_concurrency_times_the_multiplier(fixture: &Fixture) {
        // Early ack: three messages run and are acked, and twelve are prefetched. Late ack: the running ones are among
        // the twelve.
        for (acks_late, ready) in [(false, 15), (true, 18)] {
            let builder = live(fixture).setting("worker_prefetch_multiplier", 4).setting("task_acks_late", acks_late);
            let app = builder.register::<gated>().build().await.unwrap();
            let results = gated::batch((0..30).map(|n| (n,))).send_all(&app).await.unwrap();
            let one = start(&app, 3).await;
            entered(&app, 3).await;
            wait_for_counts(&app, ready, 12).await;
            assert_eq!(counts(&app).await.consumers, 1);

            // Another worker claims as many of the other messages, and does not touch those of the first worker.
            let two = start(&app, 3).await;
            entered(&app, 3).await;
            wait_for_counts(&app, 2 * ready - 30, 24).await;
            assert!(none_entered(&app), "three slots of each worker are busy");

            // For each task that ends, a worker claims one more.
            if acks_late {
                open_gate(&app, 2);
                entered(&app, 2).await;
                wait_for_counts(&app, 2 * ready - 32, 24).await;
            }

            open_gate(&app, 30);
            for (n, result) in (0..).zip(&results) {
                assert_eq!(value(result).await, n);
            }
            let finished = stop(one, StopKind::Warm).await.finished + stop(two, StopKind::Warm).await.finished;
            assert_eq!(finished, 30);
            wait_for_counts(&app, 0, 0).await;
        }
    }

    async fn the_multiplier_is_a_setting_and_zero_is_no_limit(fixture: &Fixture) {
        for (multiplier, ready) in [(1, 30 - 3 - 3), (0, 0)] {
            let builder = live(fixture).setting("worker_prefetch_multiplier", multiplier);
            let app = builder.register::<gated>().build().await.unwrap();
            gated::batch((0..30).map(|n| (n,))).send_all(&app).await.unwrap();
            let worker = start(&app, 3).await;
            entered(&app, 3).await;
            wait_for_counts(&app, ready, 27 - ready).await;
            open_gate(&app, 30);
            wait_for_counts(&app, 0, 0).await;
            assert_eq!(stop(worker, StopKind::Warm).await.finished, 30);
        }
    }
}
