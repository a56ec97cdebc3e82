//! The options of calls, what they take from the running task, and eager calls.

use std::sync::Arc;
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::app::eager_runner::{EagerRun, EagerRunner};
use apium_app::call::batch::Batch;
use apium_app::config::value::Value;
use apium_app::context::current;
use apium_app::context::request::Request;
use apium_app::error::{ErrorKind, Result};
use apium_app::options::call_options::CallOptions;
use apium_app::retry::policy::NextRun;
use apium_protocol::json::text::Json;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use futures_util::future::BoxFuture;

use crate::kit::{self, Add};

fn annotated(entries: Vec<(&str, Value)>) -> Value {
    let entries = entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Value::Table(vec![("tasks.add".to_owned(), Value::Table(entries))])
}

#[tokio::test]
async fn feature_6_09_the_call_wins_over_the_task_and_the_task_over_the_route() {
    let attributes = annotated(vec![("queue", "of-task".into()), ("expires", 60.into())]);
    let mut options = CallOptions::from("of-route");
    options.priority = Some(7.into());
    let builder = kit::builder().setting("task_annotations", attributes).route("tasks.*", options);
    let (app, sent) = kit::app_of(builder).await;
    Add::s(1, 2).send(&app).await.unwrap();
    let message = sent.one();
    assert_eq!((&*message.routing_key, message.message.properties.priority), ("of-task", Some(7)));
    assert_eq!(message.message.properties.expiration.as_deref(), Some("60000"));
    Add::s(1, 2).queue("of-call").priority(1).send(&app).await.unwrap();
    let message = sent.one();
    assert_eq!((&*message.routing_key, message.message.properties.priority), ("of-call", Some(1)));
}

#[tokio::test]
async fn scenario_10_countdown_zero_sets_no_eta_and_a_past_expiry_is_zero() {
    let (app, sent) = kit::app().await;
    Add::s(1, 2).countdown(Duration::ZERO).eta(app.clock().now()).send(&app).await.unwrap();
    let message = sent.one();
    assert_eq!((message.eta, message.message.headers.eta), (None, None));
    let past = app.clock().now() - jiff::SignedDuration::from_secs(5);
    Add::s(1, 2).expires(past).send(&app).await.unwrap();
    assert_eq!(sent.one().message.properties.expiration.as_deref(), Some("0"));
}

#[tokio::test]
async fn impossible_options_of_a_call_are_errors() {
    let (app, sent) = kit::app().await;
    let limits = Add::s(1, 2).time_limit(Duration::from_secs(1)).soft_time_limit(Duration::from_secs(2));
    let far = Add::s(1, 2).countdown(Duration::MAX);
    for (call, word) in [(limits, "soft time limit of 2 s"), (far, "beyond the year 9999")] {
        let error = call.send(&app).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Call);
        assert!(error.to_string().contains("tasks.add") && error.to_string().contains(word), "{error}");
    }
    let error =
        Add::s(1, 2).header("x", std::collections::BTreeMap::from([(vec![1], 1)])).send(&app).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(sent.take().is_empty());
}

#[tokio::test]
async fn guide_0_48_calls_inside_a_task_have_its_id_as_parent_and_are_its_children() {
    let (app, sent) = kit::app_of(kit::builder().setting("task_inherit_parent_priority", true)).await;
    let ctx = kit::running(&app, "parent", Some("root"), 6);
    let child = current::scope(ctx.clone(), async { Add::s(1, 2).call().await.unwrap() }).await;
    let message = sent.one().message;
    assert_eq!(message.headers.parent_id, Some("parent".into()));
    assert_eq!(message.headers.root_id, Some("root".into()));
    assert_eq!(message.properties.priority, Some(6));
    assert_eq!(ctx.children(), [child.as_tuple()]);
    let quiet = Add::s(1, 2).add_to_parent(false);
    current::scope(ctx.clone(), quiet.send(&app)).await.unwrap();
    assert_eq!(ctx.children().len(), 1);
}

#[tokio::test]
async fn a_call_without_an_app_uses_the_app_of_its_task_or_the_installed_one() {
    let (app, _) = kit::app().await;
    let error = Add::s(1, 2).call().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoCurrentApp);
    let (other, sent) = kit::app().await;
    other.install();
    Add::s(1, 2).call().await.unwrap();
    assert_eq!(sent.take().len(), 1);
    // Inside a task it is the app that runs it.
    let ctx = kit::running(&app, "parent", None, 0);
    current::scope(ctx, async { Add::s(1, 2).call().await.unwrap() }).await;
    assert!(sent.take().is_empty());
}

#[tokio::test]
async fn a_batch_of_more_than_2_000_calls_is_sent_in_order() {
    let (app, sent) = kit::app().await;
    let calls = (0..2_500).map(|i| Add::s(i, i));
    let results = Batch::of(calls).queue("bulk").send_all(&app).await.unwrap();
    let messages = sent.take();
    assert_eq!((results.len(), messages.len()), (2_500, 2_500));
    for (i, (result, message)) in results.iter().zip(&messages).enumerate() {
        assert_eq!(message.message.headers.id.as_ref(), Some(result.id()));
        assert_eq!(message.message.headers.argsrepr.as_deref(), Some(&*format!("({i}, {i})")));
        assert_eq!(&*message.routing_key, "bulk");
    }
}

#[tokio::test]
async fn scenario_20_ignore_result_of_setting_task_or_call() {
    let (app, sent) = kit::app_of(kit::builder().setting("task_ignore_result", true)).await;
    let result = Add::s(1, 2).send(&app).await.unwrap();
    assert!(result.ignored());
    assert_eq!(sent.one().message.headers.ignore_result, Some(true));
    let result = Add::s(1, 2).ignore_result(false).send(&app).await.unwrap();
    assert!(!result.ignored());
    assert_eq!(sent.one().message.headers.ignore_result, Some(false));
}

#[tokio::test]
async fn guide_0_26_a_retry_keeps_what_the_request_had() {
    let (app, sent) = kit::app().await;
    let call = Add::s(1, 2).queue("mine").priority(4).shadow("s").header("x", 1).stamp("t", 2);
    call.expires_in(Duration::from_secs(60)).send(&app).await.unwrap();
    let first = sent.one();
    let mut delivery_info = apium_app::context::request::DeliveryInfo::default();
    delivery_info.routing_key = first.routing_key.clone();
    let request = Request::from_message(
        first.message.headers.clone(),
        first.message.properties.clone(),
        app.codecs().decode(&first.message, app.accept()).unwrap().body,
        delivery_info,
    );
    let mut next = NextRun::default();
    next.retries = 1;
    next.eta = Some(app.clock().now() + jiff::SignedDuration::from_secs(10));
    let again = app.publisher().retry_message(&request, &next).unwrap();
    assert_eq!((&*again.exchange, &*again.routing_key, again.eta), ("", "mine", next.eta));
    let (old, new) = (&first.message.headers, &again.message.headers);
    assert_eq!(new.eta.as_deref(), Some("2030-01-02T03:04:15.678901+00:00"));
    assert_eq!(new.parent_id, old.id, "a task without a parent becomes its own parent");
    let mut expected = old.clone();
    expected.retries = 1;
    expected.eta.clone_from(&new.eta);
    expected.parent_id.clone_from(&new.parent_id);
    assert_eq!(*new, expected);
    assert_eq!(again.message.properties, first.message.properties);
    assert_eq!(again.message.body, first.message.body);
    next.queue = Some("other".into());
    next.args = Some(vec![Json::from_serialize(&9).unwrap()]);
    let changed = app.publisher().retry_message(&request, &next).unwrap();
    assert_eq!((&*changed.routing_key, changed.message.headers.argsrepr.as_deref()), ("other", Some("(9,)")));
}

/// Decodes the arguments and adds them. A negative sum is a failure.
struct Adder;

impl EagerRunner for Adder {
    fn run(&self, app: App, run: EagerRun) -> BoxFuture<'static, Result<ResultDocument>> {
        Box::pin(async move {
            let body = app.codecs().decode(&run.message, app.accept())?.body;
            let sum = body.args.iter().map(|arg| arg.decode::<i64>()).sum::<std::result::Result<i64, _>>()?;
            let id = run.message.headers.id.unwrap();
            Ok(match sum {
                sum if sum < 0 => {
                    let exception = ExceptionInfo::from_path("builtins.ValueError", "negative").to_json();
                    ResultDocument::new(id, State::Failure, exception)
                }
                sum => ResultDocument::new(id, State::Success, Json::from_serialize(&sum)?),
            })
        })
    }
}

#[tokio::test]
async fn feature_1_6_03_task_always_eager_does_not_apply_to_calls_by_name() {
    let builder = kit::builder().setting("task_always_eager", true).eager_runner(Arc::new(Adder));
    let (app, sent) = kit::app_of(builder).await;
    let result = Add::s(2, 2).countdown(Duration::from_secs(60)).send(&app).await.unwrap();
    assert_eq!(result.state().await.unwrap(), State::Success);
    assert_eq!(result.get().await.unwrap(), 4);
    assert!(sent.take().is_empty());
    app.sig("tasks.add").args((2, 2)).send().await.unwrap();
    assert_eq!(sent.take().len(), 1);
    let failing = Add::s(-2, 1).send(&app).await.unwrap();
    assert_eq!(failing.get().await.unwrap_err().kind(), ErrorKind::TaskFailed);
}

#[tokio::test]
async fn feature_1_6_04_with_task_eager_propagates_the_call_returns_the_failure() {
    let builder = kit::builder().setting("task_eager_propagates", true).eager_runner(Arc::new(Adder));
    let (app, _) = kit::app_of(builder).await;
    let error = Add::s(-2, 1).apply(&app).await.unwrap_err();
    assert_eq!(error.failure().unwrap().exception().exc_type, "ValueError");
    assert_eq!(Add::s(2, 1).apply(&app).await.unwrap().get().await.unwrap(), 3);
    let unknown = app.sig("tasks.other").call().apply(&app).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotRegistered);
}
