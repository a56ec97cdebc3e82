//! Rows 0.77–0.83: publishing is retried.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use apium::ErrorKind;
use apium::prelude::*;
use apium::testing::TestApp;

use crate::fixture::{Fixture, settings_of, waiting};
use crate::flaky::FlakyDriver;

#[task(name = "guide.published")]
async fn published(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

/// A policy without waits.
fn times(max_retries: Option<u32>) -> RetryPolicy {
    let mut policy = RetryPolicy::publish().interval_step(Duration::ZERO).interval_max(Duration::ZERO);
    policy.max_retries = max_retries;
    policy
}

/// An app whose broker refuses the first `failures` publishes, and the count of attempts.
async fn flaky(
    fixture: &Fixture,
    failures: u32,
    settings: &[(&'static str, &'static str)],
) -> (TestApp, Arc<AtomicU32>) {
    let (driver, tries) = FlakyDriver::around(fixture.driver(), failures);
    let builder = fixture.builder().driver(Arc::new(driver)).broker(format!("flaky+{}", fixture.url()));
    let settings = settings_of(settings);
    let builder = builder.with(|app| app.config(settings));
    (builder.build().await.unwrap(), tries)
}

/// The waits before each retry under a policy, in milliseconds.
fn waits(policy: RetryPolicy) -> Vec<u128> {
    (0..).map_while(|retry| policy.wait_before(retry)).map(|wait| wait.as_millis()).collect()
}

on_every_driver! {
    async fn guide_0_77_publishing_is_retried_unless_told_otherwise(fixture: &Fixture) {
        let (app, tries) = flaky(fixture, 2, &[]).await;
        assert!(app.config().task_publish_retry, "by default");
        published::delay(2, 2).retry_policy(times(Some(3))).send(&app).await.unwrap();
        assert_eq!(tries.load(Ordering::SeqCst), 3);
        assert_eq!(waiting(&app, "celery").await.len(), 1);
        let (app, tries) = flaky(fixture, 2, &[]).await;
        let error = published::delay(2, 2).retry(false).send(&app).await.unwrap_err();
        assert_eq!((error.kind(), tries.load(Ordering::SeqCst)), (ErrorKind::Publish, 1));
        let (app, tries) = flaky(fixture, 2, &[("task_publish_retry", "false")]).await;
        published::delay(2, 2).send(&app).await.unwrap_err();
        assert_eq!(tries.load(Ordering::SeqCst), 1);
    }

    async fn guide_0_78_max_retries_then_the_error(fixture: &Fixture) {
        assert_eq!(RetryPolicy::default().max_retries, Some(3));
        let (app, tries) = flaky(fixture, 100, &[]).await;
        let error = published::delay(2, 2).retry_policy(times(Some(3))).send(&app).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Publish);
        assert!(error.is_connection());
        assert_eq!(tries.load(Ordering::SeqCst), 4);
        let (app, tries) = flaky(fixture, 20, &[]).await;
        published::delay(2, 2).retry_policy(times(None)).send(&app).await.unwrap();
        assert_eq!(tries.load(Ordering::SeqCst), 21, "none is for ever");
    }

    async fn guide_0_79_the_first_retry_is_immediate(fixture: &Fixture) {
        assert_eq!(waits(RetryPolicy::default())[0], 0);
        let app = fixture.app(&[]).await;
        assert_eq!(app.config().task_publish_retry_policy.interval_start, Duration::ZERO);
    }

    async fn guide_0_80_the_wait_grows_by_a_step(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let policy = app.config().task_publish_retry_policy;
        assert_eq!(policy.interval_step, Duration::from_millis(200));
        let long = policy.max_retries(5).interval_max(Duration::from_secs(9));
        assert_eq!(waits(long), [0, 200, 400, 600, 800]);
    }

    async fn guide_0_81_the_wait_has_a_maximum(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let policy = app.config().task_publish_retry_policy;
        assert_eq!(policy.interval_max, Duration::from_millis(200), "as the guide says, where Celery 5.7 has a second");
        assert_eq!(waits(policy.max_retries(5)), [0, 200, 200, 200, 200]);
    }

    async fn guide_0_82_a_call_has_a_policy_of_its_own(fixture: &Fixture) {
        let (app, tries) = flaky(fixture, 100, &[]).await;
        published::s(2, 2).retry(true).retry_policy(times(Some(1))).send(&app).await.unwrap_err();
        assert_eq!(tries.load(Ordering::SeqCst), 2);
        published::s(2, 2).retry(true).retry_policy(times(Some(2))).send(&app).await.unwrap_err();
        assert_eq!(tries.load(Ordering::SeqCst), 5);
    }

    async fn guide_0_83_three_retries_wait_less_than_half_a_second(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let total: u128 = waits(app.config().task_publish_retry_policy).iter().sum();
        assert_eq!(total, 400);
    }
}
