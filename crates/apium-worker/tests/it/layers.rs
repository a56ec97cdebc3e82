//! Layers of publishing, which see what a worker makes because a run ended; and layers around runs, of an app and of a
//! worker.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::builder::AppBuilder;
use apium_app::builtin_tasks::CHORD_PART;
use apium_app::canvas::node::Node;
use apium_app::canvas::send::send as send_workflow;
use apium_app::context::context::Ctx;
use apium_app::context::request::Request;
use apium_app::publish::layer::PublishLayer;
use apium_app::task_error::TaskError;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::result::state::State;
use apium_transport::backend::chord::{ChordHeader, ChordPart};
use apium_transport::broker::outgoing::Outgoing;
use apium_worker::builder::AppWorker as _;
use apium_worker::layer::{AppWorkLayers as _, Next, WorkLayer};
use apium_worker::outcome::RunOutcome;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::{AppTest as _, TestBuilder};
use futures_util::future::BoxFuture;

use crate::rig::{Notes, dead, exception, json, send, state, until_state};
use crate::task;

task!(Quick = "quick", [acks_late: Some(true)], async |_ctx| Ok(json("quick")));
task!(Early = "early", [], async |_ctx| Ok(json("early")));
task!(Fails = "fails", [acks_late: Some(true)], async |_ctx| Err(TaskError::failure("no")));
task!(Retries = "retries", [acks_late: Some(true)], async |ctx| match ctx.retries() {
    0 => Err(ctx.retry().countdown(Duration::ZERO).into()),
    _ => Ok(json(ctx.retries())),
});
task!(SendsRetry = "sends_retry", [acks_late: Some(true)], async |ctx| {
    if ctx.retries() == 0 {
        ctx.retry().countdown(Duration::ZERO).send().await?;
    }
    Ok(json(1))
});
task!(Replaced = "replaced", [acks_late: Some(true)], async |ctx| Err(ctx.replace(node("refused"))));
task!(Grows = "grows", [acks_late: Some(true)], async |ctx| {
    ctx.add_to_chord(node("refused")).await?;
    Ok(json(1))
});
task!(Refused = "refused", [], async |_ctx| Ok(json("it ran")));
task!(Panics = "panics", [], async |_ctx| Ok(json("it ran")));

/// Refuses messages of the task `refused`, panics for those of `panics`, and refuses retries. Notes what it lets pass.
struct Strict(Notes);

impl PublishLayer for Strict {
    fn before_publish(
        &self,
        message: &mut Outgoing,
        parent: Option<&Request>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let headers = &mut message.message.headers;
        let task = headers.task.as_deref().unwrap_or("?");
        assert!(task != "panics", "the layer");
        if task == "refused" || headers.retries > 0 {
            return Err("not today".into());
        }
        self.0.add(format!("{task} after {}", parent.and_then(Request::task).unwrap_or("nothing")));
        match parent {
            // A header that goes from each task to those that it leads to.
            Some(parent) => {
                headers.extra.extend(parent.headers.extra.get("tenant").map(|it| ("tenant".into(), it.clone())))
            }
            None => drop(headers.extra.insert("tenant".into(), json("acme"))),
        }
        Ok(())
    }
}

fn builder(shape: impl FnOnce(AppBuilder) -> AppBuilder + Send + 'static) -> TestBuilder {
    let builder = App::test().with(|app| shape(app.autodiscover(false)));
    let builder = builder.register::<Quick>().register::<Early>().register::<Fails>().register::<Retries>();
    let builder = builder.register::<Grows>().register::<SendsRetry>();
    builder.register::<Replaced>().register::<Refused>().register::<Panics>()
}

/// An app with [`Strict`], and what that let pass.
async fn strict(shape: impl FnOnce(AppBuilder) -> AppBuilder + Send + 'static) -> (TestApp, Notes) {
    let notes = Notes::default();
    let layer = Strict(notes.clone());
    (builder(|app| shape(app).layer(layer)).build().await.unwrap(), notes)
}

fn node(task: &str) -> Node {
    Node::from_wire(&WireSignature::new(task)).unwrap()
}

/// Sends a workflow whose result has an id, and runs everything.
async fn run(app: &TestApp, mut node: Node, id: &str) {
    node.options_mut().task_id = Some(id.into());
    send_workflow(app, node).await.unwrap();
    app.drain().await;
}

fn linked(task: &str, callback: &str) -> Node {
    let mut node = node(task);
    node.link(WireSignature::new(callback));
    node
}

#[tokio::test]
async fn what_a_layer_refuses_is_a_follow_up_that_cannot_be_made() {
    let (app, _) = strict(|app| app).await;
    for (callback, why) in [("refused", "a layer refuses it: not today"), ("panics", "panicked: the layer")] {
        let id = format!("to-{callback}");
        run(&app, linked("quick", callback), &id).await;
        let (class, text) = exception(&app, &id).await;
        assert!(class == "FollowUpError" && text.to_string().contains(why), "{class} {text}");
        assert_eq!(app.sent_by_name(callback).len(), 0);
    }
    let (last, _) =
        (send_workflow(&app, Node::chain([node("quick"), node("refused")])).await.unwrap(), app.drain().await);
    assert_eq!(exception(&app, last.parent.unwrap().id.as_str()).await.0, "FollowUpError");
    assert_eq!(exception(&app, last.id.as_str()).await.0, "FollowUpError", "the step behind fails with it");
    run(&app, node("replaced"), "replaced").await;
    assert_eq!(exception(&app, "replaced").await.0, "FollowUpError");
    assert_eq!(app.sent_by_name("refused").len(), 0);
    assert_eq!(dead(&app).await, []);
}

#[tokio::test]
async fn a_refused_errback_is_left_out_and_a_refused_retry_rejects_its_task() {
    let (app, _) = strict(|app| app).await;
    for errback in ["refused", "panics"] {
        let id = format!("failed-to-{errback}");
        let mut failing = node("fails");
        failing.link_error(WireSignature::new(errback));
        run(&app, failing, &id).await;
        assert_eq!(exception(&app, &id).await.0, "TaskError", "its own failure");
        assert_eq!(app.sent_by_name(errback).len(), 0);
    }
    for task in ["retries", "sends_retry"] {
        run(&app, node(task), task).await;
        let (class, text) = exception(&app, task).await;
        assert!(class == "Reject" && text.to_string().contains("a layer refuses it: not today"), "{class} {text}");
        assert_eq!(app.sent_by_name(task).len(), 1, "no second run");
    }
}

#[tokio::test]
async fn a_chord_whose_body_is_refused_fails_in_one_store_and_in_two() {
    for (two_stores, part) in [(false, "quick"), (false, "early"), (true, "quick"), (true, "early")] {
        for body in ["refused", "panics"] {
            let (app, _) = strict(move |app| if two_stores { app.backend("memory://other") } else { app }).await;
            let result = send_workflow(&app, Node::chord([node(part), node(part)], node(body))).await.unwrap();
            app.drain().await;
            let (class, text) = exception(&app, result.id.as_str()).await;
            assert_eq!(class, "ChordError", "{two_stores} {part} {body}: {text}");
            assert_eq!(app.sent_by_name(body).len(), 0);
        }
    }
}

#[tokio::test]
async fn a_chord_does_not_wait_for_a_part_that_a_layer_refused() {
    let (app, _) = strict(|app| app).await;
    let body = send_workflow(&app, Node::chord([node("grows"), node("quick")], node("quick"))).await.unwrap();
    app.drain().await;
    let (class, text) = exception(&app, body.id.as_str()).await;
    assert!(class == "ChordError" && text.to_string().contains("not today"), "{class} {text}");
}

#[tokio::test]
async fn a_message_by_which_a_worker_counts_once_more_passes_no_layer_and_keeps_the_headers() {
    let (app, notes) = strict(|app| app.backend("memory://other")).await;
    let chord = Node::chord([node("early"), node("early")], node("quick"));
    let result = send_workflow(&app, chord).await.unwrap();
    app.drain().await;
    assert_eq!(state(&app, result.id.as_str()).await, "SUCCESS");
    assert_eq!(notes.all(), ["early after nothing", "early after nothing", "quick after early"]);
    let recount = app.sent_by_name(CHORD_PART).remove(0);
    let headers = recount.message.headers.clone();
    let tenant = headers.extra.get("tenant");
    assert_eq!(tenant.map(Json::as_str), Some("\"acme\""), "for the body that it may send");
    assert_eq!(app.sent_by_name("quick")[0].message.headers.extra.get("tenant"), tenant);
    // In the store of a second app all parts are counted, and what follows is not made: the recount makes it.
    let (second, seen) = strict(|app| app.backend("memory://other")).await;
    let chords = second.backend().unwrap().chords().unwrap();
    let header = result.parent.as_ref().unwrap();
    chords.open(ChordHeader::new(header.id.to_string(), 2)).await.unwrap();
    for (index, member) in (0..).zip(header.children.iter().flatten()) {
        let id = &member.id;
        let (group, claim) = (header.id.to_string(), Duration::from_secs(5));
        let mut part = ChordPart::new(group, id.clone(), State::Success, json(index), id.to_string(), claim);
        part.group_index = Some(index);
        chords.part_done(part).await.unwrap();
    }
    second.broker().publish(vec![recount.at(None)]).await.unwrap();
    second.advance(Duration::from_secs(10)).await;
    assert_eq!(seen.all(), ["quick after apium.chord_part"]);
    let (first, again) = (app.sent_by_name("quick").remove(0), second.sent_by_name("quick").remove(0));
    assert_eq!(again.message.headers.extra, first.message.headers.extra, "the same body with the same header");
    assert_eq!(again.message.headers.id, first.message.headers.id);
}

/// Notes when a run begins and ends.
#[derive(Clone)]
struct Noting(&'static str, Notes);

impl WorkLayer for Noting {
    fn around<'a>(&'a self, ctx: &'a Ctx, next: Next<'a>) -> BoxFuture<'a, RunOutcome> {
        Box::pin(async move {
            self.1.add(format!("{} begins {}", self.0, ctx.task_name()));
            let outcome = next.run().await;
            self.1.add(format!("{} ends", self.0));
            outcome
        })
    }
}

#[tokio::test]
async fn the_layers_of_an_app_are_around_those_of_its_worker() {
    let notes = Notes::default();
    let noting = |name| Noting(name, notes.clone());
    let (one, two) = (noting("app 1"), noting("app 2"));
    let app = builder(|app| app.work_layer(one).work_layer(two)).build().await.unwrap();
    send(&app, "quick", "q").await;
    let worker = app.worker().layer(noting("worker 1")).layer(noting("worker 2")).start().await.unwrap();
    until_state(&app, "q", "SUCCESS").await;
    worker.stop().await;
    let names = ["app 1", "app 2", "worker 1", "worker 2"];
    let begun = names.iter().map(|name| format!("{name} begins quick"));
    let wanted: Vec<String> = begun.chain(names.iter().rev().map(|name| format!("{name} ends"))).collect();
    assert_eq!(notes.all(), wanted);
}

#[tokio::test]
async fn the_layers_of_an_app_are_around_runs_of_the_test_kit_and_eager_ones() {
    let notes = Notes::default();
    let layer = Noting("app", notes.clone());
    let app = builder(|app| app.work_layer(layer).layer(Strict(Notes::default()))).build().await.unwrap();
    send(&app, "quick", "q").await;
    app.drain().await;
    assert_eq!(notes.all(), ["app begins quick", "app ends"]);
    // No message is sent for an eager call, so it passes no layer of publishing.
    let eager = app.sig("refused").signature().apply(&app).await.unwrap();
    assert_eq!(eager.get().await.unwrap().as_str(), "\"it ran\"");
    assert_eq!(notes.all()[2..], ["app begins refused", "app ends"]);
    // Another app has none.
    let other = builder(|app| app).build().await.unwrap();
    send(&other, "quick", "q").await;
    other.drain().await;
    assert_eq!(notes.all().len(), 4);
}

#[tokio::test]
async fn a_layer_of_an_app_that_panics_fails_the_task_that_it_is_around() {
    struct Panicking;
    impl WorkLayer for Panicking {
        fn around<'a>(&'a self, _: &'a Ctx, _: Next<'a>) -> BoxFuture<'a, RunOutcome> {
            panic!("the layer")
        }
    }
    let app = builder(|app| app.work_layer(Panicking)).build().await.unwrap();
    run(&app, node("quick"), "q").await;
    assert_eq!(exception(&app, "q").await, ("Panic".into(), serde_json::json!(["the layer"])));
}
