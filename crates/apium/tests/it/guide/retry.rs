//! Rows 0.19–0.29 and 0.51–0.54: retries by hand and by error type.

use std::time::Duration;

use apium::message::{Value, timestamp};
use apium::prelude::*;
use apium::testing::TestApp;

use crate::fixture::{Records, last_sent, records, waiting};
use crate::guide::states::states_of;

#[derive(Debug)]
struct FailWhale;

impl std::fmt::Display for FailWhale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("over capacity")
    }
}

impl std::error::Error for FailWhale {}

/// Records a run with its retry count.
fn record(ctx: &Ctx, records: &Records) {
    records.add(format!("run {}", ctx.request().retries()));
}

#[task(name = "guide.retry_default")]
async fn retry_default(ctx: &Ctx, State(records): State<Records>) -> TaskResult<()> {
    record(ctx, &records);
    Err(ctx.retry().countdown(Duration::ZERO).into())
}

#[task(name = "guide.retry_twice", max_retries = 2)]
async fn retry_twice(ctx: &Ctx, State(records): State<Records>) -> TaskResult<()> {
    record(ctx, &records);
    Err(ctx.retry().cause(FailWhale).countdown(Duration::ZERO).into())
}

#[task(name = "guide.retry_for_ever", max_retries = none)]
async fn retry_for_ever(ctx: &Ctx) -> TaskResult<u32> {
    match ctx.request().retries() {
        runs @ 20.. => Ok(runs),
        _ => Err(ctx.retry().countdown(Duration::ZERO).into()),
    }
}

#[task(name = "guide.retry_never", max_retries = 0)]
async fn retry_never(ctx: &Ctx) -> TaskResult<()> {
    Err(ctx.retry().countdown(Duration::ZERO).into())
}

#[task(name = "guide.retry_delay")]
async fn retry_delay(ctx: &Ctx) -> TaskResult<()> {
    Err(ctx.retry().into())
}

#[task(name = "guide.retry_own_delay", default_retry_delay = "30s")]
async fn retry_own_delay(ctx: &Ctx) -> TaskResult<()> {
    Err(ctx.retry().into())
}

#[task(name = "guide.auto", autoretry_for(FailWhale))]
async fn auto(State(records): State<Records>, listed: bool) -> TaskResult<()> {
    records.add("run");
    if listed {
        Err(FailWhale)?
    }
    Err(TaskError::failure("another error"))
}

#[task(name = "guide.auto_not", autoretry_for(any), dont_autoretry_for(FailWhale))]
async fn auto_not(State(records): State<Records>, spared: bool) -> TaskResult<()> {
    records.add("run");
    if spared {
        Err(FailWhale)?
    }
    Err(TaskError::failure("any other"))
}

#[task(name = "guide.auto_five", autoretry_for(any), retry_kwargs(max_retries = 5))]
async fn auto_five(State(records): State<Records>) -> TaskResult<()> {
    records.add("run");
    Err(TaskError::failure("always"))
}

#[task(name = "guide.auto_countdown", autoretry_for(any), retry_kwargs(countdown = "7s"))]
async fn auto_countdown() -> TaskResult<()> {
    Err(TaskError::failure("always"))
}

#[task(name = "guide.backoff", autoretry_for(any), retry_backoff = 3, retry_jitter = false, max_retries = none)]
async fn backoff() -> TaskResult<()> {
    Err(TaskError::failure("always"))
}

#[task(name = "guide.backoff_on", autoretry_for(any), retry_backoff, retry_jitter = false, max_retries = none)]
async fn backoff_on() -> TaskResult<()> {
    Err(TaskError::failure("always"))
}

#[task(
    name = "guide.backoff_capped",
    autoretry_for(any),
    retry_backoff = 100,
    retry_backoff_max = "150s",
    retry_jitter = false
)]
async fn backoff_capped() -> TaskResult<()> {
    Err(TaskError::failure("always"))
}

#[task(name = "guide.jitter", autoretry_for(any), retry_backoff = 64)]
async fn jitter() -> TaskResult<()> {
    Err(TaskError::failure("always"))
}

#[task(name = "guide.by_hand")]
async fn by_hand(ctx: &Ctx, x: i64, y: i64) -> TaskResult<i64> {
    match x.checked_div(y) {
        Some(quotient) => Ok(quotient),
        None => Err(ctx.retry().cause(FailWhale).max_retries(5).countdown(Duration::ZERO).args((x, 2)).into()),
    }
}

/// Seconds from now until the eta of the last message of a task; `None` without an eta.
fn last_delay(app: &TestApp, task: &str) -> Option<i64> {
    let sent = app.sent_by_name(task);
    let eta = sent.last().unwrap().message.headers.eta.as_deref()?;
    Some(timestamp::parse(eta).unwrap().duration_since(app.now()).as_secs())
}

/// The delays, in seconds, of the first `count` retries of a task. The clock is advanced to each.
async fn delays(app: &TestApp, task: &str, count: usize) -> Vec<Option<i64>> {
    let mut all = Vec::new();
    for _ in 0..count {
        app.drain().await;
        let delay = last_delay(app, task);
        all.push(delay);
        app.clock().advance(Duration::from_secs(delay.unwrap_or(0).unsigned_abs()));
    }
    all
}

on_every_driver! {
    async fn guide_0_19_max_retries_is_three_or_ones_own(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = retry_default::delay().send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), ["run 0", "run 1", "run 2", "run 3"], "one run and three retries");
        assert_eq!(result.state().await.unwrap(), TaskState::Failure);
        let endless = retry_for_ever::delay().send(&app).await.unwrap();
        let never = retry_never::delay().send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(endless.get().await.unwrap(), 20);
        assert!(never.failed().await.unwrap());
    }

    async fn guide_0_20_the_default_delay_is_thirty_minutes(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        retry_delay::delay().send(&app).await.unwrap();
        assert_eq!(delays(&app, retry_delay::NAME, 1).await, [Some(1800)]);
    }

    async fn guide_0_20_the_default_delay_of_task_or_app(fixture: &Fixture) {
        let app = fixture.app(&[("task_default_retry_delay", "60")]).await;
        retry_delay::delay().send(&app).await.unwrap();
        assert_eq!(delays(&app, retry_delay::NAME, 1).await, [Some(60)]);
        app.broker().queues().unwrap().purge("celery").await.unwrap();
        retry_own_delay::delay().send(&app).await.unwrap();
        assert_eq!(delays(&app, retry_own_delay::NAME, 1).await, [Some(30)]);
    }

    async fn guide_0_21_errors_of_a_type_retry_by_themselves(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        auto::delay(true).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app).len(), 4);
        let other = auto::delay(false).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app).len(), 1, "another error does not retry");
        assert!(other.failed().await.unwrap());
        auto_not::delay(true).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app).len(), 1, "`dont_autoretry_for` comes first");
    }

    async fn guide_0_22_retry_kwargs_reach_the_retry(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        auto_countdown::delay().send(&app).await.unwrap();
        assert_eq!(delays(&app, auto_countdown::NAME, 2).await, [Some(7), Some(7)]);
    }

    async fn guide_0_23_backoff_doubles_or_there_is_no_delay(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        backoff::delay().send(&app).await.unwrap();
        assert_eq!(delays(&app, backoff::NAME, 4).await, [Some(3), Some(6), Some(12), Some(24)]);
        app.broker().queues().unwrap().purge("celery").await.unwrap();
        backoff_on::delay().send(&app).await.unwrap();
        assert_eq!(delays(&app, backoff_on::NAME, 4).await, [Some(1), Some(2), Some(4), Some(8)]);
        app.broker().queues().unwrap().purge("celery").await.unwrap();
        auto::delay(true).send(&app).await.unwrap();
        app.drain().await;
        let etas: Vec<_> = app.sent_by_name(auto::NAME).into_iter().map(|sent| sent.message.headers.eta).collect();
        assert_eq!(etas, [None, None, None, None], "without backoff, at once");
    }

    async fn guide_0_24_backoff_has_a_cap(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        backoff_capped::delay().send(&app).await.unwrap();
        assert_eq!(delays(&app, backoff_capped::NAME, 3).await, [Some(100), Some(150), Some(150)]);
        let task = app.registry().get("guide.backoff").unwrap();
        assert_eq!(task.effective.retry_backoff_max, Duration::from_secs(600), "ten minutes by default");
    }

    async fn guide_0_25_jitter_makes_the_delay_an_upper_bound(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        assert!(app.registry().get("guide.jitter").unwrap().effective.retry_jitter, "on by default");
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..12 {
            jitter::delay().send(&app).await.unwrap();
            app.drain().await;
            let delay = app.sent_by_name(jitter::NAME).iter().rev().find_map(|sent| sent.message.headers.eta.clone());
            let delay = timestamp::parse(&delay.unwrap()).unwrap().duration_since(app.now()).as_secs();
            assert!((0..=512).contains(&delay), "{delay}");
            seen.insert(delay);
            app.broker().queues().unwrap().purge("celery").await.unwrap();
        }
        assert!(seen.len() > 3, "delays differ: {seen:?}");
    }

    async fn guide_0_26_a_retry_has_the_same_id_and_queue(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = retry_delay::delay().queue("mine").priority(4).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(result.state().await.unwrap(), TaskState::Retry);
        let retried = last_sent(&app, retry_delay::NAME);
        let headers = &retried.headers;
        assert_eq!(headers.id.as_ref(), Some(result.id()));
        assert_eq!(headers.retries, 1);
        assert_eq!(headers.parent_id.as_ref(), Some(result.id()));
        assert_eq!(retried.properties.priority, Some(4));
        app.advance(Duration::from_secs(1799)).await;
        assert!(waiting(&app, "mine").await.is_empty());
        app.clock().advance(Duration::from_secs(1));
        assert_eq!(waiting(&app, "mine").await.len(), 1, "it waits on the queue it came from");
    }

    async fn guide_0_27_a_caught_error_is_the_cause(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = retry_twice::delay().send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), ["run 0", "run 1", "run 2"]);
        let error = result.get().await.unwrap_err();
        assert_eq!(error.failure().unwrap().exception().exc_type, "FailWhale");
    }

    async fn guide_0_28_the_cause_and_its_traceback_are_stored(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = retry_twice::delay().send(&app).await.unwrap();
        let states = states_of(&result, &app).await;
        let retry = states.iter().find(|document| document.state == TaskState::Retry).expect("RETRY is stored");
        let exception = retry.result.to_value().unwrap();
        assert_eq!(exception.get("exc_type").and_then(Value::as_str), Some("FailWhale"));
        assert!(retry.traceback.as_deref().is_some_and(|text| text.contains("over capacity")));
    }

    async fn guide_0_29_past_the_limit_the_cause_or_max_retries_exceeded(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let with_cause = retry_twice::delay().send(&app).await.unwrap();
        let without = retry_default::delay().send(&app).await.unwrap();
        app.drain().await;
        let type_of = |error: apium::Error| error.failure().unwrap().exception().exc_type.clone();
        assert_eq!(type_of(with_cause.get().await.unwrap_err()), "FailWhale");
        assert_eq!(type_of(without.get().await.unwrap_err()), "MaxRetriesExceededError");
    }

    async fn guide_0_51_one_error_type_is_retried(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = auto::delay(true).send(&app).await.unwrap();
        let states = states_of(&result, &app).await;
        assert_eq!(states.iter().filter(|document| document.state == TaskState::Retry).count(), 3);
    }

    async fn guide_0_52_automatic_retries_end_after_five(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        auto_five::delay().send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app).len(), 6);
    }

    async fn guide_0_53_an_error_is_retried_by_hand(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = by_hand::delay(8, 0).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(result.get().await.unwrap(), 4, "the retry had other arguments");
    }

    async fn guide_0_54_any_error_is_retried(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        auto_not::delay(false).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app).len(), 4);
    }
}
