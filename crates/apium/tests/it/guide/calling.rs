//! Rows 0.64–0.76 and 0.89–0.95: calling, times, groups, pools.

use std::time::Duration;

use apium::ErrorKind;
use apium::message::timestamp;
use apium::prelude::*;
use apium::testing::TestApp;

use crate::fixture::{PATIENCE, Records, last_sent, only, records};

#[task(name = "guide.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

#[task(name = "guide.greet")]
async fn greet(name: String, #[default] greeting: Option<String>) -> TaskResult<String> {
    Ok(format!("{} {name}", greeting.as_deref().unwrap_or("hello")))
}

#[task(name = "guide.record")]
async fn record(State(records): State<Records>, text: String) -> TaskResult<String> {
    records.add(text.clone());
    Ok(text)
}

#[task(name = "guide.plain")]
fn plain(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x * y)
}

#[task(name = "guide.breaks")]
async fn breaks() -> TaskResult<i64> {
    Err(TaskError::of_class("builtins.ValueError", "it broke"))
}

/// The guide's errback: it reads the stored result of the failed task.
#[task(name = "guide.error_handler")]
async fn error_handler(ctx: &Ctx, State(records): State<Records>, id: String) -> TaskResult<()> {
    let document = ctx.backend().unwrap().stored().unwrap().fetch(&[id.as_str().into()]).await?.remove(0).unwrap();
    records.add(format!("task {id} raised {}", ExceptionInfo::from_json(&document.result)));
    Ok(())
}

/// Seconds from the app's clock to the header `eta` of the last message of a task.
fn eta_in(app: &TestApp, task: &str) -> i64 {
    let eta = last_sent(app, task).headers.eta.expect("an eta");
    timestamp::parse(&eta).unwrap().duration_since(app.clock().now()).as_secs()
}

on_every_driver! {
    async fn guide_0_64_apply_async_sends_a_message(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = add::s(2, 2).send(&app).await.unwrap();
        assert_eq!(only(&app).await.headers.id.as_ref(), Some(result.id()));
        app.drain().await;
        assert_eq!(result.get().await.unwrap(), 4);
    }

    async fn guide_0_65_positional_and_keyword_arguments(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = app.sig("guide.greet").args(("ann",)).kwarg("greeting", "good day").send().await.unwrap();
        let body = app.codecs().decode(&only(&app).await, app.accept()).unwrap().body;
        assert_eq!((body.args[0].as_str(), body.kwargs[0].1.as_str()), ("\"ann\"", "\"good day\""));
        app.drain().await;
        assert_eq!(result.get().await.unwrap().decode::<String>().unwrap(), "good day ann");
        let left_out = app.sig("guide.greet").args(("bob",)).send().await.unwrap();
        app.drain().await;
        assert_eq!(left_out.get().await.unwrap().decode::<String>().unwrap(), "hello bob");
    }

    async fn guide_0_66_delay_is_a_call_without_options(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = add::delay(2, 2).send(&app).await.unwrap();
        let message = only(&app).await;
        assert_eq!((message.headers.eta, message.headers.expires), (None, None));
        app.drain().await;
        assert_eq!(result.get().await.unwrap(), 4);
    }

    async fn guide_0_67_calling_the_function_runs_it_here(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        assert_eq!(add(2, 2).await.unwrap(), 4);
        assert_eq!(plain(3, 3).unwrap(), 9);
        assert!(crate::fixture::waiting(&app, "celery").await.is_empty(), "no message was sent");
        let sent = plain::delay(3, 4).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(sent.get().await.unwrap(), 12, "and as a task it runs on the worker's threads");
    }

    async fn guide_0_68_countdown_waits(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        record::delay("late".into()).countdown(Duration::from_secs(10)).send(&app).await.unwrap();
        assert_eq!(eta_in(&app, record::NAME), 10);
        app.advance(Duration::from_millis(9900)).await;
        assert_eq!(records(&app), [""; 0]);
        app.advance(Duration::from_millis(100)).await;
        assert_eq!(records(&app), ["late"]);
        record::delay("now".into()).countdown(Duration::ZERO).send(&app).await.unwrap();
        assert_eq!(only(&app).await.headers.eta, None, "zero is no eta");
    }

    async fn guide_0_69_an_eta_is_an_instant_before_which_the_task_does_not_run(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let at = app.clock().now() + Duration::from_secs(10);
        record::delay("at".into()).eta(at).send(&app).await.unwrap();
        assert_eq!(timestamp::parse(&last_sent(&app, record::NAME).headers.eta.unwrap()).unwrap(), at);
        app.advance(Duration::from_secs(9)).await;
        assert_eq!(records(&app), [""; 0]);
        app.advance(Duration::from_secs(1)).await;
        assert_eq!(records(&app), ["at"]);
    }

    async fn guide_0_70_countdown_and_expires_together(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let (minute, two) = (Duration::from_secs(60), Duration::from_secs(120));
        let runs = record::delay("runs".into()).countdown(minute).expires_in(two).send(&app).await.unwrap();
        let never = record::delay("never".into()).countdown(two).expires_in(minute).send(&app).await.unwrap();
        app.advance(minute).await;
        assert_eq!(records(&app), ["runs"]);
        app.advance(minute).await;
        assert_eq!(records(&app), [""; 0]);
        assert_eq!(runs.state().await.unwrap(), TaskState::Success);
        assert_eq!(never.state().await.unwrap(), TaskState::Revoked);
    }

    async fn guide_0_71_expires_as_an_instant(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let at = app.clock().now() + Duration::from_secs(2 * 24 * 3600);
        add::delay(1, 1).expires(at).send(&app).await.unwrap();
        let message = only(&app).await;
        assert_eq!(timestamp::parse(&message.headers.expires.unwrap()).unwrap(), at);
        assert_eq!(message.properties.expiration.as_deref(), Some("172800000"));
    }

    async fn guide_0_72_a_link_gets_the_result(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = add::delay(2, 2).link(add::p(16)).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(result.get().timeout(PATIENCE).await.unwrap(), 4);
        let children = result.children().await.unwrap().unwrap();
        assert_eq!(app.result::<i64>(children[0].id.clone()).get().timeout(PATIENCE).await.unwrap(), 20);
    }

    async fn guide_0_73_an_errback_gets_the_id_and_finds_the_error(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = breaks::delay().link_error(error_handler::p()).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), [format!("task {} raised ValueError('it broke')", result.id())]);
        add::delay(2, 2).link_error(error_handler::p()).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), [""; 0], "a success calls none");
    }

    async fn guide_0_74_lists_of_callbacks_and_errbacks(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = add::delay(2, 2).link(add::p(16)).link(add::p(32)).send(&app).await.unwrap();
        app.drain().await;
        let children = result.children().await.unwrap().unwrap();
        let callbacks = GroupResult::<i64>::of_tuple(&app, &children[0]);
        assert_eq!(callbacks.get().timeout(PATIENCE).await.unwrap(), [20, 36], "both take the result");
        let failing = breaks::delay().link_error(error_handler::p()).link_error(record::p());
        let result = failing.send(&app).await.unwrap();
        app.drain().await;
        let mut seen = records(&app);
        seen.sort();
        let id = result.id();
        assert_eq!(seen, [id.to_string(), format!("task {id} raised ValueError('it broke')")].map(|text| text));
    }

    async fn guide_0_75_eta_is_the_earliest_time(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let past = app.clock().now() - Duration::from_secs(60);
        record::delay("past".into()).eta(past).send(&app).await.unwrap();
        record::delay("future".into()).countdown(Duration::from_secs(5)).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), ["past"]);
        app.clock().advance(Duration::from_secs(500));
        app.drain().await;
        assert_eq!(records(&app), ["future"], "a long time after its eta it runs");
    }

    async fn guide_0_76_expires_as_seconds(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        add::delay(1, 1).expires_in(Duration::from_millis(1500)).send(&app).await.unwrap();
        let message = only(&app).await;
        let at = timestamp::parse(&message.headers.expires.unwrap()).unwrap();
        assert_eq!(at.duration_since(app.clock().now()).as_millis(), 1500);
        assert_eq!(message.properties.expiration.as_deref(), Some("1500"));
    }

    async fn guide_0_89_get_waits_for_the_countdown(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = add::delay(2, 2).countdown(Duration::from_secs(3)).send(&app).await.unwrap();
        let error = result.get().timeout(Duration::ZERO).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        app.advance(Duration::from_secs(3)).await;
        assert_eq!(result.get().await.unwrap(), 4);
    }

    async fn guide_0_90_eta_tomorrow(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let tomorrow = app.clock().now() + Duration::from_secs(24 * 3600);
        let result = add::delay(2, 2).eta(tomorrow.to_zoned(jiff::tz::TimeZone::UTC)).send(&app).await.unwrap();
        assert_eq!(eta_in(&app, add::NAME), 24 * 3600);
        app.advance(Duration::from_secs(24 * 3600)).await;
        assert_eq!(result.get().await.unwrap(), 4);
    }

    async fn guide_0_91_delay_and_apply_async_are_the_same(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut bodies = Vec::new();
        greet::delay("ann".into(), Some("hi".into())).task_id("same").send(&app).await.unwrap();
        bodies.push(only(&app).await);
        app.drain().await;
        app.sig("guide.greet").args(("ann", "hi")).signature().task_id("same").send(&app).await.unwrap();
        bodies.push(only(&app).await);
        assert_eq!(bodies[0].body, bodies[1].body);
        assert_eq!(bodies[0].headers.argsrepr, bodies[1].headers.argsrepr);
    }

    async fn guide_0_92_an_expired_task_is_revoked(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = record::delay("too late".into()).expires_in(Duration::from_secs(60)).send(&app).await.unwrap();
        app.clock().advance(Duration::from_secs(61));
        app.drain().await;
        assert_eq!(records(&app), [""; 0]);
        assert_eq!(result.state().await.unwrap(), TaskState::Revoked);
        let error = result.get().await.unwrap_err();
        assert!(error.failure().unwrap().to_string().contains("expired"), "{error}");
    }

    async fn guide_0_93_connections_are_pooled_by_themselves(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        assert_eq!(app.config().broker_pool_limit, Some(10));
        let calls: Vec<_> = (0..50).map(|i| add::delay(i, i).send(&app)).collect();
        let sent = futures_util::future::join_all(calls).await;
        assert!(sent.iter().all(Result::is_ok), "more callers than connections in the pool");
        app.drain().await;
        assert_eq!(sent[49].as_ref().unwrap().get().await.unwrap(), 98);
    }

    async fn guide_0_94_a_producer_is_taken_by_hand(fixture: &Fixture) {
        let app = fixture.app(&[("broker_pool_limit", "1")]).await;
        let producer = app.producer().await.unwrap();
        let results = [
            add::delay(1, 1).producer(&producer).send(&app).await.unwrap(),
            add::delay(2, 2).producer(&producer).send(&app).await.unwrap(),
        ];
        assert!(futures_util::FutureExt::now_or_never(app.producer()).is_none(), "the pool is empty");
        drop(producer);
        app.producer().await.unwrap();
        app.drain().await;
        assert_eq!(results[1].get().await.unwrap(), 4);
    }

    async fn guide_0_95_a_group_gives_its_values_in_order(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let sent = group([(2, 2), (4, 4), (8, 8), (16, 16)].map(|(i, j)| add::s(i, j))).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(sent.get().await.unwrap(), [4, 8, 16, 32]);
    }
}
