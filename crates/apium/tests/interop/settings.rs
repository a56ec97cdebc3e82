//! Settings that change what is stored in Redis: protocol 1, extended and compressed results, key prefixes. And the
//! list of all settings.

use std::collections::BTreeSet;

use apium::prelude::*;
use apium_peers::redis::Commands;
use serde_json::{Map, Value, json};

use crate::ends::AFTER;
use crate::kit::deployment::Deployment;
use crate::kit::pair::Pair;
use crate::kit::read_result::Raised;
use crate::kit::side::Side;

/// What `tasks.whoami` returns for messages of protocol 1.
async fn old_messages(worker: Side) -> Vec<Value> {
    let pair =
        Deployment::shared(worker).pair_with(Side::Python, vec![], vec![("PEER_PROTOCOL", "1".to_owned())]).await;
    let echoed = pair.call("tasks.echo", json!([1, "é"]), json!({ "k": [null] }), json!({ "countdown": 0.3 })).await;
    let value = pair.get(&echoed).await.success().clone();
    assert_eq!(value, json!({ "args": [1, "é"], "kwargs": { "k": [null] } }));
    let failed = pair.send("tasks.fail", json!(["old"])).await;
    assert_eq!(pair.get(&failed).await.failure(), &Raised::new("builtins.ValueError", json!(["old"])));
    let expired = pair.call("tasks.add", json!([1, 1]), json!({}), json!({ "expires": -5 })).await;
    assert_eq!(pair.get(&expired).await.state, "REVOKED");
    let retried = pair.value("tasks.retry", json!([2, AFTER]), json!({})).await;
    assert_eq!(retried, json!({ "value": "done", "retries": 2 }));

    let mut seen = Vec::new();
    let group = json!({ "group_id": "an-old-group" });
    let limits = json!({ "time_limit": 50, "soft_time_limit": 40 });
    for options in [json!({}), group, limits, json!({ "serializer": "msgpack" }), json!({ "compression": "gzip" })] {
        let id = pair.call("tasks.whoami", json!([]), json!({}), options).await;
        let mut request = pair.get(&id).await.success().clone();
        assert_eq!(request["id"], json!(id));
        // Messages of protocol 1 do not have these fields, and each worker fills them in its own way.
        let missing = ["argsrepr", "headers", "ignore_result", "kwargsrepr", "root_id", "stamps"];
        for own in ["id", "correlation_id", "reply_to"].into_iter().chain(missing) {
            request.as_object_mut().unwrap().remove(own);
        }
        seen.push(request);
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
        let pair = Deployment::shared(worker).pair_with(producer, vec![("task_routes", routes)], vec![]).await;
        let seen = pair.value("tasks.whoami", json!([]), json!({})).await;
        assert_eq!(seen["delivery_info"]["routing_key"], "other");
        let seen = pair.value("tasks.whoami", json!([]), json!({ "queue": "celery" })).await;
        assert_eq!(seen["delivery_info"]["routing_key"], "celery", "the call decides");
        assert_eq!(pair.value("tasks.add", json!([1, 1]), json!({ "queue": "other" })).await, json!(2));
    }
}

/// What both readers read about a task from its extended result.
async fn extended(pair: &Pair, id: &str) -> Value {
    pair.get(id).await;
    let document = pair.rust.result::<Json>(id).document().await.unwrap().unwrap();
    let task = document.extended.expect("the result is extended");
    let list = |json: &Option<Json>| json.as_ref().map(crate::kit::rust_client::value);
    let rust = json!({
        "name": task.name, "args": list(&task.args), "kwargs": list(&task.kwargs), "worker": task.worker,
        "retries": task.retries, "queue": task.queue, "date_done": document.date_done.is_some(),
    });
    let python = pair.python.ask(json!({ "do": "extended", "id": id })).await;
    assert_eq!(rust, python, "Rust and Python read the same of {id}");
    rust
}

async fn extended_by(worker: Side, is_packed: bool) {
    let deployment = Deployment::start(worker, |setup| {
        let setup = setup.set("result_extended", json!(true)).slots(2);
        match is_packed {
            true => setup.set("result_serializer", json!("msgpack")).set("result_compression", json!("gzip")),
            false => setup,
        }
    });
    let pair = deployment.pair(Side::Rust).await;
    let id = pair.call("tasks.echo", json!([1, "A".repeat(2000)]), json!({ "k": [2.5] }), json!({})).await;
    let expected = json!({
        "name": "tasks.echo", "args": [1, "A".repeat(2000)], "kwargs": { "k": [2.5] }, "worker": "one@peer", "retries": 0,
        "queue": "celery", "date_done": true,
    });
    assert_eq!(extended(&pair, &id).await, expected);
    let id = pair.send("tasks.retry", json!([2, AFTER])).await;
    let read = extended(&pair, &id).await;
    assert_eq!((&read["retries"], &read["args"]), (&json!(2), &json!([2, AFTER])));
    let id = pair.send("tasks.fail", json!(["x"])).await;
    assert_eq!(pair.get(&id).await.failure(), &Raised::new("builtins.ValueError", json!(["x"])));
    assert_eq!(extended(&pair, &id).await["name"], "tasks.fail");

    let stored: Vec<u8> = deployment.database.connection().get(format!("celery-task-meta-{id}")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&stored).is_err(), is_packed, "whether the result is packed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn extended_results_of_rust_describe_the_task() {
    extended_by(Side::Rust, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn extended_results_of_python_describe_the_task() {
    extended_by(Side::Python, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn packed_results_of_python_are_read_by_rust() {
    extended_by(Side::Python, true).await;
}

async fn prefixed(worker: Side) {
    let deployment = Deployment::start(worker, |setup| {
        let prefix = |prefix: &str| json!({ "global_keyprefix": prefix });
        let setup = setup.set("broker_transport_options", prefix("{shop}:"));
        setup.set("result_backend_transport_options", prefix("results"))
    });
    for producer in Side::BOTH {
        let pair = deployment.pair(producer).await;
        let id = pair.send("tasks.add", json!([1, 2])).await;
        assert_eq!(pair.get(&id).await.success(), &json!(3));
        let later = pair.call("tasks.add", json!([2, 2]), json!({}), json!({ "countdown": 0.4, "priority": 7 })).await;
        assert_eq!(pair.get(&later).await.success(), &json!(4));
    }
    let keys: Vec<String> = deployment.database.connection().keys("*").unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_setting_of_celery_is_one_here_or_is_said_to_be_celerys() {
    let pair = Deployment::shared(Side::Rust).pair(Side::Rust).await;
    let celerys = pair.python.ask(json!({ "do": "settings" })).await["defaults"].as_object().unwrap().clone();
    assert!(celerys.len() > 200, "{}", celerys.len());
    for name in celerys.keys() {
        if let Err(error) = Settings::new().set(name, "x") {
            assert!(error.to_string().contains("it is Celery's"), "{error}");
        }
    }
    // The page docs/CELERY-SETTINGS.md is made of this list.
    let listed: Map<String, Value> =
        serde_json::from_str(include_str!("../../../../tests/interop/settings.json")).unwrap();
    let names: BTreeSet<&String> = celerys.keys().chain(listed.keys()).collect();
    let differing = names.into_iter().filter(|name| celerys.get(*name) != listed.get(*name));
    let differing: Vec<String> = differing.map(|name| format!("{name}: {:?}", celerys.get(name))).collect();
    assert!(differing.is_empty(), "tests/interop/settings.json is not what Celery has: {differing:#?}");
}
