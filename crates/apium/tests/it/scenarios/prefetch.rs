//! Scenario 8: how many messages a worker holds.

use apium::worker::StopKind;

use crate::live::{came, counts, let_through, live, nobody_came, start, stop, until_counts, value};
use crate::scenarios::shutdown::gated;

on_every_driver! {
    async fn scenario_08_prefetch_holds_concurrency_times_four(ground: &Ground) {
        // Early ack: three that run and are acked, and twelve that wait here. Late ack: the running ones are among the twelve.
        for (late, left) in [(false, 15), (true, 18)] {
            let app = live(ground).setting("task_acks_late", late).register::<gated>().build().await.unwrap();
            let results = gated::batch((0..30).map(|n| (n,))).send_all(&app).await.unwrap();
            let one = start(&app, 3).await;
            came(&app, 3).await;
            until_counts(&app, left, 12).await;
            assert_eq!(counts(&app).await.consumers, 1);

            // The rest is another worker's, which takes as many and leaves the first one's alone.
            let two = start(&app, 3).await;
            came(&app, 3).await;
            until_counts(&app, 2 * left - 30, 24).await;
            assert!(nobody_came(&app), "three slots of each worker are busy");

            // Each end makes room for one more.
            if late {
                let_through(&app, 2);
                came(&app, 2).await;
                until_counts(&app, 2 * left - 32, 24).await;
            }

            let_through(&app, 30);
            for (n, result) in (0..).zip(&results) {
                assert_eq!(value(result).await, n);
            }
            let finished = stop(one, StopKind::Warm).await.finished + stop(two, StopKind::Warm).await.finished;
            assert_eq!(finished, 30);
            until_counts(&app, 0, 0).await;
        }
    }

    async fn scenario_08_the_multiplier_is_a_setting_and_zero_is_no_limit(ground: &Ground) {
        for (multiplier, left) in [(1, 30 - 3 - 3), (0, 0)] {
            let builder = live(ground).setting("worker_prefetch_multiplier", multiplier);
            let app = builder.register::<gated>().build().await.unwrap();
            gated::batch((0..30).map(|n| (n,))).send_all(&app).await.unwrap();
            let worker = start(&app, 3).await;
            came(&app, 3).await;
            until_counts(&app, left, 27 - left).await;
            let_through(&app, 30);
            until_counts(&app, 0, 0).await;
            assert_eq!(stop(worker, StopKind::Warm).await.finished, 30);
        }
    }
}
