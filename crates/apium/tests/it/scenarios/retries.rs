//! Automatic and explicit retries, and what a later run may change.

use std::fmt;
use std::time::Duration;

use apium::ErrorKind;
use apium::message::timestamp;
use apium::prelude::*;
use apium::testing::TestApp;

use crate::fixture::{Records, only, records};
use crate::gate::Gate;
use crate::live::{counts, live, one_run};
use crate::scenarios::calling::says;

const S: fn(u64) -> Duration = Duration::from_secs;

/// Python's `ValueError`.
#[wire_error(py = "builtins.ValueError")]
#[derive(Debug)]
struct ValueError(&'static str);

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ValueError {}

#[task(name = "scenarios.auto", autoretry_for(ValueError))]
async fn auto(State(gate): State<Gate>) -> TaskResult<()> {
    gate.pass().await;
    Err(ValueError("boom").into())
}

#[task(name = "scenarios.auto_delayed", autoretry_for(ValueError), default_retry_delay = "180s")]
async fn auto_delayed() -> TaskResult<()> {
    Err(ValueError("boom").into())
}

#[task(name = "scenarios.auto_jitter", autoretry_for(ValueError), retry_backoff = true)]
async fn auto_jitter() -> TaskResult<()> {
    Err(ValueError("boom").into())
}

#[task(
    name = "scenarios.auto_backoff",
    autoretry_for(ValueError),
    retry_backoff = 3,
    retry_jitter = false,
    max_retries = none
)]
async fn auto_backoff() -> TaskResult<()> {
    Err(ValueError("boom").into())
}

fn boom() -> Result<i64, BoxError> {
    Err(ValueError("boom").into())
}

/// Its error comes in a box, by `?` or as the function's own error type.
#[task(name = "scenarios.auto_boxed", autoretry_for(ValueError), default_retry_delay = 0, max_retries = 2)]
async fn auto_boxed() -> TaskResult<i64> {
    Ok(boom()?)
}

#[task(name = "scenarios.auto_all_boxed", autoretry_for(ValueError), default_retry_delay = 0, max_retries = 2)]
async fn auto_all_boxed() -> Result<i64, BoxError> {
    boom()
}

/// The box is not `Send`.
#[task(name = "scenarios.unsendable")]
fn unsendable() -> TaskResult<i64> {
    let boom = || -> Result<i64, Box<dyn std::error::Error>> { Err(ValueError("boom").into()) };
    boom().or_fail()
}

/// Always retries, with a cause or without.
async fn hopeless(ctx: &Ctx, records: &Records, cause: bool) -> TaskResult<()> {
    records.add(format!("{} {}", ctx.request().id().unwrap(), ctx.request().retries()));
    let retry = ctx.retry().countdown(Duration::ZERO);
    match cause {
        true => Err(retry.cause(TaskError::of_class("builtins.KeyError", "k")).into()),
        false => Err(retry.into()),
    }
}

#[task(name = "scenarios.two_retries", max_retries = 2)]
async fn two_retries(ctx: &Ctx, State(records): State<Records>, cause: bool) -> TaskResult<()> {
    hopeless(ctx, &records, cause).await
}

#[task(name = "scenarios.no_retries", max_retries = 0)]
async fn no_retries(ctx: &Ctx, State(records): State<Records>, cause: bool) -> TaskResult<()> {
    hopeless(ctx, &records, cause).await
}

/// Sends a retry of itself, and returns all the same.
#[task(name = "scenarios.twice")]
async fn twice(ctx: &Ctx, State(records): State<Records>) -> TaskResult<String> {
    let word = if ctx.request().retries() == 0 { "first" } else { "second" };
    records.add(word);
    if word == "first" {
        ctx.retry().countdown(Duration::from_millis(200)).send().await?;
    }
    Ok(word.to_owned())
}

#[task(name = "scenarios.fails")]
async fn fails(State(records): State<Records>, word: String) -> TaskResult<String> {
    records.add(word);
    Err(ValueError("boom").into())
}

/// The class and the text of the exception that `get` raises.
async fn raised<T: serde::de::DeserializeOwned + Send + fmt::Debug + 'static>(
    result: &AsyncResult<T>,
) -> (String, String) {
    let error = result.get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TaskFailed);
    let exception = error.failure().unwrap().exception();
    let module = exception.exc_module.as_deref().unwrap_or_default();
    (format!("{module}.{}", exception.exc_type), exception.message())
}

/// How long until the last message of a task is due; `None` without an eta.
fn delay_of_last(app: &TestApp, task: &str) -> Option<Duration> {
    let eta = app.sent_by_name(task).pop().unwrap().message.headers.eta?;
    Some(Duration::try_from(timestamp::parse(&eta).unwrap().duration_since(app.now())).unwrap())
}

on_every_driver! {
    /// Without a named delay Celery waits 180 s. Here the retry is not delayed, as the guide says.
    async fn an_automatic_retry_is_sent_at_once(fixture: &Fixture) {
        let app = live(fixture).register::<auto>().build().await.unwrap();
        let result = auto::delay().send(&app).await.unwrap();
        one_run(&app).await;
        assert_eq!(result.state().await.unwrap(), TaskState::Retry);
        let cause = ExceptionInfo::from_json(&result.info().await.unwrap());
        assert!(cause.is("builtins.ValueError") && cause.message() == "boom", "{cause:?}");
        let stats = counts(&app).await;
        assert_eq!((stats.ready, stats.unacked, stats.delayed), (1, 0, 0), "exactly one new message");
        let headers = only(&app).await.headers;
        assert_eq!((headers.id.as_ref(), headers.retries, headers.eta), (Some(result.id()), 1, None));
    }

    async fn a_retry_has_the_delay_that_the_task_names(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = auto_delayed::delay().send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(result.state().await.unwrap(), TaskState::Retry);
        let sent = app.sent_by_name(auto_delayed::NAME);
        assert_eq!(sent.len(), 2, "one new message");
        let headers = &sent[1].message.headers;
        assert_eq!((headers.id.as_ref(), headers.retries), (Some(result.id()), 1));
        assert_eq!(delay_of_last(&app, auto_delayed::NAME), Some(S(180)));
        app.advance(Duration::from_millis(179_999)).await;
        assert_eq!(app.sent_by_name(auto_delayed::NAME).len(), 2, "it has not run again");
        app.advance(Duration::from_millis(1)).await;
        assert_eq!(app.sent_by_name(auto_delayed::NAME).len(), 3);
    }

    async fn backoff_doubles_up_to_ten_minutes(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        auto_backoff::delay().send(&app).await.unwrap();
        app.drain().await;
        for seconds in [3, 6, 12, 24, 48, 96, 192, 384, 600, 600] {
            let wait = delay_of_last(&app, auto_backoff::NAME);
            assert_eq!(wait, Some(S(seconds)));
            app.advance(S(seconds)).await;
        }
        let retries: Vec<u32> = app.sent_by_name(auto_backoff::NAME).iter().map(|sent| sent.message.headers.retries).collect();
        assert_eq!(retries, (0..=11).collect::<Vec<_>>());
    }

    async fn backoff_alone_is_one_second_with_jitter(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..64 {
            let result = auto_jitter::delay().send(&app).await.unwrap();
            app.drain().await;
            let sent = app.sent_by_name(auto_jitter::NAME);
            let first = sent.iter().find(|sent| {
                (sent.message.headers.id.as_ref(), sent.message.headers.retries) == (Some(result.id()), 1)
            });
            let eta = first.expect("a retry was sent").message.headers.eta.as_deref();
            let wait = eta.map_or(0, |eta| timestamp::parse(eta).unwrap().duration_since(app.now()).as_millis());
            seen.insert(wait);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1000], "at once or a second later");
    }

    async fn max_retries_counts_retries_and_the_cause_is_raised_in_the_end(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = two_retries::delay(true).task_id("same").send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), ["same 0", "same 1", "same 2"], "three runs of one id");
        assert_eq!(result.state().await.unwrap(), TaskState::Failure);
        assert_eq!(raised(&result).await, ("builtins.KeyError".to_owned(), "k".to_owned()));
        assert_eq!(app.sent_by_name(two_retries::NAME).len(), 3);

        let without_cause = two_retries::delay(false).task_id("bare").send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app).len(), 3);
        let (class, text) = raised(&without_cause).await;
        assert_eq!(class, "celery.exceptions.MaxRetriesExceededError");
        assert_eq!(text, "Can't retry scenarios.two_retries[bare] args:(False,) kwargs:{}");
    }

    async fn max_retries_zero_fails_at_the_first_retry(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        for (cause, class) in [(true, "builtins.KeyError"), (false, "celery.exceptions.MaxRetriesExceededError")] {
            let result = no_retries::delay(cause).send(&app).await.unwrap();
            app.drain().await;
            assert_eq!(records(&app).len(), 1, "one run");
            assert_eq!(result.state().await.unwrap(), TaskState::Failure);
            assert_eq!(raised(&result).await.0, class);
        }
    }

    async fn a_boxed_error_is_retried_and_stored_as_what_is_in_the_box(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        for (call, runs) in [(auto_boxed::delay(), 3), (auto_all_boxed::delay(), 3), (unsendable::delay(), 1)] {
            let result = call.send(&app).await.unwrap();
            assert_eq!(app.drain().await, runs);
            let error = result.get().await.unwrap_err();
            let exception = error.failure().unwrap().exception();
            assert!(exception.is("builtins.ValueError") && exception.message() == "boom", "{exception:?}");
        }
    }

    async fn success_is_final_for_a_later_run(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = twice::delay().send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), ["first"]);
        assert_eq!(result.get().await.unwrap(), "first");
        let stored = result.document().await.unwrap().unwrap();
        app.advance(Duration::from_millis(200)).await;
        assert_eq!(records(&app), ["second"], "the retry runs");
        let later = app.result::<String>(result.id().clone());
        assert_eq!(later.document().await.unwrap().unwrap(), stored, "and changes nothing");
        assert_eq!(later.get().await.unwrap(), "first");
    }

    async fn a_reused_id_overwrites_a_failure_and_no_success(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = || app.result::<String>("used");
        fails::delay("one".into()).task_id("used").send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(result().state().await.unwrap(), TaskState::Failure);
        says::delay("two".into()).task_id("used").send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(result().get().await.unwrap(), "two", "a failure is overwritten");
        says::delay("three".into()).task_id("used").send(&app).await.unwrap();
        fails::delay("four".into()).task_id("used").send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), ["one", "two", "three", "four"], "all of them ran");
        assert_eq!(result().get().await.unwrap(), "two");
    }
}
