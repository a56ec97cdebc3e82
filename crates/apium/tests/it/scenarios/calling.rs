//! The time limits, etas and expiry of a call.

use std::time::Duration;

use apium::ErrorKind;
use apium::driver::Outgoing;
use apium::message::timestamp;
use apium::prelude::*;
use apium::testing::TestApp;

use crate::fixture::{Records, only, records};

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

#[task(name = "scenarios.limits")]
async fn limits(ctx: &Ctx) -> TaskResult<(Option<f64>, Option<f64>)> {
    let limits = ctx.request().timelimit();
    Ok((limits.hard, limits.soft))
}

/// Records its word.
#[task(name = "scenarios.says")]
pub(crate) async fn says(State(records): State<Records>, word: String) -> TaskResult<String> {
    records.add(word.clone());
    Ok(word)
}

/// Sends the message of a call with the times in its headers as another producer may write them: without an offset.
async fn send_naive(app: &TestApp, word: &str, eta: Duration, expires: Option<Duration>) -> AsyncResult<String> {
    let result = says::delay(word.to_owned()).queue("draft").send(app).await.unwrap();
    app.broker().queues().unwrap().purge("draft").await.unwrap();
    let mut message = app.sent_by_name(says::NAME).pop().unwrap().message;
    let naive = |from_now: Duration| {
        let text = timestamp::format(app.now() + from_now);
        text.strip_suffix("+00:00").expect("times are written in UTC").to_owned()
    };
    message.headers.eta = Some(naive(eta));
    message.headers.expires = expires.map(naive);
    app.broker().publish(vec![Outgoing::to_queue("celery", message)]).await.unwrap();
    result
}

/// Asserts that a task was revoked because it expired.
async fn assert_expired(result: &AsyncResult<String>) {
    assert_eq!(result.state().await.unwrap(), TaskState::Revoked);
    let error = result.get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TaskRevoked);
    let exception = error.failure().unwrap().exception();
    assert_eq!((exception.exc_type.as_str(), exception.message()), ("TaskRevokedError", "expired".to_owned()));
}

on_every_driver! {
    async fn time_limits_are_hard_first(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = limits::delay().time_limit(S(30)).soft_time_limit(S(20)).send(&app).await.unwrap();
        let headers = String::from_utf8(only(&app).await.headers.to_json()).unwrap();
        assert!(headers.contains("\"timelimit\": [30, 20]"), "{headers}");
        app.drain().await;
        assert_eq!(result.get().await.unwrap(), (Some(30.0), Some(20.0)), "hard and soft");

        let soft_only = limits::delay().soft_time_limit(MS(1500)).send(&app).await.unwrap();
        let headers = String::from_utf8(only(&app).await.headers.to_json()).unwrap();
        assert!(headers.contains("\"timelimit\": [null, 1.5]"), "{headers}");
        app.drain().await;
        assert_eq!(soft_only.get().await.unwrap(), (None, Some(1.5)));

        let swapped = limits::delay().time_limit(S(20)).soft_time_limit(S(30)).send(&app).await.unwrap_err();
        assert_eq!(swapped.kind(), ErrorKind::Call);
    }

    async fn eta_is_a_lower_bound_and_expires_overrides_it(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let never = says::delay("never".into()).countdown(MS(1500)).expires_in(MS(500)).send(&app).await.unwrap();
        let later = says::delay("later".into()).countdown(S(3)).send(&app).await.unwrap();
        app.advance(MS(1499)).await;
        assert_eq!(later.state().await.unwrap(), TaskState::Pending);
        app.advance(MS(1500)).await;
        assert_eq!(records(&app), [""; 0], "no task starts before its eta");
        assert_expired(&never).await;
        app.advance(MS(1)).await;
        assert_eq!(records(&app), ["later"]);
        assert_eq!(later.get().await.unwrap(), "later");

        let expired_while_waiting = says::delay("late".into()).expires_in(MS(500)).send(&app).await.unwrap();
        app.clock().advance(MS(501));
        app.drain().await;
        assert_expired(&expired_while_waiting).await;

        says::delay("now".into()).countdown(Duration::ZERO).send(&app).await.unwrap();
        assert_eq!(only(&app).await.headers.eta, None, "zero is no eta");
        app.drain().await;
        assert_eq!(records(&app), ["now"]);
    }

    async fn times_without_an_offset_are_utc(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let runs = send_naive(&app, "runs", S(3), Some(S(4))).await;
        let never = send_naive(&app, "never", S(3), Some(S(2))).await;
        app.drain().await;
        app.advance(MS(2999)).await;
        assert_eq!(records(&app), [""; 0]);
        app.advance(MS(1)).await;
        assert_eq!(records(&app), ["runs"]);
        assert_eq!(runs.get().await.unwrap(), "runs");
        assert_expired(&never).await;
    }
}
