//! The context of a run, over the memory driver: states, aborts and retries reach the backend and the broker.

use std::sync::Arc;
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::builder::AppBuilder;
use apium_app::context::context::{ABORTED, Ctx, CtxParts};
use apium_app::context::current;
use apium_app::context::limit_signal::LimitSignal;
use apium_app::context::request::{DeliveryInfo, Request};
use apium_app::context::store_waits::StoreWaits;
use apium_app::failure::Failure;
use apium_app::options::task_options::TaskOptions;
use apium_app::task::arguments::ParameterList;
use apium_app::task::definition::{Hooks, TaskDef, TaskFn, TaskType};
use apium_app::task_error::TaskErrorKind;
use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::clock::Clock;
use apium_transport::memory::MemoryDriver;
use jiff::Timestamp;

struct Noop;

static NOOP: TaskDef = TaskDef {
    name: "proj.noop",
    aliases: &[],
    parameters: ParameterList { function: "noop", named: &[], var_args: false, var_kwargs: false },
    options: || {
        let mut options = TaskOptions::NEW;
        options.ignore_result = Some(true);
        options.max_retries = Some(Some(1));
        options
    },
    hooks: Hooks::NONE,
    needs: &[],
    takes_ctx: true,
    run: TaskFn::Blocking(|_| Ok(Json::NULL)),
    location: "here:1",
};

impl TaskType for Noop {
    type Output = ();
    type Args = ();

    fn def() -> &'static TaskDef {
        &NOOP
    }
}

async fn app() -> App {
    let builder = AppBuilder::new("proj", vec![Arc::new(MemoryDriver::new())]);
    let builder = builder.broker("memory://").backend("memory://").clock(Clock::manual(Timestamp::UNIX_EPOCH));
    builder.autodiscover(false).register::<Noop>().build().await.unwrap()
}

fn run_of(app: &App, id: &str, retries: u32) -> Ctx {
    let mut request = Request::direct();
    request.called_directly = false;
    request.headers.id = Some(id.into());
    request.headers.task = Some("proj.noop".into());
    request.headers.retries = retries;
    let mut delivery_info = DeliveryInfo::default();
    delivery_info.routing_key = "celery".into();
    request.delivery_info = delivery_info;
    let task = app.registry().get("proj.noop").unwrap().clone();
    Ctx::new(CtxParts {
        request: Arc::new(request),
        task,
        publisher: app.publisher().clone(),
        backend: app.backend().cloned(),
        states: app.states().clone(),
        limits: LimitSignal::new(),
        run: None,
        waits: StoreWaits::default(),
    })
}

async fn stored(app: &App, id: &str) -> Option<ResultDocument> {
    app.backend().unwrap().stored().unwrap().fetch(&[id.into()]).await.unwrap().pop().unwrap()
}

#[tokio::test]
async fn a_state_is_written_at_once_even_where_results_are_ignored() {
    let app = app().await;
    run_of(&app, "a", 0).update_state("PROGRESS", [1, 2]).await.unwrap();
    let document = stored(&app, "a").await.unwrap();
    assert_eq!((document.state.as_str(), document.result.as_str()), ("PROGRESS", "[1, 2]"));
    assert_eq!((document.date_done, document.children), (None, Some(Vec::new())));
}

#[tokio::test]
async fn the_state_of_another_task_is_written_without_this_runs_children() {
    let app = app().await;
    let ctx = run_of(&app, "a", 0);
    ctx.add_child("child".into());
    ctx.update_state_of("other".into(), "PROGRESS", 1).await.unwrap();
    assert_eq!(stored(&app, "other").await.unwrap().children, None);
    assert!(stored(&app, "a").await.is_none());
}

/// A task with progress, as a plain function.
fn doubled(ctx: &Ctx, numbers: &[u32]) -> Vec<u32> {
    let step = |(done, number): (usize, &u32)| {
        ctx.update_state("PROGRESS", done).wait().unwrap();
        number * 2
    };
    numbers.iter().enumerate().map(step).collect()
}

#[test]
fn a_task_with_progress_is_a_function_in_a_plain_test() {
    assert_eq!(doubled(&Ctx::direct(), &[1, 2]), [2, 4]);
}

#[tokio::test]
async fn a_task_with_progress_is_a_function_in_an_async_test() {
    Ctx::direct().update_state("PROGRESS", 1).await.unwrap();
    assert_eq!(tokio::task::spawn_blocking(|| doubled(&Ctx::direct(), &[3])).await.unwrap(), [6]);
    let not_json = std::collections::HashMap::from([(vec![1], 1)]);
    assert!(Ctx::direct().update_state("PROGRESS", not_json).await.is_err(), "meta is checked all the same");
}

#[tokio::test]
async fn after_an_abort_check_returns_an_error() {
    let app = app().await;
    let ctx = run_of(&app, "a", 0);
    assert!(!ctx.aborted().await.unwrap());
    ctx.update_state(ABORTED, Json::NULL).await.unwrap();
    assert!(ctx.check().is_ok(), "async code learns of it by asking");
    assert!(ctx.aborted().await.unwrap());
    assert!(matches!(ctx.check().unwrap_err().kind(), TaskErrorKind::Ignore));
}

#[tokio::test]
async fn check_in_a_plain_function_reads_whether_the_task_was_aborted() {
    let app = app().await;
    let ctx = run_of(&app, "a", 0);
    ctx.update_state(ABORTED, Json::NULL).await.unwrap();
    let plain = move || current::enter(ctx.clone(), || ctx.check().unwrap_err());
    let error = tokio::task::spawn_blocking(plain).await.unwrap();
    assert!(matches!(error.kind(), TaskErrorKind::Ignore));
}

#[tokio::test]
async fn a_plain_function_stores_a_state_by_wait() {
    let app = app().await;
    let ctx = run_of(&app, "a", 0);
    let plain = move || current::enter(ctx.clone(), || ctx.update_state("PROGRESS", 1).wait());
    tokio::task::spawn_blocking(plain).await.unwrap().unwrap();
    assert_eq!(stored(&app, "a").await.unwrap().state.as_str(), "PROGRESS");
}

#[test]
fn check_returns_an_error_after_a_time_limit() {
    let ctx = Ctx::direct();
    assert!(ctx.check().is_ok());
    let exc_type = |ctx: &Ctx| match ctx.check().unwrap_err().into_kind() {
        TaskErrorKind::Failure(failure) => failure.exception().exc_type.clone(),
        other => panic!("not a failure: {other:?}"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let app = runtime.block_on(app());
    let ctx = run_of(&app, "a", 0);
    ctx.soft_limit().raise_soft();
    assert_eq!(exc_type(&ctx), "SoftTimeLimitExceeded");
    ctx.soft_limit().raise_hard();
    assert_eq!(exc_type(&ctx), "TimeLimitExceeded");
}

#[tokio::test]
async fn a_retry_that_is_sent_is_a_message_with_the_same_id_and_a_child() {
    let app = app().await;
    let ctx = run_of(&app, "a", 0);
    ctx.retry().countdown(Duration::ZERO).args((7,)).send().await.unwrap();
    let outgoing = app.broker().queues().unwrap().messages().unwrap().peek("celery", 2).await.unwrap();
    let [Outgoing { message, .. }] = &outgoing[..] else { panic!("one message was sent") };
    assert_eq!((message.headers.id.as_ref(), message.headers.retries), (Some(&"a".into()), 1));
    assert_eq!((message.headers.eta.as_deref(), message.headers.argsrepr.as_deref()), (None, Some("(7,)")));
    assert_eq!(ctx.children().len(), 1);
    assert_eq!(ctx.children()[0].id, TaskId::from("a"));
}

#[tokio::test]
async fn sending_a_retry_beyond_the_limit_returns_the_failure() {
    let app = app().await;
    let cause = Failure::of_class("builtins.KeyError", "k");
    let error = run_of(&app, "a", 1).retry().cause(cause).send().await.unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::Failure(failure) if failure.exception().exc_type == "KeyError"));
}
