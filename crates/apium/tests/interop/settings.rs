//! Settings that change what lies in Redis, on either side: protocol 1, extended and packed results, key prefixes.

use apium::prelude::*;
use apium_peers::redis::Commands;
use serde_json::{Value, json};

use crate::ends::AFTER;
use crate::lane::Lane;
use crate::seen::Raised;
use crate::side::Side;
use crate::world::World;

/// What `tasks.whoami` tells of a message of protocol 1.
async fn old_messages(worker: Side) -> Vec<Value> {
    let lane = World::everyday(worker).lane_with(Side::Python, vec![], vec![("PEER_PROTOCOL", "1".to_owned())]).await;
    let echoed = lane.call("tasks.echo", json!([1, "é"]), json!({ "k": [null] }), json!({ "countdown": 0.3 })).await;
    let value = lane.get(&echoed).await.success().clone();
    assert_eq!(value, json!({ "args": [1, "é"], "kwargs": { "k": [null] } }));
    let failed = lane.send("tasks.fail", json!(["old"])).await;
    assert_eq!(lane.get(&failed).await.failure(), &Raised::new("builtins.ValueError", json!(["old"])));
    let expired = lane.call("tasks.add", json!([1, 1]), json!({}), json!({ "expires": -5 })).await;
    assert_eq!(lane.get(&expired).await.state, "REVOKED");
    let retried = lane.value("tasks.retry", json!([2, AFTER]), json!({})).await;
    assert_eq!(retried, json!({ "value": "done", "retries": 2 }));

    let mut seen = Vec::new();
    let group = json!({ "group_id": "an-old-group" });
    let limits = json!({ "time_limit": 50, "soft_time_limit": 40 });
    for options in [json!({}), group, limits, json!({ "serializer": "msgpack" }), json!({ "compression": "gzip" })] {
        let id = lane.call("tasks.whoami", json!([]), json!({}), options).await;
        let mut told = lane.get(&id).await.success().clone();
        assert_eq!(told["id"], json!(id));
        // These have no place in such a message; each worker fills them in its own way.
        let missing = ["argsrepr", "headers", "ignore_result", "kwargsrepr", "root_id", "stamps"];
        for own in ["id", "correlation_id", "reply_to"].into_iter().chain(missing) {
            told.as_object_mut().unwrap().remove(own);
        }
        seen.push(told);
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn messages_of_protocol_1_are_the_same_to_both_workers() {
    let (rust, python) = tokio::join!(old_messages(Side::Rust), old_messages(Side::Python));
    assert_eq!(rust, python);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn routes_choose_the_queue() {
    for (producer, worker) in [(Side::Rust, Side::Python), (Side::Python, Side::Rust)] {
        let routes = json!({ "tasks.who*": "other", "tasks.add": "nowhere" });
        let lane = World::everyday(worker).lane_with(producer, vec![("task_routes", routes)], vec![]).await;
        let seen = lane.value("tasks.whoami", json!([]), json!({})).await;
        assert_eq!(seen["delivery_info"]["routing_key"], "other");
        let seen = lane.value("tasks.whoami", json!([]), json!({ "queue": "celery" })).await;
        assert_eq!(seen["delivery_info"]["routing_key"], "celery", "the call has the last word");
        assert_eq!(lane.value("tasks.add", json!([1, 1]), json!({ "queue": "other" })).await, json!(2));
    }
}

/// What both readers know of a task from its result alone.
async fn extended(lane: &Lane, id: &str) -> Value {
    lane.get(id).await;
    let document = lane.rust.result::<Json>(id).document().await.unwrap().unwrap();
    let known = document.extended.expect("the result is extended");
    let list = |json: &Option<Json>| json.as_ref().map(crate::rust::value);
    let rust = json!({
        "name": known.name, "args": list(&known.args), "kwargs": list(&known.kwargs), "worker": known.worker,
        "retries": known.retries, "queue": known.queue, "date_done": document.date_done.is_some(),
    });
    let python = lane.python.ask(json!({ "do": "extended", "id": id })).await;
    assert_eq!(rust, python, "Rust and Python read the same of {id}");
    rust
}

async fn extended_by(worker: Side, pack: bool) {
    let world = World::start(worker, |setup| {
        let setup = setup.set("result_extended", json!(true)).slots(2);
        match pack {
            true => setup.set("result_serializer", json!("msgpack")).set("result_compression", json!("gzip")),
            false => setup,
        }
    });
    let lane = world.lane(Side::Rust).await;
    let id = lane.call("tasks.echo", json!([1, "A".repeat(2000)]), json!({ "k": [2.5] }), json!({})).await;
    let told = json!({
        "name": "tasks.echo", "args": [1, "A".repeat(2000)], "kwargs": { "k": [2.5] }, "worker": "one@peer", "retries": 0,
        "queue": "celery", "date_done": true,
    });
    assert_eq!(extended(&lane, &id).await, told);
    let id = lane.send("tasks.retry", json!([2, AFTER])).await;
    let told = extended(&lane, &id).await;
    assert_eq!((&told["retries"], &told["args"]), (&json!(2), &json!([2, AFTER])));
    let id = lane.send("tasks.fail", json!(["x"])).await;
    assert_eq!(lane.get(&id).await.failure(), &Raised::new("builtins.ValueError", json!(["x"])));
    assert_eq!(extended(&lane, &id).await["name"], "tasks.fail");

    let stored: Vec<u8> = world.database.connection().get(format!("celery-task-meta-{id}")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&stored).is_err(), pack, "whether it is packed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn extended_results_of_rust_tell_of_the_task() {
    extended_by(Side::Rust, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn extended_results_of_python_tell_of_the_task() {
    extended_by(Side::Python, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn packed_results_of_python_are_read_by_rust() {
    extended_by(Side::Python, true).await;
}

async fn prefixed(worker: Side) {
    let world = World::start(worker, |setup| {
        let prefix = |prefix: &str| json!({ "global_keyprefix": prefix });
        let setup = setup.set("broker_transport_options", prefix("{shop}:"));
        setup.set("result_backend_transport_options", prefix("results"))
    });
    for producer in Side::BOTH {
        let lane = world.lane(producer).await;
        let id = lane.send("tasks.add", json!([1, 2])).await;
        assert_eq!(lane.get(&id).await.success(), &json!(3));
        let later = lane.call("tasks.add", json!([2, 2]), json!({}), json!({ "countdown": 0.4, "priority": 7 })).await;
        assert_eq!(lane.get(&later).await.success(), &json!(4));
    }
    let keys: Vec<String> = world.database.connection().keys("*").unwrap();
    assert!(keys.iter().any(|key| key.starts_with("results_celery-task-meta-")), "{keys:?}");
    let foreign: Vec<_> =
        keys.iter().filter(|key| !key.starts_with("{shop}:") && !key.starts_with("results_")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_prefix_holds_for_every_key_of_a_rust_worker() {
    prefixed(Side::Rust).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_prefix_holds_for_every_key_of_a_python_worker() {
    prefixed(Side::Python).await;
}
