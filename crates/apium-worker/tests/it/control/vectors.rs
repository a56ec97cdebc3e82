//! Every request that Celery's client was seen to send gets a reply of the shape that Celery's worker was seen to give:
//! the same keys, types, and texts where they are fixed.

use apium_app::app::app::App;
use apium_app::task::into_arguments::IntoArguments;
use apium_protocol::message::control::ControlRequest;
use apium_worker::builder::AppWorker as _;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;
use serde_json::{Value, json};

use crate::control::caller::{call, next_replies, replies_to, send_messages};
use crate::rig::{Gate, json as value, until};
use crate::task;

task!(Sleep = "tasks.sleep", [], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(value(1))
});
task!(Add = "tasks.add", [], async |_ctx| Ok(value(3)));
task!(Mul = "tasks.mul", [], async |_ctx| Ok(value(3)));

const ID: fn(u32) -> String = |n| format!("cafe0000-0000-4000-9000-{n:012}");

/// The vector of this name: the text of the request's body, and what a worker answered.
pub(super) fn vector(name: &str) -> (String, Option<Value>) {
    let path = format!("{}/../../tests/vectors/control_{name}.json", env!("CARGO_MANIFEST_DIR"));
    let vector: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let request = vector["redis"]["request"][0]["body"]["utf8"].as_str().unwrap().to_owned();
    let reply = vector["redis"]["replies"][0]["body"]["utf8"].as_str();
    let reply = reply.map(|text| serde_json::from_str::<Value>(text).unwrap()["w1@wirespec"].take());
    (request, reply)
}

/// Sends the request of a vector as it was seen, and returns the reply to it.
pub(super) async fn reply(app: &App, request: &str) -> Value {
    let request = ControlRequest::from_json(request.as_bytes()).unwrap();
    let caller = request.reply_to.as_ref().unwrap().routing_key.clone();
    let mut mailbox = replies_to(app, &caller).await;
    send_messages(app, vec![request.to_message(1, 0.0)]).await;
    let replies = next_replies(&mut *mailbox).await;
    let reply = &replies[0];
    assert_eq!((&*reply.node, reply.ticket.as_deref()), ("w1@wirespec", request.ticket.as_deref()));
    assert!(reply.clock.is_some_and(|clock| clock > 1));
    reply.answer.decode().unwrap()
}

/// Where two values are of different shapes; null is of every shape. Lists are compared by their first items.
fn difference(place: &str, ours: &Value, theirs: &Value) -> Option<String> {
    match (ours, theirs) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys = |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            let (mut our_keys, mut their_keys) = (keys(ours), keys(theirs));
            our_keys.sort();
            their_keys.sort();
            if our_keys != their_keys {
                return Some(format!("{place}: {our_keys:?} and not {their_keys:?}"));
            }
            ours.iter().find_map(|(key, ours)| match key.as_str() {
                // Keyed by names of tasks and of arguments.
                "total" | "kwargs" => None,
                _ => difference(&format!("{place}.{key}"), ours, &theirs[key]),
            })
        }
        (Value::Array(ours), Value::Array(theirs)) => match (ours.first(), theirs.first()) {
            (Some(ours), Some(theirs)) => difference(&format!("{place}[0]"), ours, theirs),
            _ => None,
        },
        (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => None,
        (Value::Number(_), Value::Number(_)) => None,
        _ => Some(format!("{place}: {ours} and not {theirs}")),
    }
}

async fn app(gate: &Gate) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone());
    builder.register::<Sleep>().register::<Add>().register::<Mul>().build().await.unwrap()
}

async fn send(app: &App, task: &str, id: u32, arguments: impl IntoArguments) {
    app.sig(task).args(arguments).call().task_id(ID(id)).stamp("batch", "b1").send(app).await.unwrap();
}

#[tokio::test]
async fn every_reply_is_that_of_celery() {
    let gate = Gate::new();
    let app = app(&gate).await;
    send(&app, "tasks.sleep", 1, (40,)).await;
    send(&app, "tasks.sleep", 2, (41,)).await;
    for id in 4..7 {
        send(&app, "tasks.add", id, (1, 2)).await;
    }
    let worker = app.worker().hostname("w1@wirespec").concurrency(2).prefetch_multiplier(4).start().await.unwrap();
    gate.begun(2).await;
    until("three are reserved", async || call(&app, "reserved", json!({})).await.as_array().unwrap().len() == 3).await;
    // What they say, word for word.
    for name in [
        "ping",
        "inspect_ping",
        "ping_destination",
        "ping_pattern_glob",
        "unknown_command",
        "bad_arguments",
        "rate_limit_invalid",
        "rate_limit_unknown",
        "rate_limit",
        "rate_limit_zero",
        "time_limit",
        "time_limit_unknown",
        "autoscale_disabled",
        "pool_restart_disabled",
        "pool_grow",
        "pool_shrink",
        "add_consumer",
        "add_consumer_full",
        "cancel_consumer",
        "enable_events",
        "enable_events_again",
        "disable_events",
        "disable_events_again",
        "objgraph",
        "revoke",
        "revoke_terminate_unknown",
        "revoke_by_stamped_headers",
        "revoke_by_stamped_headers_terminate",
    ] {
        let (request, theirs) = vector(name);
        assert_eq!(reply(&app, &request).await, theirs.unwrap(), "{name}");
    }
    // The two were terminated by their stamps.
    until("they are terminated", async || call(&app, "active", json!({})).await.as_array().unwrap().is_empty()).await;
    for id in [202, 203, 7, 8] {
        send(&app, "tasks.sleep", id, (1,)).await;
    }
    worker.stop().await;
    gate.open(1);
}

#[tokio::test]
async fn every_inspection_has_the_shape_of_celerys() {
    let gate = Gate::new();
    let app = app(&gate).await;
    send(&app, "tasks.sleep", 1, (40,)).await;
    send(&app, "tasks.sleep", 2, (41,)).await;
    send(&app, "tasks.add", 4, (1, 2)).await;
    let worker = app.worker().hostname("w1@wirespec").concurrency(2).prefetch_multiplier(4).start().await.unwrap();
    gate.begun(2).await;
    until("one is reserved", async || call(&app, "reserved", json!({})).await.as_array().unwrap().len() == 1).await;
    for name in [
        "clock",
        "stats",
        "active",
        "active_safe",
        "reserved",
        "scheduled",
        "registered",
        "registered_fields",
        "active_queues",
        "report",
        "memsample",
        "memdump",
        "hello",
        "revoked",
    ] {
        let (request, theirs) = vector(name);
        let ours = reply(&app, &request).await;
        assert_eq!(difference(name, &ours, &theirs.unwrap()), None, "{ours}");
    }
    let registered = call(&app, "registered", json!({})).await;
    assert_eq!(registered, json!(["tasks.add", "tasks.mul", "tasks.sleep"]));
    let fields = call(&app, "dump_tasks", json!({"taskinfoitems": ["max_retries", "rate_limit"]})).await;
    assert_eq!(fields[0], "tasks.add [max_retries=3]");
    let conf = call(&app, "conf", json!({"with_defaults": true})).await;
    assert_eq!((&conf["worker_lease"], &conf["task_acks_late"]), (&json!(30), &json!(false)));
    let (request, _) = vector("query_task");
    let found = reply(&app, &request).await;
    assert_eq!(found[ID(1)][0], "active");
    assert_eq!(found[ID(4)][0], "reserved");
    assert_eq!(found[ID(4)][1]["args"], json!([1, 2]));
    assert_eq!(found.as_object().unwrap().len(), 2, "unknown ids are left out");
    let stats = call(&app, "stats", json!({})).await;
    assert_eq!((&stats["total"], &stats["pool"]["max-concurrency"]), (&json!({"tasks.sleep": 2}), &json!(2)));
    assert_eq!(call(&app, "revoked", json!({})).await, json!(["a", "b"]), "`hello` brought them");
    assert_eq!(call(&app, "hello", json!({"from_node": "w1@wirespec"})).await, Value::Null);
    let active = call(&app, "active", json!({"safe": true})).await;
    let shown: Vec<_> = active.as_array().unwrap().iter().map(|task| task["args"].as_str().unwrap()).collect();
    assert!(shown.contains(&"(40,)") && shown.contains(&"(41,)"), "{shown:?}");
    gate.open(2);
    worker.stop().await;
}

#[tokio::test]
async fn requests_for_others_and_casts_get_no_reply() {
    let app = app(&Gate::new()).await;
    let worker = app.worker().hostname("w1@wirespec").start().await.unwrap();
    let (request, replied) = vector("ping_pattern_pcre");
    assert_eq!(replied, None);
    let request = ControlRequest::from_json(request.as_bytes()).unwrap();
    let caller = request.reply_to.clone().unwrap().routing_key;
    let mut mailbox = replies_to(&app, &caller).await;
    let mut to_other = request.clone();
    (to_other.pattern, to_other.destination) = (None, Some(vec!["w2@h".to_owned()]));
    let mut last = ControlRequest::new("clock", Vec::new());
    last.reply_to.clone_from(&request.reply_to);
    let cast = ControlRequest::new("ping", Vec::new());
    let all = [request, to_other, cast, last];
    send_messages(&app, all.iter().map(|request| request.to_message(1, 0.0)).collect()).await;
    let replies = next_replies(&mut *mailbox).await;
    assert_eq!(replies.len(), 1, "only the last one is answered");
    assert_eq!(replies[0].ticket, None);
    // As a shutdown is.
    let (request, replied) = vector("shutdown");
    assert_eq!(replied, None);
    send_messages(&app, vec![ControlRequest::from_json(request.as_bytes()).unwrap().to_message(1, 0.0)]).await;
    let report = tokio::time::timeout(std::time::Duration::from_secs(20), worker.stopped()).await.unwrap();
    assert_eq!(report.how, apium_worker::shutdown::kind::StopKind::Warm);
}
