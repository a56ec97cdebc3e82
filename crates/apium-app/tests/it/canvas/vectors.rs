//! Workflows become the messages that Celery 5.7 sends, but for their ids.

use std::collections::HashMap;
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::canvas::node::{ChainNode, GroupNode, Node, TaskNode};
use apium_app::canvas::send::send;
use apium_app::canvas::stamp::{FixedStamps, StampVisitor, Stamps};
use apium_app::signature::group::group;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use serde_json::{Map, Value, json};

use crate::kit::{self, Sent};

fn task(name: &str, args: Value) -> Node {
    let wire = json!({"task": format!("tasks.{name}"), "args": args, "kwargs": {}, "options": {}});
    Node::from_wire(&WireSignature::from_json(wire.to_string().as_bytes()).unwrap()).unwrap()
}

fn immutable(name: &str, args: Value) -> Node {
    let mut node = task(name, args);
    node.set_immutable(true);
    node
}

fn wire(node: &Node) -> WireSignature {
    node.to_wire().unwrap()
}

/// Replaces the ids of a message by numbers in the order of their first occurrence, so that messages that differ only
/// in ids are equal.
#[derive(Default)]
struct IdNumbers(HashMap<String, String>);

impl IdNumbers {
    fn replace(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) if text.len() == 36 && text.matches('-').count() == 4 => {
                let next = format!("id {}", self.0.len());
                Value::String(self.0.entry(text.clone()).or_insert(next).clone())
            }
            Value::Array(items) => Value::Array(items.iter().map(|item| self.replace(item)).collect()),
            // Null counts as missing, and `reply_to` differs from app to app.
            Value::Object(map) => Value::Object(
                map.iter()
                    .filter(|(name, value)| !value.is_null() && *name != "reply_to")
                    .map(|(name, value)| (name.clone(), self.replace(value)))
                    .collect::<Map<_, _>>(),
            ),
            other => other.clone(),
        }
    }
}

fn shown(headers: &Value, body: &Value, names: &mut IdNumbers) -> Value {
    let of = |name: &str| headers[name].clone();
    let headers = json!({
        "task": of("task"), "id": of("id"), "group": of("group"), "group_index": of("group_index"),
        "root_id": of("root_id"), "parent_id": of("parent_id"), "eta": of("eta"),
        "argsrepr": of("argsrepr"), "kwargsrepr": of("kwargsrepr"), "ignore_result": of("ignore_result"),
        "stamped_headers": of("stamped_headers"), "stamps": of("stamps"),
    });
    sorted(names.replace(&json!([headers, body])))
}

/// Sorts the names of stamps, which Celery writes in any order.
fn sorted(mut value: Value) -> Value {
    match &mut value {
        Value::Array(items) => items.iter_mut().for_each(|item| *item = sorted(item.take())),
        Value::Object(map) => {
            for (name, inner) in map {
                *inner = sorted(inner.take());
                if let ("stamped_headers", Value::Array(names)) = (name.as_str(), inner) {
                    names.sort_by_key(Value::to_string);
                }
            }
        }
        _ => {}
    }
    value
}

async fn check(app: &App, sent: &Sent, name: &str, node: Node) {
    let path = format!("{}/../../tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let vector: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    send(app, node).await.unwrap();
    let ours = sent.take();
    let theirs = vector["redis"].as_array().unwrap();
    assert_eq!(ours.len(), theirs.len(), "{name}: messages");
    let (mut our_names, mut their_names) = (IdNumbers::default(), IdNumbers::default());
    for (ours, theirs) in ours.iter().zip(theirs) {
        let envelope: Value = serde_json::from_str(theirs["raw"].as_str().unwrap()).unwrap();
        let body: Value = serde_json::from_str(theirs["body"]["utf8"].as_str().unwrap()).unwrap();
        let theirs = shown(&envelope["headers"], &body, &mut their_names);
        let headers: Value = serde_json::from_slice(&ours.message.headers.to_json()).unwrap();
        let body: Value = serde_json::from_slice(&ours.message.body).unwrap();
        let mut ours = shown(&headers, &body, &mut our_names);
        if name == "canvas_group_nested" {
            // Celery numbers the members of an inner group from 0 again; Apium gives every member its own index.
            ours[0]["group_index"] = theirs[0]["group_index"].clone();
        }
        // A call by name does not set this option.
        ours[0]["ignore_result"] = theirs[0]["ignore_result"].clone();
        assert_eq!(ours, theirs, "{name}");
    }
}

#[tokio::test]
async fn feature_3_3_chains_are_celerys_messages() {
    let (app, sent) = kit::app().await;
    let steps = [task("add", json!([2, 3])), task("mul", json!([4])), task("mul", json!([5]))];
    check(&app, &sent, "canvas_chain3", Node::chain(steps)).await;
    let mut chain = Node::chain([immutable("add", json!([2, 3])), immutable("mul", json!([4, 4]))]);
    chain.options_mut().countdown = Some(Duration::from_secs(5));
    chain.options_mut().task_id = Some("eadf4bc4-e998-4652-ab95-efe78c366c32".into());
    check(&app, &sent, "canvas_chain_immutable", chain).await;
    let mut chain = Node::chain([task("add", json!([2, 3])), task("mul", json!([2]))]);
    chain.link(wire(&task("mul", json!([9]))));
    check(&app, &sent, "canvas_chain_link", chain).await;
    let mut chain = Node::chain([task("add", json!([2, 3])), task("fail", json!([]))]);
    chain.link_error(wire(&task("on_error", json!([]))));
    check(&app, &sent, "canvas_chain_link_error", chain).await;
}

#[tokio::test]
async fn feature_3_4_groups_are_celerys_messages() {
    let (app, sent) = kit::app().await;
    let add = |i: i32| task("add", json!([i, i]));
    check(&app, &sent, "canvas_group3", Node::group((0..3).map(add))).await;
    let inner = Node::group([task("mul", json!([2, 2])), task("mul", json!([3, 3]))]);
    check(&app, &sent, "canvas_group_nested", Node::group([add(1), inner])).await;
}

#[tokio::test]
async fn feature_3_5_chords_are_celerys_messages() {
    let (app, sent) = kit::app().await;
    let sum = || task("xsum", json!([]));
    let add = |x: i32, y: i32| task("add", json!([x, y]));
    check(&app, &sent, "canvas_chord", Node::chord((0..3).map(|i| add(i, i)), sum())).await;
    let body = Node::group([sum(), sum()]);
    check(&app, &sent, "canvas_chord_group_body", Node::chord([add(1, 2), add(3, 4)], body)).await;
    let inner = Node::chord([add(3, 4), add(5, 6)], sum());
    check(&app, &sent, "canvas_chord_nested", Node::chord([add(1, 2), inner], sum())).await;
    let chain = Node::chain([add(1, 2), task("mul", json!([3]))]);
    check(&app, &sent, "canvas_chord_of_chains", Node::chord([chain, add(4, 5)], sum())).await;
    let mut body = sum();
    body.link_error(wire(&task("on_error", json!([]))));
    check(&app, &sent, "canvas_chord_link_error", Node::chord([add(1, 1), task("fail", json!(["c"]))], body)).await;
}

#[tokio::test]
async fn feature_3_2_a_group_before_a_task_is_a_chord_inside_a_chain() {
    let (app, sent) = kit::app().await;
    let group = Node::group([task("mul", json!([2])), task("mul", json!([3]))]);
    let chain = task("add", json!([2, 3])).pipe(group.clone()).pipe(task("xsum", json!([])));
    check(&app, &sent, "canvas_chain_group_task", chain).await;
    let chord = group.pipe(task("xsum", json!([])));
    let chain = task("add", json!([2, 3])).pipe(chord).pipe(task("mul", json!([10])));
    check(&app, &sent, "canvas_chain_chord_chain", chain).await;
}

#[tokio::test]
async fn feature_3_4_10_skewed_groups_are_celerys_messages() {
    let (app, sent) = kit::app().await;
    let (start, step) = (Duration::from_secs(1), Duration::from_secs(2));
    let members = group([kit::Add::s(1, 1), kit::Add::s(2, 2)]).skew(start, None, step);
    check(&app, &sent, "canvas_group_skew", Node::group(members.members().to_vec())).await;
}

/// The visitor that stamped the captured messages.
struct Visitor;

impl StampVisitor for Visitor {
    fn on_signature(&mut self, task: &TaskNode, _: &Stamps) -> Stamps {
        stamp("on_sig", &format!("sig:{}", task.call.task))
    }

    fn on_group_start(&mut self, _: &GroupNode, _: &Stamps) -> Stamps {
        stamp("on_group", "g")
    }

    fn on_chain_start(&mut self, _: &ChainNode, _: &Stamps) -> Stamps {
        stamp("on_chain", "c")
    }

    fn on_callback(&mut self, _: &WireSignature, _: &Stamps) -> Stamps {
        stamp("on_callback", "cb")
    }

    fn on_errback(&mut self, _: &WireSignature, _: &Stamps) -> Stamps {
        stamp("on_errback", "eb")
    }
}

fn stamp(name: &str, value: &str) -> Stamps {
    [(name.to_owned(), Json::from_serialize(value).unwrap())].into()
}

#[tokio::test]
async fn feature_3_7_01_to_3_7_03_stamped_signatures_are_celerys_messages() {
    let (app, sent) = kit::app().await;
    let add = |x: i32, y: i32| task("add", json!([x, y]));
    let mut node = add(2, 3);
    node.stamp(&mut FixedStamps, &stamp("mystamp", "value"), false).unwrap();
    check(&app, &sent, "stamps_simple", node).await;
    let mut node = add(2, 3);
    let tags = [("tags".to_owned(), Json::from_serialize(&["a", "b"]).unwrap())].into();
    node.stamp(&mut FixedStamps, &tags, false).unwrap();
    check(&app, &sent, "stamps_list", node).await;
    let chain = Node::chain([add(2, 3), task("mul", json!([4]))]);
    let group = Node::group([add(1, 1), add(2, 2)]);
    let mut linked = add(2, 3);
    linked.link(wire(&task("mul", json!([2]))));
    linked.link_error(wire(&task("on_error", json!([]))));
    let table = [("stamps_visitor_chain", chain), ("stamps_visitor_group", group), ("stamps_links", linked)];
    for (name, mut node) in table {
        node.stamp(&mut Visitor, &Stamps::new(), false).unwrap();
        check(&app, &sent, name, node).await;
    }
}

#[test]
fn feature_3_7_01_and_3_7_05_a_later_stamp_replaces_or_is_appended() {
    let stamped = |node: &Node| node.options().rare.as_ref().unwrap().stamps["who"].as_str().to_owned();
    let mut node = task("add", json!([1, 1]));
    node.stamp(&mut FixedStamps, &stamp("who", "me"), false).unwrap();
    node.stamp(&mut FixedStamps, &stamp("who", "you"), false).unwrap();
    assert_eq!(stamped(&node), "\"you\"");
    node.stamp(&mut FixedStamps, &stamp("who", "all"), true).unwrap();
    assert_eq!(stamped(&node), "[\"all\", \"you\"]");
}
