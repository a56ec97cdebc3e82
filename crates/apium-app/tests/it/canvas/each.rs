//! Options of a workflow, and `each`, which gives options to every task of it.

use apium_app::call::batch::Batch;
use apium_app::canvas::node::{IntoNode, Node};
use apium_app::error::ErrorKind;
use apium_app::signature::chain::chord;
use apium_app::signature::group::group;
use apium_app::signature::join::join;
use apium_app::signature::signature::Signature;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use serde_json::{Value, json};

use crate::kit::{self, Add, Sent};

/// A task that takes and returns any JSON.
fn task(name: &str) -> Signature<Json, Json> {
    let wire = json!({"task": name, "args": [], "kwargs": {}, "options": {}});
    Signature::of_node(Node::from_wire(&WireSignature::from_json(wire.to_string().as_bytes()).unwrap()).unwrap())
}

/// The queues of all tasks in a signature of a message, as `a:queue`, in their order.
fn queues(signature: &Value, found: &mut Vec<String>) {
    let lists = ["tasks", "header", "body"].map(|name| &signature["kwargs"][name]);
    let inner: Vec<&Value> = lists.into_iter().filter(|inner| !inner.is_null()).collect();
    if inner.is_empty() {
        let queue = signature["options"]["queue"].as_str().unwrap_or("-");
        found.push(format!("{}:{queue}", signature["task"].as_str().unwrap()));
    }
    for inner in inner {
        match inner {
            Value::Array(list) => list.iter().for_each(|signature| queues(signature, found)),
            one => queues(one, found),
        }
    }
}

fn queues_of(workflow: impl IntoNode) -> Vec<String> {
    let wire = workflow.into_node().unwrap().to_wire().unwrap();
    let mut found = Vec::new();
    queues(&serde_json::from_slice(&wire.to_json()).unwrap(), &mut found);
    found
}

#[test]
fn each_reaches_every_task_at_every_depth_and_no_callback() {
    let inner = chord([task("b") | task("c"), task("d")], task("e").cast::<Vec<Json>, Json>());
    let workflow = task("a") | inner | group([task("f"), task("g")]) | task("h").cast::<Vec<Json>, Json>();
    let all = workflow
        .link(WireSignature::new("callback"))
        .on_error(WireSignature::new("errback"))
        .each(|task| task.queue("x"));
    assert_eq!(queues_of(all.clone()), ["a:x", "b:x", "c:x", "d:x", "e:x", "f:x", "g:x", "h:x"]);
    let text = String::from_utf8(all.to_wire().unwrap().to_json()).unwrap();
    assert!(text.contains("callback") && text.contains("errback"));
    assert_eq!(text.matches(r#""queue": "x""#).count(), 8, "{text}");
    assert_eq!(queues_of(all | task("later"))[8], "later:-", "what is added later is not reached");
}

#[test]
fn each_may_choose_by_the_name_of_the_task_and_change_any_option() {
    let workflow = (task("small") | task("large")).each(|task| match task.task() {
        "large" => task.queue("gpu").priority(3).header("tenant", 7),
        _ => task,
    });
    assert_eq!(queues_of(workflow.clone()), ["small:-", "large:gpu"]);
    let text = String::from_utf8(workflow.to_wire().unwrap().to_json()).unwrap();
    assert!(text.contains(r#""priority": 3"#) && text.contains(r#"{"tenant": 7}"#), "{text}");
}

#[tokio::test]
async fn groups_joins_calls_and_batches_have_it_too() {
    let (app, sent) = kit::app().await;
    let add = |i| Add::s(i, i);
    let queue_of_each = |sent: &Sent| sent.take().iter().map(|out| out.routing_key.to_string()).collect::<Vec<_>>();
    group([add(1), add(2)]).each(|task| task.queue("x")).send(&app).await.unwrap();
    assert_eq!(queue_of_each(&sent), ["x", "x"]);
    join((add(1), add(2))).each(|task| task.queue("x")).send(&app).await.unwrap();
    assert_eq!(queue_of_each(&sent), ["x", "x"]);
    add(1).call().each(|task| task.queue("x")).send(&app).await.unwrap();
    assert_eq!(queue_of_each(&sent), ["x"]);
    Batch::of([add(1), add(2)]).each(|task| task.queue("x")).send_all(&app).await.unwrap();
    assert_eq!(queue_of_each(&sent), ["x", "x"]);
    let after = task("first") | group([task("a"), task("b")]);
    assert_eq!(queues_of(after.each(|task| task.queue("x"))), ["first:x", "a:x", "b:x"]);
}

#[tokio::test]
async fn options_of_the_workflow_go_over_those_of_each_task() {
    let (app, sent) = kit::app().await;
    let chain =
        (Add::s(1, 1) | task("next").cast::<i64, Json>()).queue("whole").each(|task| task.queue("each").priority(4));
    chain.send(&app).await.unwrap();
    let out = sent.one();
    assert_eq!((&*out.routing_key, out.message.properties.priority), ("whole", Some(4)));
    let body: Value = serde_json::from_slice(&out.message.body).unwrap();
    assert_eq!(body[2]["chain"][0]["options"]["queue"], "each");
}

#[tokio::test]
async fn each_must_return_a_task() {
    let (app, sent) = kit::app().await;
    let workflow = Add::s(1, 1).each(|task| task | Add::s(2, 2).into_immutable().cast::<Json, Json>());
    let error = workflow.send(&app).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Call);
    assert!(format!("{error:#}").contains("what is returned for tasks.add is a workflow"), "{error:#}");
    assert!(sent.take().is_empty());
}

#[tokio::test]
async fn a_value_that_cannot_be_encoded_in_each_is_the_error_of_sending() {
    let (app, sent) = kit::app().await;
    let table = std::collections::HashMap::from([(vec![1_u8], 1)]);
    let error = Add::s(1, 1).each(|task| task.header("bad", &table)).send(&app).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec, "{error:#}");
    assert!(sent.take().is_empty());
}

/// What `queues_of` finds for a workflow after `.queue("x")`, with the queue of the workflow itself in front.
fn with_queue(workflow: impl IntoNode) -> (Option<String>, Vec<String>) {
    let node = workflow.into_node().unwrap();
    (node.options().queue.as_deref().map(str::to_owned), queues_of(node))
}

#[test]
fn options_that_are_set_after_a_join_are_those_of_the_whole() {
    let parts = || group([task("b"), task("c")]).queue("group");
    let of = |queue: &str| Some(queue.to_owned());
    let (whole, queues) = with_queue((task("a") | parts()).queue("x"));
    assert_eq!((whole, queues), (of("x"), ["a:-", "b:-", "c:-"].map(str::to_owned).to_vec()));
    let chain = (task("a") | parts()).queue("x").into_node().unwrap();
    let Node::Chain(chain) = chain else { panic!("{chain:?}") };
    assert_eq!(chain.steps[1].options().queue.as_deref(), Some("group"), "the group has its own");
    let (whole, _) = with_queue((task("a") | parts()).queue("x") | task("d").cast::<Vec<Json>, Json>());
    assert_eq!(whole, of("x"), "the body joins the last step, and it stays the same chain");
    let (whole, _) = with_queue(task("z") | (task("a") | parts()).queue("x"));
    assert_eq!(whole, None, "a part of another chain is no chain of its own");
    let id = (task("a") | parts()).task_id("the group");
    assert_eq!(id.id().unwrap().as_str(), "the group");
    let Node::Chain(chain) = id.into_node().unwrap() else { panic!("it is a chain") };
    assert_eq!(chain.steps[1].options().task_id.as_ref().unwrap().as_str(), "the group");
}

#[tokio::test]
async fn options_and_errbacks_of_a_task_before_a_group_reach_that_task() {
    let (app, sent) = kit::app().await;
    let members = group([task("b"), task("c")]).cast::<i64, Json>();
    let workflow = (Add::s(1, 1) | members).queue("x").on_error(WireSignature::new("errback"));
    workflow.send(&app).await.unwrap();
    let out = sent.one();
    assert_eq!(&*out.routing_key, "x");
    let body: Value = serde_json::from_slice(&out.message.body).unwrap();
    assert_eq!(body[2]["errbacks"][0]["task"], "errback");
    let group = &body[2]["chain"][0];
    assert_eq!(group["options"]["queue"], Value::Null);
    for member in group["kwargs"]["tasks"].as_array().unwrap() {
        assert_eq!(
            (&member["options"]["queue"], &member["options"]["link_error"][0]["task"]),
            (&Value::Null, &json!("errback"))
        );
    }
}
