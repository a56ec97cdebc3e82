//! Scenario 9 in a better form: messages with an eta wait in the broker, and not in the window of a worker.

use std::time::Duration;

use apium::driver::Clock;
use apium::worker::StopKind;

use crate::ground::notes;
use crate::live::{came, counts, let_through, live, nobody_came, start, stop, until_counts, value};
use crate::scenarios::shutdown::gated;

/// How long the tasks with an eta wait.
const WAIT: Duration = Duration::from_secs(6);

on_every_driver! {
    /// Celery holds them in the worker, which fetches one more for each; here the worker's death costs nothing.
    async fn scenario_09_tasks_with_an_eta_do_not_stand_in_the_way(ground: &Ground) {
        let clock = Clock::manual("2030-01-01T00:00:00Z".parse().unwrap());
        let app = live(ground).clock(clock.clone()).register::<gated>().build().await.unwrap();
        let later = gated::batch((0..20).map(|n| (n,))).countdown(WAIT).send_all(&app).await.unwrap();
        let worker = start(&app, 3).await;
        until_counts(&app, 0, 0).await;
        assert_eq!(counts(&app).await.delayed, 20);
        let now = gated::delay(100).send(&app).await.unwrap();
        came(&app, 1).await;
        let_through(&app, 1);
        assert_eq!(value(&now).await, 100, "it runs at once");
        assert!(nobody_came(&app));
        let fetched = counts(&app).await;
        assert_eq!((fetched.ready, fetched.unacked, fetched.delayed), (0, 0, 20), "no worker holds them");
        // Nothing depends on the worker that saw them.
        drop(worker);

        clock.advance(WAIT - Duration::from_millis(1));
        let next = start(&app, 3).await;
        until_counts(&app, 0, 0).await;
        assert!(nobody_came(&app), "nothing begins before its time");
        stop(next, StopKind::Warm).await;
        clock.advance(Duration::from_millis(1));
        let last = start(&app, 3).await;
        let_through(&app, 20);
        for (n, result) in (0..).zip(&later) {
            assert_eq!(value(result).await, n);
        }
        stop(last, StopKind::Warm).await;
        assert_eq!(notes(&app).len(), 21, "each ran once");
        let left = counts(&app).await;
        assert_eq!((left.ready, left.unacked, left.delayed), (0, 0, 0));
    }
}
