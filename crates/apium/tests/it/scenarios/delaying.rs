//! `million-etas`: messages with an eta wait in the broker, and not in the prefetch window of a worker.

use std::time::Duration;

use apium::driver::{Clock, PriorityOrder};
use apium::prelude::*;
use apium::worker::StopKind;

use crate::fixture::{Records, records};
use crate::live::{counts, entered, live, none_entered, open_gate, start, stop, value, wait_for_counts};
use crate::scenarios::ends::shutdown::gated;

#[task(name = "scenarios.shown")]
async fn shown(State(records): State<Records>, n: i64) -> TaskResult<()> {
    records.add(n.to_string());
    Ok(())
}

/// How long the tasks with an eta wait.
const WAIT: Duration = Duration::from_secs(6);

on_every_driver! {
    /// Celery holds them in the worker, which prefetches one more message for each. Here the death of a worker costs
    /// nothing.
    async fn tasks_with_an_eta_do_not_hold_up_others(fixture: &Fixture) {
        let clock = Clock::manual("2030-01-01T00:00:00Z".parse().unwrap());
        let app = live(fixture).clock(clock.clone()).register::<gated>().build().await.unwrap();
        let later = gated::batch((0..20).map(|n| (n,))).countdown(WAIT).send_all(&app).await.unwrap();
        let worker = start(&app, 3).await;
        wait_for_counts(&app, 0, 0).await;
        assert_eq!(counts(&app).await.delayed, 20);
        let now = gated::delay(100).send(&app).await.unwrap();
        entered(&app, 1).await;
        open_gate(&app, 1);
        assert_eq!(value(&now).await, 100, "it runs at once");
        assert!(none_entered(&app));
        let fetched = counts(&app).await;
        assert_eq!((fetched.ready, fetched.unacked, fetched.delayed), (0, 0, 20), "no worker has them in flight");
        // They do not depend on the worker that received them.
        drop(worker);

        clock.advance(WAIT - Duration::from_millis(1));
        let next = start(&app, 3).await;
        wait_for_counts(&app, 0, 0).await;
        assert!(none_entered(&app), "no task starts before its eta");
        stop(next, StopKind::Warm).await;
        clock.advance(Duration::from_millis(1));
        let last = start(&app, 3).await;
        open_gate(&app, 20);
        for (n, result) in (0..).zip(&later) {
            assert_eq!(value(result).await, n);
        }
        stop(last, StopKind::Warm).await;
        assert_eq!(records(&app).len(), 21, "each ran once");
        let stats = counts(&app).await;
        assert_eq!((stats.ready, stats.unacked, stats.delayed), (0, 0, 0));
    }

    async fn a_thousand_etas_of_the_highest_priority_hold_back_no_task_that_is_ready(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let (highest, lowest) = match app.broker().capabilities().priority_order {
            PriorityOrder::LargerFirst => (9, 0),
            PriorityOrder::SmallerFirst => (0, 9),
        };
        shown::batch((0..1000).map(|n| (n,))).countdown(WAIT).priority(highest).send_all(&app).await.unwrap();
        shown::delay(-1).priority(lowest).send(&app).await.unwrap();
        assert_eq!(app.drain().await, 1);
        assert_eq!(records(&app), ["-1"]);
        assert_eq!(app.advance(WAIT).await, 1000);
    }
}
