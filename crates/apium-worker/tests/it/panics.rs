//! Code of the app that panics, at every place where a worker calls it: it costs its own task, and the worker goes on.

use std::error::Error as StdError;
use std::fmt;

use apium_app::app::app::App;
use apium_app::canvas::node::Node;
use apium_app::canvas::send::send as send_workflow;
use apium_app::context::context::Ctx;
use apium_app::options::call_options::CallOptions;
use apium_app::options::task_options::ErrorMatcher;
use apium_app::publish::router::RouteQuery;
use apium_app::task::definition::Hooks;
use apium_app::task_error::TaskError;
use apium_protocol::codecs::serializer::Serializer;
use apium_protocol::error::Result as ProtocolResult;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::value::value::Value;
use apium_worker::builder::AppWorker as _;
use apium_worker::layer::{Next, WorkLayer};
use apium_worker::outcome::RunOutcome;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;
use futures_util::future::BoxFuture;

use crate::rig::{Gate, Notes, exception, json, send, state, until_counts, until_state};
use crate::task;

/// What a body puts into its future: it panics when it is dropped before its end.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

#[derive(Debug)]
struct PanicsWhenPrinted;

impl fmt::Display for PanicsWhenPrinted {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("printed")
    }
}

impl StdError for PanicsWhenPrinted {}

/// It prints well, and panics when its cause is asked for.
#[derive(Debug, Default)]
struct PanicsWhenAsked(std::sync::atomic::AtomicUsize);

impl fmt::Display for PanicsWhenAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no cause")
    }
}

impl StdError for PanicsWhenAsked {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The first question is that of the traceback, which is made in the body.
        match self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => None,
            _ => panic!("asked for its cause"),
        }
    }
}

const BEFORE: Hooks = Hooks { before_start: Some(|_, ()| panic!("before_start")), ..Hooks::NONE };
const AFTER: Hooks = Hooks {
    on_success: Some(|_, _| panic!("on_success")),
    on_failure: Some(|_, _| panic!("on_failure")),
    on_retry: Some(|_, _| panic!("on_retry")),
    after_return: Some(|_, _| panic!("after_return")),
    ..Hooks::NONE
};
const LATER: Hooks = Hooks { on_success: Some(|_, _| Box::pin(async { panic!("later") })), ..Hooks::NONE };

task!(Quick = "quick", [acks_late: Some(true)], async |_ctx| Ok(json("quick")));
task!(Printed = "printed", [acks_late: Some(true)], async |_ctx| Err(PanicsWhenPrinted.into()));
task!(Matched = "matched", [
    acks_late: Some(true),
    autoretry_for: vec![ErrorMatcher::of::<fmt::Error>("fmt::Error")].into(),
    throws: vec![ErrorMatcher::of::<fmt::Error>("fmt::Error")].into()
], async |_ctx| Err(PanicsWhenAsked::default().into()));
task!(Dropped = "dropped", [acks_late: Some(true), time_limit: Some(std::time::Duration::from_secs(1))], async |ctx| {
    let _panics = PanicsOnDrop;
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});
task!(HookedBefore = "hooked_before", [acks_late: Some(true)], hooks BEFORE, async |_ctx| Ok(json(1)));
task!(HookedLater = "hooked_later", [acks_late: Some(true)], hooks LATER, async |_ctx| Ok(json(1)));
task!(HookedAfter = "hooked_after", [acks_late: Some(true)], hooks AFTER, async |ctx| {
    match ctx.request().args_json().as_str() {
        "[0]" => Ok(json(1)),
        "[1]" => Err(TaskError::failure("no")),
        _ if ctx.retries() == 0 => Err(ctx.retry().countdown(std::time::Duration::ZERO).into()),
        _ => Ok(json(2)),
    }
});
task!(Unrouted = "unrouted", [acks_late: Some(true)], async |_ctx| Ok(json(1)));
task!(Unwritten = "unwritten", [acks_late: Some(true), serializer: Some("panicking".into())], async |_ctx| Ok(json(1)));
task!(Errback = "errback", [], fn no_ctx |_ctx| panic!("the errback"));
task!(Fails = "fails", [acks_late: Some(true)], async |_ctx| Err(TaskError::failure("no")));
task!(RetriesOn = "retries_on", [
    acks_late: Some(true),
    serializer: Some("panicking".into()),
    autoretry_for: vec![ErrorMatcher::ANY].into()
], async |ctx| {
    ctx.state::<Notes>().unwrap().add("retries_on");
    Err(TaskError::failure("no"))
});
task!(Body = "body", [], async |_ctx| Ok(json("body")));

struct Panicking;

impl Serializer for Panicking {
    fn name(&self) -> &str {
        "panicking"
    }

    fn content_type(&self) -> &str {
        "application/x-panicking"
    }

    fn encode(&self, _: &Value) -> ProtocolResult<Vec<u8>> {
        panic!("encoded")
    }

    fn decode(&self, _: &[u8]) -> ProtocolResult<Value> {
        panic!("decoded")
    }
}

/// A route that panics for the task `unrouted`.
fn route(query: RouteQuery<'_>) -> Option<CallOptions> {
    assert_ne!(query.task, "unrouted", "the route");
    None
}

async fn app(gate: &Gate, two_stores: bool) -> TestApp {
    let builder = App::test().with(move |app| {
        let app = app.autodiscover(false).serializer(Panicking).router(route);
        if two_stores { app.backend("memory://panics") } else { app }
    });
    let builder = builder.state(gate.clone()).state(Notes::default());
    let builder = builder.register::<Quick>().register::<Printed>().register::<Matched>().register::<Dropped>();
    let builder = builder.register::<HookedBefore>().register::<HookedLater>().register::<HookedAfter>();
    let builder = builder.register::<Unrouted>().register::<Unwritten>().register::<Errback>().register::<Fails>();
    builder.register::<RetriesOn>().register::<Body>().build().await.unwrap()
}

fn node(task: &str) -> Node {
    Node::from_wire(&WireSignature::new(task)).unwrap()
}

/// Sends `quick` under an id, with a callback or an errback.
async fn send_linked(app: &App, task: &str, id: &str, callback: Option<&str>, errback: Option<&str>) {
    let mut node = node(task);
    node.options_mut().task_id = Some(id.into());
    callback.into_iter().for_each(|callback| node.link(WireSignature::new(callback)));
    errback.into_iter().for_each(|errback| node.link_error(WireSignature::new(errback)));
    send_workflow(app, node).await.unwrap();
}

/// Checks that a worker of one slot still runs, settles and is healthy after `id` has ended in `wanted`.
async fn goes_on(app: &TestApp, id: &str, wanted: &str) {
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until_state(app, id, wanted).await;
    send(app, "quick", &format!("{id}-next")).await;
    until_state(app, &format!("{id}-next"), "SUCCESS").await;
    until_counts(app, 0, 0).await;
    assert!(worker.health().is_green(), "after {id}: {:?}", worker.health());
    assert_eq!(worker.stop().await.unsettled, 0, "after {id}");
}

#[tokio::test]
async fn errors_that_panic_when_they_are_printed_or_matched_fail_their_task() {
    let app = app(&Gate::new(), false).await;
    send(&app, "printed", "printed").await;
    goes_on(&app, "printed", "FAILURE").await;
    assert_eq!(exception(&app, "printed").await, ("Panic".into(), serde_json::json!(["printed"])));
    send(&app, "matched", "matched").await;
    goes_on(&app, "matched", "FAILURE").await;
    assert_eq!(exception(&app, "matched").await.0, "PanicsWhenAsked", "the error is the task's, whoever matches it");
}

#[tokio::test]
async fn hooks_that_panic_before_they_are_awaited_or_later_cost_nothing_but_themselves() {
    let app = app(&Gate::new(), false).await;
    send(&app, "hooked_before", "before").await;
    goes_on(&app, "before", "FAILURE").await;
    send(&app, "hooked_later", "later").await;
    goes_on(&app, "later", "SUCCESS").await;
    for (arg, wanted) in [(0, "SUCCESS"), (1, "FAILURE"), (2, "SUCCESS")] {
        let id = format!("after-{arg}");
        app.sig("hooked_after").raw_args([json(arg)]).call().task_id(id.as_str()).send(&app).await.unwrap();
        goes_on(&app, &id, wanted).await;
    }
}

#[tokio::test]
async fn what_a_cancelled_body_drops_may_panic() {
    let gate = Gate::new();
    let app = app(&gate, false).await;
    send(&app, "dropped", "dropped").await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    app.clock().advance(std::time::Duration::from_secs(1));
    until_state(&app, "dropped", "FAILURE").await;
    send(&app, "quick", "next").await;
    until_state(&app, "next", "SUCCESS").await;
    worker.stop().await;
}

#[tokio::test]
async fn follow_ups_whose_route_or_serializer_panics_fail_their_task_and_nothing_else() {
    let app = app(&Gate::new(), false).await;
    for callback in ["unrouted", "unwritten"] {
        let id = format!("to-{callback}");
        send_linked(&app, "quick", &id, Some(callback), None).await;
        goes_on(&app, &id, "FAILURE").await;
        let (class, message) = exception(&app, &id).await;
        assert!(class == "FollowUpError" && message.to_string().contains("panicked"), "{class} {message}");
    }
    for errback in ["unrouted", "unwritten", "errback"] {
        let id = format!("failed-to-{errback}");
        send_linked(&app, "fails", &id, None, Some(errback)).await;
        goes_on(&app, &id, "FAILURE").await;
        assert_eq!(exception(&app, &id).await.0, "TaskError", "its own failure");
    }
}

#[tokio::test]
async fn a_retry_whose_serializer_panics_rejects_its_task() {
    let app = app(&Gate::new(), false).await;
    app.sig("retries_on").call().task_id("r").serializer("json").send(&app).await.unwrap();
    goes_on(&app, "r", "FAILURE").await;
    assert_eq!(exception(&app, "r").await.0, "Reject");
    assert_eq!(app.state_of_notes(), ["retries_on"]);
}

#[tokio::test]
async fn a_chord_whose_body_cannot_be_made_for_a_panic_fails_in_one_store_and_in_two() {
    for two_stores in [false, true] {
        let app = app(&Gate::new(), two_stores).await;
        for callback in ["unrouted", "unwritten"] {
            let chord = Node::chord([node("quick"), node("quick")], node(callback));
            let body = send_workflow(&app, chord).await.unwrap();
            let id = body.id.to_string();
            goes_on(&app, &id, "FAILURE").await;
            assert_eq!(exception(&app, &id).await.0, "ChordError");
        }
    }
}

/// Panics for the task `quick`, before it has made its future (`early`) or in it.
struct PanickingLayer {
    early: bool,
}

impl WorkLayer for PanickingLayer {
    fn around<'a>(&'a self, ctx: &'a Ctx, next: Next<'a>) -> BoxFuture<'a, RunOutcome> {
        let panics = ctx.task_name() == "quick";
        assert!(!(panics && self.early), "the layer");
        Box::pin(async move {
            assert!(!panics, "the layer, later");
            next.run().await
        })
    }
}

#[tokio::test]
async fn a_layer_that_panics_fails_the_task_that_it_is_around() {
    for early in [true, false] {
        let app = app(&Gate::new(), false).await;
        send(&app, "quick", "q").await;
        send(&app, "body", "b").await;
        let worker = app.worker().concurrency(1).layer(PanickingLayer { early }).start().await.unwrap();
        until_state(&app, "q", "FAILURE").await;
        until_state(&app, "b", "SUCCESS").await;
        assert_eq!(exception(&app, "q").await.0, "Panic");
        assert!(worker.health().is_green());
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_part_whose_follow_ups_cannot_be_made_twice_still_counts_and_runs_once() {
    let app = app(&Gate::new(), false).await;
    // Its callback cannot be made, and neither can its errback.
    let mut part = node("quick");
    part.link(WireSignature::new("unrouted"));
    part.link_error(WireSignature::new("unrouted"));
    let body = send_workflow(&app, Node::chord([part, node("quick")], node("body"))).await.unwrap();
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until_state(&app, body.id.as_str(), "FAILURE").await;
    assert_eq!(exception(&app, body.id.as_str()).await.0, "ChordError", "the chord does not wait");
    assert_eq!(worker.stop().await.finished, 2);
    assert_eq!(state(&app, body.id.as_str()).await, "FAILURE");
}

trait StateOfNotes {
    fn state_of_notes(&self) -> Vec<String>;
}

impl StateOfNotes for TestApp {
    fn state_of_notes(&self) -> Vec<String> {
        self.states().get::<Notes>().unwrap().all()
    }
}
