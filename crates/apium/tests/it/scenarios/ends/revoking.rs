//! Revoked tasks as their caller and an operator see them: those that wait, those that run, and the steps of a chain.

use std::time::Duration;

use apium::ErrorKind;
use apium::driver::Clock;
use apium::prelude::*;
use apium::worker::StopKind;
use serde::de::DeserializeOwned;

use crate::fixture::{Records, records};
use crate::gate::Gate;
use crate::live::{PATIENCE, counts, entered, live, none_entered, open_gate, start, stop, value, wait_until};
use crate::scenarios::ends::shutdown::gated;

/// Records how often it was retried, waits at the gate, and asks for a retry.
#[task(name = "scenarios.retried_for_ever", max_retries = 100)]
async fn retried_for_ever(ctx: &Ctx, State(gate): State<Gate>, State(records): State<Records>) -> TaskResult<()> {
    records.add(format!("retry {}", ctx.request().retries()));
    gate.pass().await;
    Err(ctx.retry().countdown(Duration::ZERO).into())
}

/// How long a task waits for its time. A revoke is kept longer.
const WAIT: Duration = Duration::from_secs(3_600);

/// Waits for the result, which must say that the task was revoked, and why.
async fn is_revoked<T: DeserializeOwned + Send + 'static>(result: &AsyncResult<T>, why: &str) {
    let Err(error) = result.get().timeout(PATIENCE).await else { panic!("{} has a value", result.id()) };
    assert_eq!(error.kind(), ErrorKind::TaskRevoked, "{error}");
    let exception = error.failure().unwrap().exception();
    assert_eq!((exception.exc_type.as_str(), exception.message()), ("TaskRevokedError", why.to_owned()));
}

/// Nothing is in the queue, and no worker has anything.
async fn nothing_is_left(app: &App) {
    wait_until("the queue is empty", async || {
        let left = counts(app).await;
        (left.ready, left.unacked, left.delayed) == (0, 0, 0)
    })
    .await;
}

on_every_driver! {
    /// Scenario 14. Nothing is stored for the steps that do not run, so whoever waits looks at those before them.
    async fn a_terminated_step_leaves_the_rest_pending_and_ends_the_wait_for_the_last(fixture: &Fixture) {
        let app = live(fixture).register::<gated>().build().await.unwrap();
        let worker = start(&app, 2).await;
        let last = (gated::s(1) | gated::p() | gated::p()).send(&app).await.unwrap();
        entered(&app, 1).await;
        let middle = last.parent().unwrap();
        let first = middle.parent().unwrap();
        let answers = first.revoke().terminate().replies().await.unwrap();
        assert_eq!(answers.iter().map(|answer| answer.node.as_str()).collect::<Vec<_>>(), ["w@host"]);
        is_revoked(&last, "terminated").await;
        assert_eq!(first.state().await.unwrap(), TaskState::Revoked);
        for step in [middle.state().await, last.state().await] {
            assert_eq!(step.unwrap(), TaskState::Pending);
        }
        assert!(none_entered(&app), "the next step never begins");
        nothing_is_left(&app).await;
        stop(worker, StopKind::Warm).await;
    }

    /// Scenario 22 (a). Here the task waits at the broker, and the revoke outlives the worker that heard of it.
    async fn a_revoked_task_that_waits_for_its_time_is_revoked_at_once_and_never_runs(fixture: &Fixture) {
        let clock = Clock::manual("2030-01-01T00:00:00Z".parse().unwrap());
        let app = live(fixture).clock(clock.clone()).register::<gated>().build().await.unwrap();
        let worker = start(&app, 1).await;
        let waiting = gated::delay(1).countdown(WAIT).send(&app).await.unwrap();
        // On Redis the worker receives it first: a revoke that is faster would end it there.
        wait_until("it waits at the broker", async || counts(&app).await.delayed == 1).await;
        waiting.revoke().replies().await.unwrap();
        is_revoked(&waiting, "revoked").await;
        assert_eq!(counts(&app).await.delayed, 1);
        let known = app.inspect().revoked().replies().await.unwrap();
        assert_eq!(known.iter().next().unwrap().answer.as_ref().unwrap(), &[waiting.id().to_string()]);
        stop(worker, StopKind::Warm).await;
        // A worker that starts later knows it too, and drops the message when its time has come.
        clock.advance(WAIT);
        let next = start(&app, 1).await;
        nothing_is_left(&app).await;
        assert!(none_entered(&app));
        stop(next, StopKind::Warm).await;
    }

    /// Scenario 22 (b) and (c).
    async fn a_task_that_runs_goes_on_after_a_revoke_and_ends_when_it_is_terminated(fixture: &Fixture) {
        let app = live(fixture).register::<gated>().build().await.unwrap();
        let worker = start(&app, 1).await;
        let goes_on = gated::delay(1).send(&app).await.unwrap();
        entered(&app, 1).await;
        goes_on.revoke().replies().await.unwrap();
        open_gate(&app, 1);
        assert_eq!(value(&goes_on).await, 1);

        let ended = gated::delay(2).send(&app).await.unwrap();
        entered(&app, 1).await;
        ended.revoke().terminate().signal("KILL").replies().await.unwrap();
        is_revoked(&ended, "terminated").await;
        // The worker serves on, in the same slot.
        open_gate(&app, 1);
        let next = gated::delay(3).send(&app).await.unwrap();
        assert_eq!(value(&next).await, 3);
        nothing_is_left(&app).await;
        stop(worker, StopKind::Warm).await;
    }

    /// Scenario 22 (d).
    async fn a_revoked_task_that_asks_for_a_retry_ends_as_revoked(fixture: &Fixture) {
        let app = live(fixture).register::<retried_for_ever>().build().await.unwrap();
        let worker = start(&app, 1).await;
        let result = retried_for_ever::delay().send(&app).await.unwrap();
        entered(&app, 1).await;
        open_gate(&app, 1);
        entered(&app, 1).await;
        result.revoke().replies().await.unwrap();
        open_gate(&app, 1);
        is_revoked(&result, "revoked").await;
        nothing_is_left(&app).await;
        stop(worker, StopKind::Warm).await;
        assert_eq!(records(&app), ["retry 0", "retry 1"]);
    }
}
