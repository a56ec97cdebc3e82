//! Layers of publishing see every message of a task, whichever process makes it: what follows a run too.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apium::call::{Outgoing, PublishLayer};
use apium::canvas::Node;
use apium::message::Signature as WireSignature;
use apium::prelude::*;
use apium::task::Request;
use apium::testing::TestApp;

#[task(name = "layered.same")]
async fn same(x: Json) -> TaskResult<Json> {
    Ok(x)
}

#[task(name = "layered.late", acks_late)]
async fn late(x: Json) -> TaskResult<Json> {
    Ok(x)
}

#[task(name = "layered.callback")]
async fn callback(x: Json) -> TaskResult<Json> {
    Ok(x)
}

#[task(name = "layered.body")]
async fn body(x: Json) -> TaskResult<Json> {
    Ok(x)
}

#[task(name = "layered.boom")]
async fn boom(x: Json) -> TaskResult<Json> {
    let _ = x;
    Err(TaskError::of_class("builtins.ValueError", "boom"))
}

/// It reads its request, so it is sent as a message.
#[task(name = "layered.errback")]
async fn errback(ctx: &Ctx, id: String) -> TaskResult<String> {
    let _ = ctx;
    Ok(id)
}

#[task(name = "layered.retries", max_retries = 2)]
async fn retries(ctx: &Ctx, now: bool) -> TaskResult<u32> {
    match (ctx.retries(), now) {
        (0, true) => {
            ctx.retry().countdown(Duration::ZERO).send().await?;
            Ok(0)
        }
        (0, false) => Err(ctx.retry().countdown(Duration::ZERO).into()),
        (retries, _) => Ok(retries),
    }
}

#[task(name = "layered.replaced")]
async fn replaced(ctx: &Ctx) -> TaskResult<Json> {
    Err(ctx.replace(call("callback", json!([1]))))
}

#[task(name = "layered.grows")]
async fn grows(ctx: &Ctx) -> TaskResult<i64> {
    ctx.add_to_chord(call("callback", json!([1]))).await?;
    Ok(1)
}

const TASKS: [&str; 9] = ["same", "late", "callback", "body", "boom", "errback", "retries", "replaced", "grows"];

fn call(task: &str, args: serde_json::Value) -> Node {
    let wire = json!({"task": format!("layered.{task}"), "args": args, "kwargs": {}, "options": {}});
    Node::from_wire(&WireSignature::from_json(wire.to_string().as_bytes()).unwrap()).unwrap()
}

fn linked(mut node: Node, task: &str) -> Node {
    node.link(call(task, json!([])).to_wire().unwrap());
    node
}

fn with_errback(mut node: Node) -> Node {
    node.link_error(call("errback", json!([])).to_wire().unwrap());
    node
}

/// Gives what the program sends a tenant, and sends that on from each task to those that it leads to. Refuses a message
/// whose parent has none. Notes what it saw.
#[derive(Clone, Default)]
struct Tenant(Arc<Mutex<BTreeSet<(String, u32)>>>);

impl PublishLayer for Tenant {
    fn before_publish(&self, message: &mut Outgoing, parent: Option<&Request>) -> Result<(), BoxError> {
        let headers = &mut message.message.headers;
        let tenant = match parent {
            Some(parent) => parent.headers.extra.get("tenant").ok_or("the tenant is not known")?.clone(),
            None => Json::from_text("\"acme\"")?,
        };
        let id = headers.id.as_ref().ok_or("no id")?.to_string();
        self.0.lock().unwrap().insert((id, headers.retries));
        headers.extra.insert("tenant".into(), tenant);
        Ok(())
    }
}

/// Everything that was sent to the tasks of this file.
fn sent(app: &TestApp) -> Vec<Outgoing> {
    TASKS.iter().flat_map(|task| app.sent_by_name(&format!("layered.{task}"))).collect()
}

/// Runs workflows, and checks how many messages each sends and that the layer saw each of them.
async fn pass(app: &TestApp, layer: &Tenant, what: &str, node: Node, messages: usize) {
    let before: Vec<_> = sent(app).into_iter().map(key).collect();
    apium::canvas::send(app, node).await.unwrap();
    app.drain().await;
    let sent: Vec<_> = sent(app).into_iter().filter(|message| !before.contains(&key(message.clone()))).collect();
    assert_eq!(sent.len(), messages, "{what}");
    for message in sent {
        let tenant = message.message.headers.extra.get("tenant").map(Json::as_str);
        assert_eq!(tenant, Some("\"acme\""), "{what}: {:?}", message.message.headers.task);
        assert!(layer.0.lock().unwrap().contains(&key(message)), "{what}");
    }
}

/// Names a message.
fn key(message: Outgoing) -> (String, u32) {
    let headers = message.message.headers;
    (headers.id.unwrap().to_string(), headers.retries)
}

/// Workflows, and how many messages each sends. `part` is a task that acks early or late.
fn workflows(part: &str) -> Vec<(&'static str, Node, usize)> {
    let part = |x: i64| call(part, json!([x]));
    let body = || call("body", json!([]));
    let any = |task| call(task, json!([]));
    vec![
        ("a chain with a callback", linked(part(1), "callback").pipe(any("same")).pipe(any("same")), 4),
        ("a chord", Node::chord([part(1), part(2)], linked(body(), "callback")), 4),
        ("a group after a step", part(1).pipe(Node::group([any("same"), any("same")])), 3),
        ("a chord after a step", part(1).pipe(Node::group([any("same"), any("late")])).pipe(body()), 4),
        ("an errback", part(1).pipe(with_errback(any("boom"))), 3),
        ("a chord that fails", Node::chord([part(1), any_boom()], with_errback(body())), 3),
        ("a retry that is returned", call("retries", json!([false])), 2),
        ("a retry that is sent", call("retries", json!([true])), 2),
        ("a task that is replaced", part(1).pipe(immutable("replaced")), 3),
        ("a chord that grows", Node::chord([part(1), immutable("grows")], body()), 4),
    ]
}

fn any_boom() -> Node {
    call("boom", json!([0]))
}

fn immutable(task: &str) -> Node {
    let mut node = call(task, json!([]));
    node.set_immutable(true);
    node
}

/// Sends what follows to another queue, refuses `body` and panics for `errback`.
struct Moving;

impl PublishLayer for Moving {
    fn before_publish(&self, message: &mut Outgoing, parent: Option<&Request>) -> Result<(), BoxError> {
        match message.message.headers.task.as_deref() {
            Some("layered.body") => return Err("a layer says no".into()),
            Some("layered.errback") => panic!("a layer panics"),
            _ => {}
        }
        if parent.is_some() {
            message.routing_key = "elsewhere".into();
            message.message.properties.priority = Some(6);
        }
        Ok(())
    }
}

on_every_driver! {
    async fn every_message_that_follows_a_run_passes_the_layers(fixture: &Fixture) {
        for two_stores in [false, true] {
            let layer = Tenant::default();
            let seen = layer.clone();
            let builder = fixture.builder().with(|app| app.layer(layer));
            let builder = if two_stores { builder.backend(fixture.other_url()) } else { builder };
            let app = builder.build().await.unwrap();
            for part in ["same", "late"] {
                for (what, node, messages) in workflows(part) {
                    pass(&app, &seen, &format!("{what}, {part}, two stores: {two_stores}"), node, messages).await;
                }
            }
        }
    }

    async fn what_follows_goes_where_a_layer_sends_it(fixture: &Fixture) {
        let app = fixture.builder().with(|app| app.layer(Moving)).build().await.unwrap();
        let chain = call("same", json!([7])).pipe(call("callback", json!([])));
        let last = AsyncResult::<Json>::of_tuple(&app, &apium::canvas::send(&app, chain).await.unwrap());
        app.drain().await;
        assert_eq!(last.get().await.unwrap().as_str(), "7");
        let follow_up = app.sent_by_name("layered.callback").remove(0);
        assert_eq!((&*follow_up.routing_key, follow_up.message.properties.priority), ("elsewhere", Some(6)));
    }

    async fn a_chord_whose_body_a_layer_refuses_fails(fixture: &Fixture) {
        let bodies = [("body", "a layer refuses it: a layer says no"), ("errback", "panicked")];
        let parts = [(false, "same"), (false, "late"), (true, "same"), (true, "late")];
        for ((two_stores, part), (body, why)) in parts.into_iter().flat_map(|part| bodies.map(|body| (part, body))) {
            let builder = fixture.builder().with(|app| app.layer(Moving));
            let builder = if two_stores { builder.backend(fixture.other_url()) } else { builder };
            let app = builder.build().await.unwrap();
            let chord = Node::chord([1, 2].map(|x| call(part, json!([x]))), call(body, json!([])));
            let result = AsyncResult::<Json>::of_tuple(&app, &apium::canvas::send(&app, chord).await.unwrap());
            app.drain().await;
            let document = result.document().await.unwrap().expect("the body has failed");
            let exception = ExceptionInfo::from_json(&document.result);
            assert_eq!(exception.exc_type, "ChordError", "{two_stores} {part} {body}");
            assert!(exception.message().contains(why), "{}", exception.message());
            assert_eq!(app.sent_by_name(&format!("layered.{body}")).len(), 0);
        }
    }
}
