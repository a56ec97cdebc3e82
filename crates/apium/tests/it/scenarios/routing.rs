//! The spacing of a rate limit, and the queue and priority of a call.

use std::time::Duration;

use apium::driver::Clock;
use apium::prelude::*;
use apium::worker::StopKind;

use crate::fixture::{Records, records, waiting};
use crate::gate::Gate;
use crate::live::{counts, entered, live, none_entered, open_gate, start, stop, wait_for_counts};

/// Records the instant at which it starts.
#[task(name = "scenarios.rl", rate_limit = "2/s")]
async fn rl(ctx: &Ctx, State(records): State<Records>) -> TaskResult<()> {
    records.add(ctx.publisher().unwrap().clock().now().to_string());
    Ok(())
}

#[task(name = "scenarios.rl_gated", rate_limit = "2/s", acks_late)]
async fn rl_gated(State(gate): State<Gate>) -> TaskResult<()> {
    gate.pass().await;
    Ok(())
}

#[task(name = "scenarios.slow", rate_limit = "2/m")]
async fn slow(State(records): State<Records>, n: i64) -> TaskResult<()> {
    records.add(n.to_string());
    Ok(())
}

#[task(name = "scenarios.unlimited")]
async fn unlimited(State(records): State<Records>) -> TaskResult<()> {
    records.add("unlimited");
    Ok(())
}

/// Empties a queue, and returns the priorities of its messages.
async fn take_priorities(app: &App, queue: &str) -> Vec<u8> {
    let found = waiting(app, queue).await;
    app.broker().queues().unwrap().purge(queue).await.unwrap();
    found.iter().map(|message| message.properties.priority.unwrap_or(0)).collect()
}

on_every_driver! {
    async fn a_rate_limit_spaces_the_starts(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        rl::batch((0..5).map(|_| ())).send_all(&app).await.unwrap();
        let begin = app.now();
        app.drain().await;
        assert_eq!(records(&app), [begin.to_string()], "the first at once, the others not");
        app.advance(Duration::from_secs(3)).await;
        let later = [500, 1000, 1500, 2000].map(|ms| (begin + Duration::from_millis(ms)).to_string());
        assert_eq!(records(&app), later, "half a second apart, two seconds in all");
    }

    /// They do not fill the prefetch window: those whose turn is far away wait at the broker, in their order.
    async fn forty_tasks_of_a_slow_rate_limit_hold_up_no_other(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        slow::batch((0..40).map(|n| (n,))).send_all(&app).await.unwrap();
        unlimited::delay().send(&app).await.unwrap();
        assert_eq!(app.drain().await, 2);
        assert_eq!(records(&app), ["0", "unlimited"]);
        let stats = counts(&app).await;
        assert_eq!((stats.ready, stats.unacked, stats.delayed), (0, 0, 39));
        assert_eq!(app.advance(Duration::from_millis(29_999)).await, 0);
        assert_eq!(app.advance(Duration::from_millis(1)).await, 1);
        slow::delay(40).send(&app).await.unwrap();
        assert_eq!(app.advance(Duration::from_secs(39 * 30)).await, 39);
        let wanted: Vec<String> = (1..=40).map(|n| n.to_string()).collect();
        assert_eq!(records(&app), wanted);
    }

    async fn a_rate_limit_holds_for_each_worker_by_itself(fixture: &Fixture) {
        let clock = Clock::manual("2030-01-01T00:00:00Z".parse().unwrap());
        let builder = live(fixture).clock(clock.clone()).setting("worker_prefetch_multiplier", 1);
        let app = builder.register::<rl_gated>().build().await.unwrap();
        rl_gated::batch((0..4).map(|_| ())).send_all(&app).await.unwrap();
        let (one, two) = (start(&app, 2).await, start(&app, 2).await);
        entered(&app, 2).await;
        wait_for_counts(&app, 0, 4).await;
        assert!(none_entered(&app), "the second start of each waits, though a slot is free");
        clock.advance(Duration::from_millis(499));
        wait_for_counts(&app, 0, 4).await;
        assert!(none_entered(&app));
        clock.advance(Duration::from_millis(1));
        entered(&app, 2).await;
        open_gate(&app, 4);
        wait_for_counts(&app, 0, 0).await;
        assert_eq!(stop(one, StopKind::Warm).await.finished, 2);
        assert_eq!(stop(two, StopKind::Warm).await.finished, 2);
    }

    async fn the_call_overrides_the_route_and_the_exact_route_the_glob(fixture: &Fixture) {
        let mut settings = Settings::new();
        let routes = "[task_routes]\n\"lab.*\" = \"glob\"\n\"lab.add\" = { queue = \"exact\", priority = 7 }\n";
        settings.add_toml(routes, "apium.toml").unwrap();
        let app = live(fixture).config(settings).build().await.unwrap();
        let call = || app.sig("lab.add").args((1, 1)).call();

        call().send(&app).await.unwrap();
        assert_eq!(take_priorities(&app, "exact").await, [7], "a priority that is not given does not replace the route's");
        call().queue("mine").send(&app).await.unwrap();
        assert_eq!(take_priorities(&app, "mine").await, [7]);
        call().priority(3).send(&app).await.unwrap();
        assert_eq!(take_priorities(&app, "exact").await, [3]);
        app.sig("lab.mul").args((1, 1)).send().await.unwrap();
        assert_eq!(take_priorities(&app, "glob").await, [0]);
        app.sig("laboratory.add").send().await.unwrap();
        assert_eq!(take_priorities(&app, "celery").await, [0]);
        let stats = app.broker().queues().unwrap().counts().unwrap().stats().await.unwrap();
        assert!(stats.iter().all(|queue| queue.ready == 0), "no message went to another queue: {stats:?}");
        assert_eq!(counts(&app).await.ready, 0);
    }
}
