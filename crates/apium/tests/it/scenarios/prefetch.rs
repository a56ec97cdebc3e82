//! How many messages a worker prefetches.

use apium::worker::StopKind;

use crate::live::{counts, entered, live, none_entered, open_gate, start, stop, value, wait_for_counts};
use crate::scenarios::shutdown::gated;

on_every_driver! {
    async fn a_worker_prefetches_four_times_its_concurrency(fixture: &Fixture) {
        // Early ack: three messages run and are acked, and twelve are prefetched. Late ack: the running ones are among
        // the twelve.
        for (acks_late, ready) in [(false, 15), (true, 18)] {
            let app = live(fixture).setting("task_acks_late", acks_late).register::<gated>().build().await.unwrap();
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
